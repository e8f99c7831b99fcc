"""`bom.cdx.json`: the release's bill of materials, CycloneDX 1.6 with model cards (https://cyclonedx.org/docs/1.6/json/).

Components: a machine-learning model for each target, the release's other files, the data, the libraries that shaped
the models. cyclonedx-python-lib has no model cards and no `data` of components as of 11.12: these are put into its
output, and its validator checks the whole against the schema.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from typing import TYPE_CHECKING, Any

from pipeline.errors import EnvironmentUnsuited
from pipeline.release.facts import ReleaseFacts
from pipeline.release.json_document import document_bytes, hashes_in, read_document, unsound
from pipeline.release.manifest import BOM, ReleasedFile, ReleasedTarget, ReleaseManifest

if TYPE_CHECKING:
    from cyclonedx.validation.json import JsonStrictValidator

MODEL, FILE = "machine-learning-model", "file"


def bom(facts: ReleaseFacts, files: list[ReleasedFile]) -> bytes:
    """Return the bill of materials of the models and of `files`, which may hold the models' as well."""
    document = _components(facts, files)
    cards = {target.model: _model_card(facts, target) for target in facts.targets}
    for component in document["components"]:
        if component["type"] == MODEL:
            component["modelCard"] = cards[component["name"]]
        elif component["type"] == "data":
            component["data"] = [{"type": "dataset", "name": component["name"]}]
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, document_bytes(document).decode())}"
    return document_bytes(document)


def _components(facts: ReleaseFacts, files: list[ReleasedFile]) -> dict[str, Any]:
    """Return all but the model cards, as the library writes it; without a serial number."""
    try:
        from cyclonedx.model import HashAlgorithm, HashType, Property
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.model.contact import OrganizationalContact
        from cyclonedx.model.license import DisjunctiveLicense
        from cyclonedx.output.json import JsonV1Dot6
        from cyclonedx.spdx import fixup_id
        from packageurl import PackageURL
    except ImportError as error:
        raise _not_installed(error) from error

    def hashed(sha256: str) -> HashType:
        return HashType(alg=HashAlgorithm.SHA_256, content=sha256)

    card = facts.card
    known = fixup_id(card.license) if card.license else None
    licenses = [DisjunctiveLicense(id=known, name=None if known else card.license)] if card.license else []
    authors = [OrganizationalContact(name=name) for name in card.authors]
    whole = Component(
        type=ComponentType.APPLICATION,
        name=facts.workload,
        version=facts.version,
        bom_ref="release",
        description=facts.description or None,
        properties=[
            Property(name="git:commit", value=facts.commit),
            Property(name="git:dirty", value=str(facts.dirty).lower()),
        ],
    )
    document = Bom(metadata=BomMetaData(timestamp=facts.created, component=whole, authors=authors))
    libraries: dict[str, Component] = {}
    used: dict[str, list[str]] = {}  # by target
    for target, build in facts.builds.items():
        for name, version in build.versions.items():
            kind = "generic" if name == "python" else "pypi"
            purl = PackageURL(type=kind, name=re.sub(r"[-_.]+", "-", name).lower(), version=version)
            used.setdefault(target, []).append(str(purl))
            libraries[str(purl)] = Component(
                type=ComponentType.LIBRARY, name=name, version=version, bom_ref=str(purl), purl=purl
            )
    data = []
    for name, text in facts.data.items():
        hashes = hashes_in(text)
        data.append(
            Component(
                type=ComponentType.DATA,
                name=name,
                bom_ref=f"data:{name}",
                hashes=[hashed(hashes[0])] if len(hashes) == 1 else [],
                # Files of one name: no single hash is the component's.
                properties=[Property(name="sha256", value=one) for one in hashes] if len(hashes) > 1 else [],
            )
        )
    models = []
    for released in facts.targets:
        model = Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            name=released.model,
            version=facts.version,
            bom_ref=f"model:{released.target}",
            description=facts.description or None,
            hashes=[hashed(released.sha256)],
            licenses=licenses,
            authors=authors,
            properties=[
                Property(name="target", value=released.target),
                Property(name="size_bytes", value=str(released.size_bytes)),
            ],
        )
        models.append(model)
        document.register_dependency(model, [*(libraries[ref] for ref in used.get(released.target, [])), *data])
    document.register_dependency(whole, models)
    names = {target.model for target in facts.targets}
    others = [
        Component(
            type=ComponentType.FILE,
            name=file.name,
            version=facts.version,
            bom_ref=f"file:{file.name}",
            hashes=[hashed(file.sha256)],
            properties=[Property(name="role", value=file.role)],
        )
        for file in files
        if file.name not in names
    ]
    document.components.update([*models, *others, *data, *libraries.values()])
    written = json.loads(JsonV1Dot6(document).output_as_string())
    del written["serialNumber"]  # a random one
    return written


