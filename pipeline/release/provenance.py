"""`provenance.intoto.json`: what a release was made from, and how.

SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance) in an in-toto statement v1
(https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md). It is signed with the rest of the release by
`model.sig`. It says what the release's author says: no separate platform observed the build, so it is SLSA build
level 1.

The build type `urn:edge-deployment-pipeline:release:v1`:
    externalParameters   version, workload, targets, and of each target its seed and its recipe with every parameter
    internalParameters   of each target the versions of the libraries that shaped its file
    resolvedDependencies the commit, annotated with whether its tree was clean; every file of the data; every source
                         file that shaped the models
"""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.release.facts import ReleaseFacts
from pipeline.release.json_document import document_bytes, hashes_in, read_document, unsound
from pipeline.release.manifest import PROVENANCE, ReleasedFile, ReleaseManifest

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:edge-deployment-pipeline:release:v1"
BUILDER = "urn:edge-deployment-pipeline:invoke-release"


def provenance(facts: ReleaseFacts, files: list[ReleasedFile]) -> bytes:
    """Return the statement about `files`: all that the manifest will list, but the provenance itself."""
    subject = [{"name": file.name, "digest": {"sha256": file.sha256}} for file in sorted(files, key=_name)]
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "version": facts.version,
            "workload": facts.workload,
            "targets": [target.target for target in facts.targets],
            "seeds": {name: build.seed for name, build in facts.builds.items()},
            "recipes": dict(facts.recipes),
        },
        "internalParameters": {"versions": {name: build.versions for name, build in facts.builds.items()}},
        "resolvedDependencies": _dependencies(facts),
    }
    run = {
        "builder": {"id": BUILDER},
        # No times: the same facts give the same bytes, so that anybody can make the release again and compare.
        "metadata": {"invocationId": _identifier({"definition": definition, "subject": subject})},
    }
    return document_bytes(
        {
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": PREDICATE_TYPE,
            "predicate": {"buildDefinition": definition, "runDetails": run},
        }
    )


def _name(file: ReleasedFile) -> str:
    return file.name


def _identifier(document: dict[str, Any]) -> str:
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, document_bytes(document).decode())}"


def _dependencies(facts: ReleaseFacts) -> list[dict[str, Any]]:
    source: dict[str, Any] = {"name": "source", "digest": {"gitCommit": facts.commit}}
    source["annotations"] = {"dirty": facts.dirty}
    if "://" in facts.repository:  # git's own form host:path is no URI
        source["uri"] = f"git+{facts.repository.removeprefix('git+')}@{facts.commit}"
    elif facts.repository:
        source["annotations"]["repository"] = facts.repository
    data = [
        {"name": name, "digest": {"sha256": sha256}, "annotations": {"kind": "data"}}
        for name, text in sorted(facts.data.items())
        for sha256 in hashes_in(text)
    ]
    sources = [
        {"name": name, "digest": {"sha256": sha256}, "annotations": {"kind": "source"}}
        for name, sha256 in sorted(facts.sources.items())
    ]
    return [source, *data, *sources]


class _Lenient(BaseModel):
    """The documents ask consumers to ignore fields that they do not know."""

    model_config = ConfigDict(extra="ignore")


class _Descriptor(_Lenient):
    name: str = ""
    uri: str = ""
    digest: dict[str, str] = Field(min_length=1)


class _Parameters(_Lenient):
    version: str
    workload: str
    targets: list[str]


class _BuildDefinition(_Lenient):
    buildType: str
    externalParameters: _Parameters
    resolvedDependencies: list[_Descriptor] = Field(min_length=1)


class _Builder(_Lenient):
    id: str = Field(min_length=1)


class _RunDetails(_Lenient):
    builder: _Builder


class _Predicate(_Lenient):
    buildDefinition: _BuildDefinition
    runDetails: _RunDetails


class _Statement(_Lenient):
    type: str = Field(alias="_type")
    subject: list[_Descriptor] = Field(min_length=1)
    predicateType: str
    predicate: _Predicate


def check_provenance(content: bytes, manifest: ReleaseManifest) -> None:
    """Raise ReleaseRefused unless the statement is one of this manifest's release and of all its files."""
    try:
        statement = _Statement.model_validate(read_document(content, PROVENANCE))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        received = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise unsound(PROVENANCE, received[:300], "SLSA provenance v1 in an in-toto statement v1") from error
    definition = statement.predicate.buildDefinition
    parameters = definition.externalParameters
    commits = [one.digest["gitCommit"] for one in definition.resolvedDependencies if "gitCommit" in one.digest]
    checks: list[tuple[str, object, object]] = [
        ("_type", statement.type, STATEMENT_TYPE),
        ("predicateType", statement.predicateType, PREDICATE_TYPE),
        ("buildType", definition.buildType, BUILD_TYPE),
        ("version", parameters.version, manifest.version),
        ("workload", parameters.workload, manifest.workload),
        ("targets", sorted(parameters.targets), sorted(target.target for target in manifest.targets)),
        ("commit", commits, [manifest.commit]),
    ]
    for what, found, expected in checks:
        if found != expected:
            raise unsound(PROVENANCE, f"{what}: {found}"[:300], f"{expected}, as the manifest has it")
    subjects = {subject.name: subject.digest.get("sha256") for subject in statement.subject}
    files = {file.name: file.sha256 for file in manifest.all_files() if file.role != "provenance"}
    if len(subjects) != len(statement.subject) or subjects != files:
        differing = sorted(name for name in {*subjects, *files} if subjects.get(name) != files.get(name))
        received = f"other subjects than files of the manifest: {', '.join(differing) or 'one of them twice'}"
        raise unsound(PROVENANCE, received[:300], "each file of the manifest but this one, with its SHA-256")
