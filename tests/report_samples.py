"""Documents for reports, made up: a build with every part, a comparison, a history; names may be hostile."""

from __future__ import annotations

import math
from typing import Any

from comparison_rows import row

from pipeline.anatomy.document import (
    Anatomy,
    CalibrationCoverage,
    Confusion,
    Curves,
    Disagreement,
    Disagreements,
    FileBytes,
    GraphNode,
    Histogram,
    LayerNoise,
    TensorCoverage,
)
from pipeline.comparison.document import Exclusion
from pipeline.documents import BuildDocument, CompareDocument, DeviceRecord, LatencyRecord, StageRecord
from pipeline.history import HistoryLine
from pipeline.intervals import Interval
from pipeline.operator_times import OperatorTime, OperatorTimes
from pipeline.runner import Device, Figure
from pipeline.verdict import Verdict

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\\u0027+1"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
DEVICE = Device(device_class="linux-x86_64", name="A processor", fingerprint={})


def verdicts(size: float = 444.0) -> list[Verdict]:
    """Return one of each outcome but fail, which a larger size gives."""
    return [
        Verdict(
            metric="size_bytes", limit=460, measured=size, interval=None, verdict="pass" if size <= 460 else "fail"
        ),
        Verdict(metric="accuracy_min", limit=0.99, measured=0.995, interval=None, verdict="pass"),
        Verdict(metric="accuracy_drop_max", limit=0.002, measured=-0.0005, interval=None, verdict="pass"),
        Verdict(
            metric="latency_p50_ms",
            limit=0.05,
            measured=0.07,
            interval=(0.06, 0.08),
            verdict="not applicable",
            note="binds on android-arm64, measured on linux-x86_64",
        ),
        Verdict(metric="speedup_min", limit=1.2, measured=1.3, interval=(1.25, 1.4), verdict="pass"),
    ]


def build(target: str = "mobile", size: int = 444, **fields: Any) -> BuildDocument:
    found = verdicts(size)
    latency = LatencyRecord(
        **row("any", p50_us=70.0).latency.model_dump(),
        measured_at="2026-01-02T03:04:05+00:00",
        reused=False,
    )
    device = DeviceRecord(
        runner="host",
        device=DEVICE,
        memory_bytes=Interval(value=4e6, low=3.9e6, high=4.1e6),
        peak_resident_bytes=None,
        figures={"arena_bytes": Figure(value=2048, estimated=True)},
        files={"model.cc": "c" * 64},
        conditions={},
        device_check=None,
        measured_at="2026-01-02T03:04:05+00:00",
        reused=False,
    )
    plain: dict[str, Any] = {
        "workload": "mnist",
        "seed": 0,
        "artifact": f"artifacts/mnist/{target}/model.tflite",
        "sha256": f"{size:064x}",
        "size_bytes": size,
        "deflated_bytes": 120,
        "accuracy": 0.995,
        "validation_accuracy": 0.996,
        "baseline_accuracy": 0.9945,
        "scores": {"accuracy": 0.995},
        "score_intervals": {"accuracy": (0.9934, 0.9962)},
        "validation_scores": {"accuracy": 0.996},
        "baseline_scores": {"accuracy": 0.9945},
        "latency": latency,
        "device": device,
        "stages": [
            StageRecord(name="train", key="a" * 64, state="hit", seconds=151.1, facts={}),
            StageRecord(name="quantize", key="b" * 64, state="made", seconds=1.9, facts={}),
        ],
        "calibration": None,
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        "verdicts": found,
        "verdict": "fail" if size > 460 else "pass",
    }
    return BuildDocument(target=target, **{**plain, **fields})


