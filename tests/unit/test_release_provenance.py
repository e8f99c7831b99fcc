"""SLSA provenance of a release: what it says, and what is refused as no provenance of this release."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ReleaseRefused
from pipeline.release.manifest import PROVENANCE, ReleaseManifest
from pipeline.release.provenance import check_provenance, provenance
from tests.release_facts import COMMIT, manifest_of, release_facts, released_file, sha256


def made(**changed: Any) -> tuple[dict[str, Any], ReleaseManifest]:
    """Return the statement of a release, and its manifest."""
    facts = release_facts(**changed)
    manifest = manifest_of(facts, released_file("MODEL_CARD.md", "card"), released_file("bom.cdx.json", "bom"))
    content = provenance(facts, manifest.all_files())
    manifest.files.append(released_file(PROVENANCE, "provenance"))
    check_provenance(content, manifest)
    return json.loads(content), manifest


def test_it_is_an_in_toto_statement_of_slsa_provenance():
    """The messages of in-toto's own library take it: every field has its name and its type there."""
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1.statement_pb2 import Statement

    document, manifest = made()
    json_format.ParseDict(document, Statement())
    json_format.ParseDict(document["predicate"], Provenance())
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [subject["name"] for subject in document["subject"]] == sorted(
        file.name for file in manifest.all_files() if file.name != PROVENANCE
    )


def test_it_says_what_the_release_was_made_from():
    document, _ = made(recipes={"mobile": [{"step": "load", "file": Path("weights.h5")}], "browser": []})
    definition = document["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "version": "1.2.0",
        "workload": "mnist",
        "targets": ["mobile", "browser"],
        "seeds": {"mobile": 7, "browser": 7},
        "recipes": {"mobile": [{"step": "load", "file": "weights.h5"}], "browser": []},
    }
    assert definition["internalParameters"]["versions"]["mobile"]["tensorflow"] == "2.21.0"
    source, *others = definition["resolvedDependencies"]
    assert source["uri"] == f"git+https://example.org/team/digits.git@{COMMIT}"
    assert source["digest"] == {"gitCommit": COMMIT}
    assert source["annotations"] == {"dirty": False}
    assert [(one["name"], one["digest"]["sha256"]) for one in others] == [
        ("train-images.gz", sha256("images")),
        ("train-labels.gz", sha256("a")),
        ("train-labels.gz", sha256("b")),
        ("pipeline/steps/train.py", sha256("train")),
        ("pipeline/workloads/mnist.py", sha256("mnist")),
    ]


def test_a_dirty_tree_is_said():
    document, _ = made(dirty=True)
    assert document["predicate"]["buildDefinition"]["resolvedDependencies"][0]["annotations"]["dirty"] is True


@pytest.mark.parametrize("repository", ["", "git@example.org:team/digits.git"])
def test_a_repository_that_is_no_uri_gives_none(repository):
    document, _ = made(repository=repository)
    assert "uri" not in document["predicate"]["buildDefinition"]["resolvedDependencies"][0]


def test_equal_facts_give_equal_bytes_and_others_another_invocation():
    facts = release_facts()
    files = manifest_of(facts).all_files()
    assert provenance(facts, files) == provenance(release_facts(), files[::-1])
    one, two = (
        json.loads(provenance(release_facts(commit=commit), files))["predicate"]["runDetails"]["metadata"]
        for commit in ("1" * 40, "2" * 40)
    )
    assert one != two


def subject(document: dict[str, Any], index: int) -> dict[str, Any]:
    return document["subject"][index]


ALTERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another hash": lambda one: subject(one, 0)["digest"].update(sha256="0" * 64),
    "no hash": lambda one: subject(one, 0).update(digest={}),
    "swapped": lambda one: [subject(one, 0).update(name=subject(one, 1)["name"])],
    "one less": lambda one: one["subject"].pop(),
    "one twice": lambda one: one["subject"].append(subject(one, 0)),
    "one more": lambda one: one["subject"].append({"name": "extra", "digest": {"sha256": "0" * 64}}),
    "none": lambda one: one.update(subject=[]),
    "statement": lambda one: one.update(_type="https://in-toto.io/Statement/v0.1"),
    "predicate": lambda one: one.update(predicateType="https://slsa.dev/provenance/v0.2"),
    "no predicate": lambda one: one.pop("predicate"),
    "build type": lambda one: one["predicate"]["buildDefinition"].update(buildType="https://example.org/other"),
    "version": lambda one: one["predicate"]["buildDefinition"]["externalParameters"].update(version="1.1.0"),
    "workload": lambda one: one["predicate"]["buildDefinition"]["externalParameters"].update(workload="other"),
    "targets": lambda one: one["predicate"]["buildDefinition"]["externalParameters"].update(targets=["mobile"]),
    "commit": lambda one: one["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"].update(
        gitCommit="f" * 40
    ),
    "no sources": lambda one: one["predicate"]["buildDefinition"].update(resolvedDependencies=[]),
    "builder": lambda one: one["predicate"]["runDetails"].pop("builder"),
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_a_provenance_of_something_else_is_refused(alter):
    document, manifest = made()
    alter(document)
    with pytest.raises(ReleaseRefused, match=PROVENANCE):
        check_provenance(json.dumps(document).encode(), manifest)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b" " * 4_000_001, "{}".encode("utf-16")],
    ids=range(8),
)
def test_garbage_is_refused(content):
    with pytest.raises(ReleaseRefused, match=PROVENANCE):
        check_provenance(content, manifest_of(release_facts()))
