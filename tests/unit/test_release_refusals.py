"""Releases that nobody may believe: made to agree but for the signature, of odd files, or lies of the signer's own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError, ReleaseRefused, UnknownName
from pipeline.release.destination import Patience
from pipeline.release.fetch import LOCK, FetchOptions, fetch
from pipeline.release.manifest import BOM, CHECKSUMS, MANIFEST, PROVENANCE, SIGNATURE
from pipeline.release.open_destination import open_destination
from pipeline.release.signature import load_signing_key, sign
from pipeline.release.verify_release import VerifyOptions, verify_release
from pipeline.watch import Watch
from tests.release_folders import write_checksums
from tests.signed_release import key_pair, signed_release

MODEL = "mnist-mobile-1.2.0.tflite"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key pair and releases 1.1.0 and 1.2.0; read-only."""
    folder = tmp_path_factory.mktemp("made")
    private, _ = key_pair(folder)
    for version in ("1.1.0", "1.2.0"):
        signed_release(folder, private, version)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "1.2.0", tmp_path / "1.2.0")


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A folder that both releases were published to."""
    place = tmp_path / "store"
    for version in ("1.1.0", "1.2.0"):
        open_destination(str(place)).publish(made / version, version, Watch())
    return place


def verify(made: Path, source: Path, key: str = "release.pub"):
    return verify_release(VerifyOptions(str(source), str(made / key), quick=True), source.parent, Watch())


def fetch_mobile(made: Path, store: Path, key: str = "release.pub", **options):
    to = store.parent / "fetched"
    given_key = str(made / key) if key else ""
    return fetch(FetchOptions(str(store), "mobile", to=str(to), key=given_key, **options), store.parent, Watch())


def refused(action: Callable[[], object]) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        action()
    error = caught.value
    assert error.exit_code == 2, error
    assert error.received
    assert error.expected
    assert error.fix
    return error


def nothing_fetched(store: Path) -> bool:
    """True where no file of a release lies under its name; what is hidden is a part, or what was seen."""
    return not [path for path in (store.parent / "fetched").rglob("*") if path.is_file() and path.name[0] != "."]


def agree(folder: Path, store: Path | None = None) -> None:
    """Make the manifest's hashes of the folder's files, SHA256SUMS and the index agree: all but the signature."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for file in [*manifest["files"], *(file for target in manifest["targets"] for file in target["files"])]:
        path = folder / file["name"]
        if path.is_file():
            content = path.read_bytes()
            file.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    for target in manifest["targets"]:
        target["sha256"] = next(file["sha256"] for file in target["files"] if file["role"] == "model")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    reindex(folder, store)


def reindex(folder: Path, store: Path | None = None) -> None:
    """Write SHA256SUMS over the folder as it is, and the index over that."""
    write_checksums(folder)
    if store:
        index = json.loads((store / "index.json").read_bytes())
        index["releases"][folder.name]["sha256sums"] = hashlib.sha256((folder / CHECKSUMS).read_bytes()).hexdigest()
        (store / "index.json").write_text(json.dumps(index))


def edit_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_an_untouched_release_passes_every_check(made: Path, store: Path) -> None:
    for source in (made / "1.2.0", store):
        document = verify(made, source)
        assert document.verdict == "pass"
        assert [check.name for check in document.checks] == ["hashes", "signature", "provenance", "BOM", "build.json"]
        assert document.version == "1.2.0"