def anatomy(label: str = "one") -> Anatomy:
    """Return every part; `label` is a class and a layer, wherever one is named."""
    labels = ["zero", label, "two"]
    graph = [
        node("INPUT", "", []),
        node("CONV_2D", label, [0], weight_dtype="int8"),
        node("SOFTMAX", "float one", [1], dtypes=("float32",), computes_in_float=True, float_leftover=True),
        node("ADD", "sum", [0, 2]),
    ]
    interval = Interval(value=5.0, low=4.0, high=6.0)
    times = OperatorTimes(
        whole_us=Interval(value=9.0, low=8.0, high=10.0),
        dispatch_floor_us=Interval(value=1.0, low=0.9, high=1.1),
        dispatch_floor_share=0.1,
        operators=(
            OperatorTime(
                first=0,
                last=0,
                name="CONV_2D",
                output_shape=(1, 2),
                kernels="XNNPACK",
                microseconds=interval,
                share=0.6,
                within_noise=False,
                cut_alike=True,
            ),
        ),
        rounds=30,
    )
    edges = [i / 10 for i in range(-10, 11)]
    return Anatomy(
        sha256="0" * 64,
        curves=[
            Curves(stage="train", series={"loss": [0.9, 0.5], "val_loss": [0.8, 0.6], "learning_rate": [0.1, 0.05]}),
            Curves(stage=label, series={"loss": [0.4], "val_loss": [0.5], "sparsity": [0.5], "learning_rate": [0.01]}),
        ],
        confusion=Confusion(
            labels=labels,
            float_counts=[[9, 1, 0], [0, 10, 0], [2, 0, 8]],
            file_counts=[[10, 0, 0], [0, 9, 1], [1, 0, 9]],
        ),
        disagreements=Disagreements(
            samples=30,
            lost=1,
            gained=1,
            both_wrong=0,
            shown=[Disagreement(index=3, label=label, float_answer=label, file_answer="two", picture=PIXEL)],
        ),
        calibration=CalibrationCoverage(
            classes=dict.fromkeys(labels, 50),
            samples=200,
            tensors=[
                TensorCoverage(name="input", low=0, high=1, seen_low=0, seen_high=0.9, clipped_share=0),
                TensorCoverage(name=label, low=0, high=4, seen_low=0, seen_high=5, clipped_share=0.00002),
            ],
        ),
        bytes=[
            FileBytes(name="kernel", layer=label, kind="weights", bytes=300),
            FileBytes(name="bias", layer=label, kind="biases", bytes=44),
            FileBytes(name="graph", layer="", kind="graph overhead", bytes=100),
        ],
        graph=graph,
        histograms=[
            Histogram(
                name=label,
                kind="weights",
                edges=edges,
                counts=[round(100 * math.exp(-8 * x * x)) for x in edges[:-1]],
                grid_low=-1.0,
                grid_high=1.0,
                grid_step=2 / 255,
            )
        ],
        layer_noise=[
            LayerNoise(layer=label, operator="CONV_2D", noise=2e-5, own_noise=1e-5, sqnr_db=47.0),
            LayerNoise(layer="sum", operator="ADD", noise=0, own_noise=0, sqnr_db=None),
        ],
        operator_times=times,
    )


def node(name: str, layer: str, follows: list[int], **fields: Any) -> GraphNode:
    plain: dict[str, Any] = {
        "shape": (1, 28, 28, 1),
        "dtypes": ("int8",),
        "weight_dtype": None,
        "computes_in_float": False,
        "float_leftover": False,
    }
    return GraphNode(name=name, layer=layer, follows=follows, **{**plain, **fields})


def comparison(name: str = "prune_int8") -> CompareDocument:
    accuracy = {"validation": row("any").validation, "test": row("any").test}
    rows = [
        row("float32", size_bytes=1700, p50_us=95.0, recipe=[{"step": "train"}], **accuracy),
        row("int8", size_bytes=443, p50_us=73.0, recipe=[{"step": "train"}, {"step": "quantize", "scheme": "int8"}]),
        row(name, size_bytes=444, p50_us=50.0, recipe=[{"step": "prune", "final_sparsity": 0.8}], reasons=["smaller"]),
    ]
    return CompareDocument(
        target="mobile",
        workload="mnist",
        seed=0,
        quick=False,
        reference="float32",
        candidates=rows,
        excluded=[Exclusion(name="int4", code="x", message=name, received="", expected="", fix="install it")],
        choice="int8",
        choice_verdicts=verdicts(),
        verdict="pass",
    )


def line(target: str, at: str, size: int, p50_us: float, **fields: Any) -> HistoryLine:
    return HistoryLine(
        kind="build",
        at=at,
        reused=False,
        target=target,
        workload="mnist",
        sha256=f"{size:064x}",
        size_bytes=size,
        runner="host",
        device=DEVICE,
        p50_us=p50_us,
        p50_us_interval=(p50_us * 0.95, p50_us * 1.05),
        **{"accuracy": 0.995, "memory_bytes": Interval(value=4e6, low=3.9e6, high=4.1e6), **fields},
    )


def history() -> list[HistoryLine]:
    return [
        line("mobile", "2026-01-01T00:00:00+00:00", 500, 90.0, accuracy=0.994),
        line("mobile", "2026-01-02T00:00:00+00:00", 444, 70.0),
        line("browser", "2026-01-02T01:00:00+00:00", 600, 60.0, accuracy=0.997, memory_bytes=None),
    ]