def _model_card(facts: ReleaseFacts, target: ReleasedTarget) -> dict[str, Any]:
    """Return CycloneDX's modelCard of one target's file; what is not known is left out."""
    build = facts.builds.get(target.target)
    parameters: dict[str, Any] = {"task": target.task}
    if facts.data:
        parameters["datasets"] = [{"ref": f"data:{name}"} for name in sorted(facts.data)]
    summaries = [stage.facts["summary"] for stage in build.stages if "summary" in stage.facts] if build else []
    if summaries:
        text = "\n".join(map(str, summaries[0]))
        if found := re.search(r'Model: "([^"\n]+)"', text):
            parameters["modelArchitecture"] = found[1]
        if re.search(r"\((?:Separable|Depthwise)?Conv[12]D\w*\)", text):
            parameters["architectureFamily"] = "convolutional neural network"
    given, gives = input_and_output(facts, target)
    shape = "×".join(map(str, (1, *facts.input_shape)))
    parameters["inputs"] = [{"format": f"{given} tensor [{shape}]".strip()}]
    parameters["outputs"] = [{"format": f"{gives} tensor".strip()}]
    card: dict[str, Any] = {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": _performance(target)},
    }
    limits = [facts.card.limits] if facts.card.limits else []
    limits += [f"The budget {name} was not measured on its device." for name in target.not_measured_on_device]
    undecided = [verdict.metric for verdict in target.verdicts if verdict.verdict == "inconclusive"]
    limits += [f"Whether the budget {name} holds is undecided." for name in undecided]
    considerations: dict[str, Any] = {}
    if facts.card.intended_use:
        considerations["useCases"] = [facts.card.intended_use]
    if limits:
        considerations["technicalLimitations"] = limits
    return card | ({"considerations": considerations} if considerations else {})


def input_and_output(facts: ReleaseFacts, target: ReleasedTarget) -> tuple[str, str]:
    """Return the number formats of a file's input and output, which its steps promised; "" for one that none did."""
    found = {"input_dtype": "", "output_dtype": ""}
    build = facts.builds.get(target.target)
    for stage in build.stages if build else []:
        promises = stage.facts.get("promises")
        if isinstance(promises, dict) and stage.name != "baseline":
            found |= {name: str(promises[name]) for name in found if promises.get(name)}
    return found["input_dtype"], found["output_dtype"]


def _performance(target: ReleasedTarget) -> list[dict[str, Any]]:
    def metric(kind: str, value: float, part: str, bounds: tuple[float, float] | None = None) -> dict[str, Any]:
        row: dict[str, Any] = {"type": kind, "value": str(value), "slice": part}
        if bounds:
            row["confidenceInterval"] = {"lowerBound": str(bounds[0]), "upperBound": str(bounds[1])}
        return row

    rows = []
    for name, value in sorted(target.scores.items()):
        rows.append(metric(name, value, "test", target.score_intervals.get(name)))
    rows += [metric(name, value, "validation") for name, value in sorted(target.validation_scores.items())]
    rows += [
        metric(f"{name} of the float32 file", value, "test") for name, value in sorted(target.baseline_scores.items())
    ]
    if latency := target.latency:
        for name in ("p50_us", "p90_us", "p99_us"):
            bounds = getattr(latency, f"{name}_interval")
            rows.append(metric(f"latency_{name}", getattr(latency, name), latency.device.name, bounds))
    return rows


def check_bom(content: bytes, manifest: ReleaseManifest | None = None) -> None:
    """Raise ReleaseRefused unless it is valid CycloneDX 1.6, and names the models and files of the manifest."""
    document = read_document(content, BOM)
    try:
        problem = _validator().validate_str(content.decode())
    except RecursionError as error:
        raise unsound(BOM, "brackets nested too deep", "CycloneDX 1.6") from error
    if problem is not None:
        at, what = getattr(problem.data, "json_path", ""), getattr(problem.data, "message", str(problem.data))
        raise unsound(BOM, f"{at}: {what}"[:300], "a document that is valid by the schema of CycloneDX 1.6")
    if document.get("specVersion") != "1.6":
        raise unsound(BOM, f"specVersion {document.get('specVersion')}"[:100], "1.6")
    if manifest is None:
        return
    components = document.get("components", [])
    models = sorted(_named(one) for one in components if one["type"] == MODEL)
    expected = sorted((target.model, target.sha256) for target in manifest.targets)
    if models != expected:
        raise unsound(BOM, f"models {models}"[:300], "the models of the manifest with their SHA-256")
    files = {file.name: file.sha256 for file in manifest.all_files()}
    for name, sha256 in (_named(one) for one in components if one["type"] == FILE):
        if files.get(name) != sha256:
            raise unsound(BOM, f"the file {name} with SHA-256 {sha256}"[:300], f"{files.get(name, 'no such file')}")
    version = document.get("metadata", {}).get("component", {}).get("version")
    if version != manifest.version:
        raise unsound(BOM, f"version {version}"[:100], manifest.version)


def _validator() -> JsonStrictValidator:
    """Return the library's validator of CycloneDX 1.6, which checks no IRIs where it is the first to load jsonschema.

    jsonschema builds a grammar of IRIs as it is imported, which takes a second: more than all else that is done with a
    release. A bill of this module holds none, and the schema's other formats are checked.
    """
    unused = "rfc3987_syntax"
    skipped = unused not in sys.modules
    if skipped:
        sys.modules[unused] = None  # type: ignore[assignment] # how Python is told that there is no such module
    try:
        import jsonschema  # noqa: F401 - the library tells of its absence only later, in an error of its own
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError as error:
        raise _not_installed(error) from error
    finally:
        if skipped:
            del sys.modules[unused]
    return JsonStrictValidator(SchemaVersion.V1_6)


def _named(component: dict[str, Any]) -> tuple[str, str]:
    hashes = [one["content"] for one in component.get("hashes", []) if one["alg"] == "SHA-256"]
    return component["name"], " ".join(hashes)


def _not_installed(error: ImportError) -> EnvironmentUnsuited:
    return EnvironmentUnsuited(
        f"a release's bill of materials needs {error.name or 'a library'}, which is not installed",
        received=str(error),
        expected="the libraries of the extra 'release'",
        fix="pip install 'edge-deployment-pipeline[release]'",
    )
