"""The bill of materials: valid CycloneDX 1.6 of every model, file, data file and library; altered ones are refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.errors import EnvironmentUnsuited, ReleaseRefused
from pipeline.release.bom import bom, check_bom
from pipeline.release.facts import CardText, ReleaseFacts
from pipeline.release.manifest import BOM, ReleaseManifest
from pipeline.verdict import Verdict
from tests.release_facts import manifest_of, release_facts, released_file, released_target, sha256


def made(facts: ReleaseFacts | None = None) -> tuple[dict[str, Any], ReleaseManifest]:
    """Return the document of a release, checked, and its manifest."""
    facts = facts or release_facts()
    manifest = manifest_of(facts, released_file("MODEL_CARD.md", "card"))
    content = bom(facts, manifest.all_files())
    check_bom(content, manifest)
    return json.loads(content), manifest


def components(document: dict[str, Any], kind: str) -> dict[str, Any]:
    return {one["name"]: one for one in document["components"] if one["type"] == kind}


def test_each_target_is_a_model_with_its_hash_and_card():
    document, manifest = made()
    models = components(document, "machine-learning-model")
    assert sorted(models) == sorted(target.model for target in manifest.targets)
    model = models["mnist-mobile-1.2.0.tflite"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": sha256("mnist-mobile-1.2.0.tflite")}]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert model["version"] == "1.2.0"
    parameters = model["modelCard"]["modelParameters"]
    assert parameters["task"] == "classification"
    assert parameters["architectureFamily"] == "convolutional neural network"
    assert parameters["modelArchitecture"] == "lenet5"
    assert parameters["inputs"] == [{"format": "int8 tensor [1×28×28×1]"}]
    assert parameters["outputs"] == [{"format": "uint8 tensor"}]
    assert parameters["datasets"] == [{"ref": "data:train-images.gz"}, {"ref": "data:train-labels.gz"}]


def test_the_metrics_have_their_intervals():
    document, _ = made()
    model = components(document, "machine-learning-model")["mnist-mobile-1.2.0.tflite"]
    metrics = {
        (one["type"], one["slice"]): one for one in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    }
    accuracy = metrics["accuracy", "test"]
    assert accuracy["value"] == "0.9951"
    bounds = accuracy["confidenceInterval"]
    assert float(bounds["lowerBound"]) == pytest.approx(0.99353, abs=1e-5)
    assert float(bounds["upperBound"]) == pytest.approx(0.99629, abs=1e-5)
    assert metrics["f1", "test"]["confidenceInterval"] == {"lowerBound": "0.9936", "upperBound": "0.9965"}
    assert metrics["accuracy", "validation"]["value"] == "0.9952"
    assert metrics["accuracy of the float32 file", "test"]["value"] == "0.9946"
    latency = metrics["latency_p50_us", "AMD EPYC"]
    assert latency["value"] == "36.694"
    assert latency["confidenceInterval"] == {"lowerBound": "36.078", "upperBound": "36.912"}


def test_a_file_without_times_has_no_latency():
    document, _ = made(release_facts(released_target("mobile", latency=None)))
    (model,) = components(document, "machine-learning-model").values()
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {one["slice"] for one in metrics} == {"test", "validation"}


def test_what_is_not_known_is_left_out_and_what_is_open_is_said():
    undecided = Verdict(metric="memory_bytes", limit=1.0, measured=1.0, interval=(0.5, 2.0), verdict="inconclusive")
    target = released_target("mobile", verdicts=[undecided], verdict="inconclusive", not_measured_on_device=[])
    document, _ = made(release_facts(target, card=CardText(), builds={}, data={}, recipes={}))
    (model,) = components(document, "machine-learning-model").values()
    assert "licenses" not in model
    assert "authors" not in model
    considerations = model["modelCard"]["considerations"]
    assert considerations == {"technicalLimitations": ["Whether the budget memory_bytes holds is undecided."]}
    assert set(model["modelCard"]["modelParameters"]) == {"task", "inputs", "outputs"}


def test_libraries_data_and_files_are_listed_once_and_models_depend_on_them():
    document, _ = made()
    libraries = [one["purl"] for one in document["components"] if one["type"] == "library"]
    assert libraries == [
        "pkg:pypi/flatbuffers@browser",
        "pkg:pypi/flatbuffers@mobile",
        "pkg:generic/python@3.11.7",
        "pkg:pypi/tensorflow@2.21.0",
        "pkg:pypi/tf-keras@2.21.0",
    ]
    data = components(document, "data")
    assert data["train-images.gz"]["hashes"] == [{"alg": "SHA-256", "content": sha256("images")}]
    both = [one["value"] for one in data["train-labels.gz"]["properties"]]
    assert both == sorted([sha256("a"), sha256("b")])
    assert sorted(components(document, "file")) == [
        "MODEL_CARD.md",
        "mnist-browser-1.2.0.labels.txt",
        "mnist-mobile-1.2.0.labels.txt",
    ]
    needed = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    assert "pkg:pypi/flatbuffers@mobile" in needed["model:mobile"]
    assert "pkg:pypi/flatbuffers@browser" not in needed["model:mobile"]
    assert "data:train-images.gz" in needed["model:mobile"]
    assert needed["release"] == ["model:browser", "model:mobile"]
    references = [one["bom-ref"] for one in document["components"]]
    assert len(set(references)) == len(references)


def test_equal_facts_give_equal_bytes_and_another_release_another_serial_number():
    files = manifest_of(release_facts()).all_files()
    assert bom(release_facts(), files) == bom(release_facts(), files[::-1])
    serials = {json.loads(bom(release_facts(commit=one * 40), files))["serialNumber"] for one in "12"}
    assert len(serials) == 2


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("mit", {"license": {"id": "MIT"}}),
        ("MIT OR Apache-2.0", {"license": {"name": "MIT OR Apache-2.0"}}),
        ("our own", {"license": {"name": "our own"}}),
    ],
)
def test_licenses_are_identifiers_or_names(given, written):
    document, _ = made(release_facts(released_target("mobile"), card=CardText(license=given)))
    (model,) = components(document, "machine-learning-model").values()
    assert model["licenses"] == [written]


def test_texts_of_users_stay_texts():
    odd = 'a "quoted"\n\\ <b>\x00\u2028\ud800é😀'
    card = CardText(intended_use=odd, limits=odd, license=odd, dataset=odd, authors=[odd])
    document, _ = made(release_facts(released_target("mobile"), card=card, description=odd, data={odd: sha256("x")}))
    (model,) = components(document, "machine-learning-model").values()
    assert model["modelCard"]["considerations"]["useCases"] == [odd.replace("\ud800", "?")]


def model_of(document: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in document["components"] if one["type"] == "machine-learning-model")


def file_of(document: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in document["components"] if one["type"] == "file")


ALTERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a hash": lambda one: model_of(one)["hashes"][0].update(content="0" * 64),
    "no hash": lambda one: model_of(one).pop("hashes"),
    "a hash of another kind": lambda one: model_of(one)["hashes"][0].update(alg="SHA3-256"),
    "another name": lambda one: model_of(one).update(name="other.tflite"),
    "a model less": lambda one: one["components"].remove(model_of(one)),
    "a model more": lambda one: one["components"].append(model_of(one) | {"bom-ref": "x", "name": "more.tflite"}),
    "no components": lambda one: one.pop("components"),
    "a file's hash": lambda one: file_of(one)["hashes"][0].update(content="0" * 64),
    "an unknown file": lambda one: file_of(one).update(name="other.txt"),
    "another version": lambda one: one["metadata"]["component"].update(version="1.1.0"),
    "an unknown field": lambda one: one.update(extra=1),
    "no such form": lambda one: one.update(specVersion="1.4"),
    "no such type": lambda one: model_of(one).update(type="model"),
    "a card of another form": lambda one: model_of(one).update(modelCard={"task": "classification"}),
    "a time that is none": lambda one: one["metadata"].update(timestamp="yesterday"),
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_a_bill_of_something_else_is_refused(alter):
    document, manifest = made()
    alter(document)
    with pytest.raises(ReleaseRefused, match=BOM):
        check_bom(json.dumps(document).encode(), manifest)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"a": ' * 100_000, b" " * 4_000_001, "{}".encode("utf-16")],
    ids=range(8),
)
def test_garbage_is_refused(content):
    with pytest.raises(ReleaseRefused, match=BOM):
        check_bom(content)


def test_loading_the_validator_hides_no_module_from_others():
    check_bom(bom(release_facts(), []))
    assert sys.modules.get("rfc3987_syntax", "absent") is not None


def test_brackets_nested_within_the_schema_are_refused():
    """What JSON's reader still takes may be too deep for the schema's."""
    for depth in (200, 400, 900):
        nested = '{"type": "file", "name": "x", "components": [' * depth + "]}" * depth
        content = f'{{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{nested}]}}'.encode()
        with pytest.raises(ReleaseRefused, match=BOM):
            check_bom(content, manifest_of(release_facts()))


def test_a_missing_library_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cyclonedx.output.json", None)
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    for action in (lambda: bom(release_facts(), []), lambda: check_bom(b"{}")):
        with pytest.raises(EnvironmentUnsuited, match=r"edge-deployment-pipeline\[release\]"):
            action()