@pytest.mark.parametrize("name", [MODEL, BOM, PROVENANCE, "classify.py"])
def test_altered_files_with_hashes_made_to_agree_are_refused_by_the_signature(
    made: Path, store: Path, name: str
) -> None:
    folder = store / "1.2.0"
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    agree(folder, store)
    assert name in refused(lambda: verify(made, store)).received
    refused(lambda: fetch_mobile(made, store))
    assert nothing_fetched(store)
    assert fetch_mobile(made, store, key="").signature == "not checked"  # so that only the signature stood in the way


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_flipped_byte_of_any_file_is_refused(made: Path, tmp_path_factory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped"
    if not folder.exists():
        shutil.copytree(made / "1.2.0", folder)
    path = folder / data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    sound = path.read_bytes()
    altered = bytearray(sound)
    altered[data.draw(st.integers(0, len(sound) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        path.write_bytes(altered)
        refused(lambda: verify(made, folder))
    finally:
        path.write_bytes(sound)


def test_every_file_that_is_cut_or_missing_is_refused(made: Path, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        sound = path.read_bytes()
        path.write_bytes(sound[:-1])
        refused(lambda: verify(made, folder))
        path.unlink()
        refused(lambda: verify(made, folder))
        path.write_bytes(sound)
    assert verify(made, folder).verdict == "pass"


def _symbolic_link(folder: Path) -> None:
    outside = folder.parent / "outside"
    shutil.move(folder / MODEL, outside)
    (folder / MODEL).symlink_to(outside)


def _linked_manifest(folder: Path) -> None:
    outside = folder.parent / "outside"
    shutil.move(folder / MANIFEST, outside)
    (folder / MANIFEST).symlink_to(outside)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_symbolic_link, id="a symbolic link to the very bytes"),
        pytest.param(_linked_manifest, id="a symbolic link as manifest"),
        pytest.param(lambda folder: (folder / "more.txt").write_text("x"), id="an extra file"),
        pytest.param(lambda folder: (folder / ".hidden").write_text("x"), id="a hidden file"),
        pytest.param(lambda folder: (folder / "more").mkdir(), id="an extra folder"),
        pytest.param(lambda folder: os.mkfifo(folder / "pipe"), id="a pipe"),
    ],
)
def test_a_folder_of_anything_but_its_own_plain_files_is_refused(made: Path, folder: Path, change) -> None:
    change(folder)
    refused(lambda: verify(made, folder))


def test_an_extra_file_in_all_lists_is_refused_by_the_signature(made: Path, store: Path) -> None:
    folder = store / "1.2.0"
    (folder / "more.txt").write_text("x")
    entry = {"name": "more.txt", "role": "consumer", "size_bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    edit_manifest(folder, lambda manifest: manifest["files"].append(entry))
    reindex(folder, store)
    refused(lambda: verify(made, store))
    refused(lambda: fetch_mobile(made, store))
    assert nothing_fetched(store)


def test_the_key_has_to_be_the_publishers(made: Path, store: Path) -> None:
    key_pair(store.parent, "other")
    (store.parent / "none.pub").write_text("no key")
    for key in ("other.pub", "none.pub", "missing.pub"):
        refused(lambda key=key: verify(store.parent, store, key))
        refused(lambda key=key: fetch_mobile(store.parent, store, key))
    assert nothing_fetched(store)


def test_a_signature_of_another_release_is_refused(made: Path, store: Path) -> None:
    shutil.copy(store / "1.1.0" / SIGNATURE, store / "1.2.0" / SIGNATURE)
    refused(lambda: verify(made, store))
    refused(lambda: fetch_mobile(made, store))


def test_verifying_without_a_key_is_refused(folder: Path) -> None:
    refused(lambda: verify_release(VerifyOptions(str(folder), quick=True), folder.parent, Watch()))


# Numbers of whose lies its own signer would be the author: the checks hold even so.


def resigned(made: Path, folder: Path) -> None:
    sign(folder, load_signing_key(str(made / "release.pem")))


def swap_targets(manifest: dict) -> None:
    first, second = manifest["targets"]
    for name in ("model", "sha256", "size_bytes", "files"):
        first[name], second[name] = second[name], first[name]


def test_a_swapped_target_is_refused_whoever_signed_it(made: Path, store: Path) -> None:
    folder = store / "1.2.0"
    edit_manifest(folder, swap_targets)
    reindex(folder, store)
    resigned(made, folder)
    refused(lambda: verify(made, store))
    refused(lambda: fetch_mobile(made, store))
    assert nothing_fetched(store)


@pytest.mark.parametrize("name", ["mnist-mobile-1.2.0.build.json", BOM, PROVENANCE])
def test_documents_of_other_files_are_refused_whoever_signed_them(made: Path, folder: Path, name: str) -> None:
    other = {"mnist-mobile-1.2.0.build.json": "mnist-mobile-1.1.0.build.json"}.get(name, name)
    shutil.copy(made / "1.1.0" / other, folder / name)
    agree(folder)
    resigned(made, folder)
    refused(lambda: verify(made, folder))


@pytest.mark.parametrize("change", [{"scores": {"accuracy": 1.0}}, {"score_intervals": {"accuracy": [0.1, 0.2]}}])
def test_scores_other_than_build_json_says_are_refused_whoever_signed_them(
    made: Path, folder: Path, change: dict[str, object]
) -> None:
    edit_manifest(folder, lambda manifest: manifest["targets"][0].update(change))
    reindex(folder)
    resigned(made, folder)
    refused(lambda: verify(made, folder))


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "..", "a/b", "C:\\x", "", ".bashrc", "x\n", "é"])
def test_names_that_leave_the_folder_are_refused(made: Path, store: Path, name: str) -> None:
    folder = store / "1.2.0"
    edit_manifest(folder, lambda manifest: manifest["targets"][0]["files"][2].update(name=name))
    reindex(folder, store)
    assert refused(lambda: fetch_mobile(made, store, key="")).code == "release_refused"
    refused(lambda: verify(made, store))
    (folder / CHECKSUMS).write_text(f"{'0' * 64}  {name}\n")
    index = json.loads((store / "index.json").read_bytes())
    index["releases"]["1.2.0"]["sha256sums"] = hashlib.sha256((folder / CHECKSUMS).read_bytes()).hexdigest()
    (store / "index.json").write_text(json.dumps(index))
    assert CHECKSUMS in refused(lambda: fetch_mobile(made, store, key="")).message
    assert nothing_fetched(store)
    assert not (store.parent / "outside").exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 3_000_000, id="nested by the million"),
        pytest.param(b'{"targets": ' * 200_000, id="nested objects"),
        pytest.param(b" " * 5_000_000, id="larger than a manifest may be"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b'{"version": 1e999999}', id="no number"),
    ],
)
def test_a_manifest_that_is_none_is_refused(made: Path, store: Path, content: bytes) -> None:
    (store / "1.2.0" / MANIFEST).write_bytes(content)
    reindex(store / "1.2.0", store)
    refused(lambda: fetch_mobile(made, store, key=""))
    refused(lambda: verify(made, store))
    refused(lambda: verify(made, store / "1.2.0"))
    assert nothing_fetched(store)


