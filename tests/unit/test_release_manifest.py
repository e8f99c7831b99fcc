"""The manifest of a release is read with distrust, and versions have an order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from release_folders import write_release

from pipeline.errors import ReleaseRefused
from pipeline.release.manifest import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    checksums_text,
    is_file_name,
    is_version,
    read_checksums,
    read_manifest,
    version_order,
)

NUMBERS = st.integers(0, 10**6).map(str)
LETTERS = st.text("abcxyz-", min_size=1, max_size=5)
PRE = st.lists(st.one_of(NUMBERS, LETTERS), max_size=3).map(lambda parts: "-" + ".".join(parts) if parts else "")
VERSIONS = st.tuples(NUMBERS, NUMBERS, NUMBERS, PRE).map(lambda parts: ".".join(parts[:3]) + parts[3])


@pytest.fixture
def manifest(tmp_path: Path) -> dict[str, Any]:
    return json.loads((write_release(tmp_path) / MANIFEST).read_text())


def refused(document: Any) -> ReleaseRefused:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(ReleaseRefused) as caught:
        read_manifest(content, "a test")
    return caught.value


def test_a_sound_manifest_is_read(manifest: dict[str, Any]) -> None:
    read = read_manifest(json.dumps(manifest).encode(), "a test")
    assert [target.target for target in read.targets] == ["mobile", "browser"]
    assert read.target("mobile") == read.targets[0]
    assert read.target("watch") is None


NAMES = [
    "../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:x",
    "",
    ".",
    "..",
    ".hidden",
    "x" * 201,
    "a\n",
    "ä",
    "SHA256SUMS",
    "Manifest.JSON",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leaves_the_folder_is_refused(manifest: dict[str, Any], name: str) -> None:
    manifest["files"][0]["name"] = name
    assert "files.0.name" in refused(manifest).received
    manifest["files"][0]["name"] = "card.md"
    manifest["targets"][0]["files"][1]["name"] = name
    assert "targets.0.files.1.name" in refused(manifest).received


def test_two_files_of_one_name_are_refused_in_whatever_case(manifest: dict[str, Any]) -> None:
    manifest["files"].append(dict(manifest["files"][0], name=manifest["files"][0]["name"].lower()))
    assert "different names" in refused(manifest).received


def test_a_target_whose_numbers_are_of_another_file_is_refused(manifest: dict[str, Any]) -> None:
    manifest["targets"][0]["sha256"] = manifest["targets"][1]["sha256"]
    assert "mobile" in refused(manifest).received


def test_what_is_huge_deep_or_no_manifest_is_refused(manifest: dict[str, Any]) -> None:
    refused(b"[" * 100_000)
    refused(b" " * (MANIFEST_BYTES_MAX + 1))
    refused(b"\xff\xfe")
    refused([])
    refused({**manifest, "surprise": 1})
    refused({**manifest, "version": "1.0"})
    one = manifest["files"][0]
    refused({**manifest, "files": [dict(one, name=f"card{number}") for number in range(1_001)]})


@pytest.mark.parametrize(
    "line",
    [
        "0" * 64 + "  ../x",
        "0" * 64 + " x",
        "0" * 63 + "  x",
        "0" * 64 + "  x y",
        "0" * 64 + "  /x",
        "",
        "z" * 64 + "  x",
    ],
)
def test_checksums_of_another_form_are_refused(line: str) -> None:
    with pytest.raises(ReleaseRefused):
        read_checksums(f"{'0' * 64}  a\n{line}\n", "a test")


def test_checksums_come_back_and_no_name_comes_twice() -> None:
    hashes = {"b": "1" * 64, "a.tflite": "0" * 64}
    text = checksums_text(hashes)
    assert text.splitlines()[0].endswith("a.tflite")
    assert read_checksums(text, "a test") == hashes
    with pytest.raises(ReleaseRefused):
        read_checksums(text + text, "a test")


@pytest.mark.parametrize(
    "version", ["1.0.0-01", "1.0.0-a..b", "1.0.0-", "1.0.0+b", "1.0", "1.0.0.0", "v1.0.0", "1.0.٣"]
)
def test_what_is_nearly_a_version_is_none(version: str) -> None:
    assert not is_version(version)


def test_versions_have_the_order_of_semantic_versioning() -> None:
    # The example of https://semver.org/#spec-item-11, and the numbers around it.
    ordered = ["0.9.10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2"]
    ordered += ["1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]
    assert sorted(set(ordered), key=version_order) == ordered


@given(st.text(max_size=30))
def test_what_is_a_version_is_a_file_name_and_stays_in_its_folder(text: str) -> None:
    if is_version(text):
        assert is_file_name(text)
        assert Path("/base", text).parent == Path("/base")


@given(VERSIONS, VERSIONS)
def test_the_order_is_total(first: str, second: str) -> None:
    valid = [one for one in (first, second) if is_version(one)]
    for one in valid:
        assert version_order(one) == version_order(one)
    if len(valid) == 2 and first != second:
        assert (version_order(first) < version_order(second)) != (version_order(second) < version_order(first))
