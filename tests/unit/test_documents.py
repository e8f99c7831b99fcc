"""The documents of `--json` and their published schemas."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema import Draft202012Validator

from pipeline.benchmark import DeviceCheck, Latency
from pipeline.documents import (
    SCHEMA_VERSION,
    BenchDocument,
    BenchResult,
    BuildDocument,
    Calibration,
    CalibrationSize,
    DeviceRecord,
    Document,
    ErrorDetail,
    ErrorDocument,
    FileQuality,
    InspectDocument,
    LatencyRecord,
    LayerSensitivity,
    SensitivityDocument,
    StageRecord,
)
from pipeline.errors import UnknownName
from pipeline.explain import plan_document
from pipeline.housekeeping import clean, store_document, target_rows
from pipeline.inspect import float_leftovers, inspect_file
from pipeline.intervals import Interval
from pipeline.plan import make_plan
from pipeline.project import open_project
from pipeline.runner import Device, Figure
from pipeline.schemas import DOCUMENTS
from pipeline.target import Budgets, load_target
from pipeline.verdict import Verdict, judge, overall
from pipeline.watch import Watch
from pipeline.workload import load_workload

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs" / "schemas"


def published(name: str) -> dict[str, Any]:
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


def test_published_schemas_are_those_of_the_models(tmp_path: Path) -> None:
    """`python -m pipeline.schemas` makes them; run it after a change."""
    subprocess.run(
        [sys.executable, "-m", "pipeline.schemas", str(tmp_path / "schemas")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    folders = (tmp_path / "schemas", SCHEMAS)
    made, kept = ({path.name: path.read_text() for path in folder.iterdir()} for folder in folders)
    assert sorted(made) == sorted(f"{name}.json" for name in DOCUMENTS)
    assert made == kept


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_is_one_and_describes_every_field(name: str) -> None:
    schema = published(name)
    Draft202012Validator.check_schema(schema)
    for model in (schema, *schema.get("$defs", {}).values()):
        assert model["description"]
        for field, described in model["properties"].items():
            assert described.get("description") or "$ref" in described, f"{model['title']}.{field}"
    assert schema["additionalProperties"] is False


def latency() -> LatencyRecord:
    numbers = {f"p{share}_us": 10.0 for share in (50, 90, 99)}
    return LatencyRecord(
        **Latency(
            runner="null",
            device=Device(device_class="null", name="none", fingerprint={"cores": "2"}),
            threads=1,
            kernels="none",
            samples=30,
            rounds=3,
            **numbers,
            **{f"{name}_interval": (9.0, 11.0) for name in numbers},
        ).model_dump(),
        baseline_p50_us=20.0,
        speedup=Interval(value=2.0, low=1.9, high=2.1),
        memory_bytes=None,
        measured_at="2026-01-01T00:00:00+00:00",
        reused=False,
    )


def device() -> DeviceRecord:
    check = {"samples": 10, "differences": 1, "differences_max": 1, "steps_max": 1, "beyond_steps_max": 0}
    return DeviceRecord(
        runner="null",
        device=Device(device_class="null", name="none", fingerprint={"cores": "2"}),
        figures={"arena_bytes": Figure(value=10.0, estimated=True, note="not run")},
        files={"model.cc": "0" * 64},
        conditions={"governor": "powersave"},
        device_check=DeviceCheck(
            **check, largest_difference_steps=1.0, test_samples=10, metric="accuracy", score=0.9, host_score=1.0
        ),
        measured_at="2026-01-01T00:00:00+00:00",
        reused=False,
    )


def verdicts() -> list[Verdict]:
    budgets = Budgets(size_bytes=10, accuracy_min=0.5, speedup_min=2.0)
    return judge(budgets, size_bytes=12, scores={"accuracy": 0.9}, baseline_scores={"accuracy": 0.9}, measurement=None)


def build_document() -> BuildDocument:
    return BuildDocument(
        target="null",
        workload="grey",
        seed=0,
        artifact="artifacts/grey/null/model.tflite",
        sha256="0" * 64,
        size_bytes=12,
        deflated_bytes=10,
        accuracy=0.9,
        validation_accuracy=0.9,
        baseline_accuracy=0.9,
        scores={"accuracy": 0.9},
        validation_scores={"accuracy": 0.9},
        baseline_scores={"accuracy": 0.9},
        latency=latency(),
        device=device(),
        stages=[StageRecord(name="train", key="0" * 64, state="made", seconds=1.5, facts={"history": {"loss": [0.1]}})],
        calibration=Calibration(split="train", samples=2, indices=[4, 1], sha256="0" * 64),
        versions={"python": "3.11.0"},
        verdicts=verdicts(),
        verdict=overall(verdicts()),
    )


def bench_document() -> BenchDocument:
    result = BenchResult(
        model="any.tflite",
        sha256="0" * 64,
        target=None,
        workload=None,
        size_bytes=12,
        latency=latency(),
        device=device(),
        verdicts=[],
        verdict="pass",
    )
    return BenchDocument(results=[result], verdict="pass")


def sensitivity_document() -> SensitivityDocument:
    row = LayerSensitivity(
        layer="dense",
        operator="FULLY_CONNECTED",
        weights="int4",
        own_noise=0.01,
        sqnr_db=20.0,
        wider="int8",
        mended_own_noise=None,
        mended_sqnr_db=None,
    )
    quality = FileQuality(
        name="quantized", sha256="0" * 64, size_bytes=12, validation_score=0.9, agreement=0.9, output_sqnr_db=20.0
    )
    return SensitivityDocument(
        target="null",
        workload="grey",
        seed=0,
        step="quantize_edge",
        scheme="int8x4",
        samples=100,
        files=[quality],
        layers=[row],
        calibration_sizes=[CalibrationSize(samples=10, quality=quality, layers={"dense": 20.0})],
        recipe='[[recipe]]\nstep = "train"\n',
        folder="artifacts/grey/null",
    )


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Document]:
    """One of each document that needs no build, from a project with an output in its store."""
    root = tmp_path_factory.mktemp("project") / "project"
    shutil.copytree(ROOT / "tests" / "null" / "project", root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "targets" / "broken.toml").write_text("threads = = 1")
    project = open_project(root, Watch())
    target, workload = load_target("null", root), load_workload("grey", root)
    plan = make_plan(target, workload, 0, root)
    for stage in plan.stages[:2]:
        with project.store.working_folder(stage.key) as folder:
            (folder / "weights.npy").write_bytes(b"1")
            project.store.put(stage.key, stage.record, folder, {}, 1.0)
    documents: dict[str, Document] = {
        "build": build_document(),
        "bench": bench_document(),
        "plan": plan_document(make_plan(target, workload, 1, root), target, workload, 1, project),
        "targets": target_rows(root),
        "store": store_document(root, "gc"),
        "clean": clean(root, store=True, dry_run=True),
        "error": ErrorDocument(error=ErrorDetail(**UnknownName("target", "mobil", ["mobile"]).as_dict())),
    }
    documents["sensitivity"] = sensitivity_document()
    model = ROOT / "tests" / "data" / "tiny_int8.tflite"
    found = inspect_file(model)
    documents["inspect"] = InspectDocument(
        path=str(model), inspection=found, float_leftovers=float_leftovers(found, False)
    )
    return documents


NAMES = ["build", "bench", "plan", "targets", "store", "clean", "error", "inspect", "sensitivity"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_printed_is_as_published(samples: dict[str, Document], name: str) -> None:
    printed = json.loads(samples[name].model_dump_json(indent=2))
    jsonschema.validate(printed, published(name), Draft202012Validator)
    assert printed["schema_version"] == SCHEMA_VERSION
    assert type(samples[name]).model_validate(printed) == samples[name]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_as_published_is_noticed(samples: dict[str, Document], name: str) -> None:
    """A field too many, one too few, and one of another kind."""
    printed = json.loads(samples[name].model_dump_json())
    required = published(name)["required"]
    assert required
    wrong = [{**printed, "more": 1}]
    for field in required:
        fewer, other = copy.deepcopy(printed), copy.deepcopy(printed)
        del fewer[field]
        other[field] = [[1]]
        wrong += [fewer, other]
    for document in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, published(name), Draft202012Validator)


def test_a_target_that_cannot_be_read_is_listed_with_its_error(samples: dict[str, Document]) -> None:
    rows = {row["name"]: row for row in samples["targets"].model_dump()["targets"]}
    assert "is not TOML" in rows["broken"]["error"]
    assert rows["null"]["error"] == ""
    assert rows["null"]["recipe"] == ["null_train", "null_prune", "null_quantize"]
    assert {"mobile", "browser"} <= set(rows)