def test_a_part_of_other_bytes_is_thrown_away_and_fetched_anew(made: Path, store: Path) -> None:
    place = store.parent / "fetched" / "1.2.0"
    place.mkdir(parents=True)
    (place / f".{MODEL}.part").write_bytes(b"of something else")
    fetch_mobile(made, store)
    assert (place / MODEL).read_bytes() == (made / "1.2.0" / MODEL).read_bytes()


def test_other_bytes_under_a_final_name_are_never_overwritten(made: Path, store: Path) -> None:
    place = store.parent / "fetched" / "1.2.0"
    place.mkdir(parents=True)
    for name in (MODEL, MANIFEST):
        (place / name).write_bytes(b"mine")
        refused(lambda: fetch_mobile(made, store))
        assert (place / name).read_bytes() == b"mine"
        (place / name).unlink()
    (place / MODEL).symlink_to(made / "1.2.0" / MODEL)
    assert refused(lambda: fetch_mobile(made, store)).received == "a symbolic link"


def test_an_old_release_under_a_new_version_is_refused(made: Path, store: Path) -> None:
    shutil.rmtree(store / "1.2.0")
    shutil.copytree(store / "1.1.0", store / "1.2.0")
    reindex(store / "1.2.0", store)
    assert "1.1.0" in refused(lambda: fetch_mobile(made, store)).received
    refused(lambda: verify(made, store))
    assert nothing_fetched(store)


def test_other_bytes_under_a_version_seen_before_are_refused_whoever_signed_them(made: Path, store: Path) -> None:
    fetch_mobile(made, store)
    shutil.rmtree(store / "1.2.0")
    signed_release(store, made / "release.pem", "1.2.0", salt="other bytes")
    reindex(store / "1.2.0", store)
    shutil.rmtree(store.parent / "fetched" / "1.2.0")
    for allow_rollback in (False, True):
        error = refused(lambda allowed=allow_rollback: fetch_mobile(made, store, allow_rollback=allowed))
        assert "before" in error.received
    assert nothing_fetched(store)


def test_a_target_or_version_that_is_not_there_is_named(made: Path, store: Path) -> None:
    with pytest.raises(UnknownName, match="browser, mobile"):
        fetch(FetchOptions(str(store), "desktop", to=str(store.parent / "fetched")), store.parent, Watch())
    for version in ("9.9.9", "../1.2.0", "1.2"):
        with pytest.raises(ReleaseRefused):
            fetch_mobile(made, store, version=version)
    assert nothing_fetched(store)


def test_two_fetches_into_one_folder_take_turns(made: Path, store: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        documents = list(pool.map(lambda _: fetch_mobile(made, store), range(4)))
    assert sorted(len(document.fetched) for document in documents) == [0, 0, 0, 4]
    with FileLock(store.parent / "fetched" / LOCK):
        error = refused(lambda: fetch_mobile(made, store, patience=Patience(seconds=0.05)))
    assert "another fetch" in error.message
    assert fetch_mobile(made, store).fetched == []
