"""Rows of a comparison, made up: every field has a plain value until a test says otherwise."""

from __future__ import annotations

from typing import Any, Literal

from pipeline.benchmark import Latency
from pipeline.comparison.choice import McNemar
from pipeline.comparison.document import Accuracy, CandidateRow
from pipeline.runner import Device
from pipeline.verdict import Verdict

DEVICE = Device(device_class="none", name="none", fingerprint={})


def row(
    name: str,
    *,
    p50_us: float = 10.0,
    kernels: str = "XNNPACK delegate, 5 of 5 operators",
    verdict: Literal["pass", "fail", "inconclusive"] = "pass",
    lost: int = 0,
    won: int = 0,
    **fields: Any,
) -> CandidateRow:
    """Return a row; its p50 is known to a hundredth, and `lost` and `won` are McNemar's counts."""
    from scipy.stats import binomtest

    latency = Latency(
        runner="none",
        device=DEVICE,
        threads=1,
        kernels=kernels,
        p50_us=p50_us,
        p90_us=p50_us,
        p99_us=p50_us,
        p50_us_interval=(p50_us * 0.99, p50_us * 1.01),
        p90_us_interval=(p50_us * 0.99, p50_us * 1.01),
        p99_us_interval=(p50_us * 0.99, p50_us * 1.01),
        samples=100,
        rounds=10,
    )
    p_value = float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0
    accuracy = Accuracy(accuracy=0.99, correct=99, samples=100, interval=(0.95, 1.0))
    plain: dict[str, Any] = {
        "description": name,
        "recipe": [{"step": "train"}],
        "stages": {},
        "file": f"{name}.tflite",
        "sha256": "0" * 64,
        "fits_target": True,
        "size_bytes": 20_000,
        "deflated_bytes": 15_000,
        "weight_bytes": 18_000,
        "parameters": 18_000,
        "multiply_accumulates": 100_000,
        "operators": {"CONV_2D": 2},
        "dtypes": ["int32", "int8"],
        "weight_dtypes": ["int8"],
        "zero_fraction": 0.01,
        "distinct_values_per_channel": 200,
        "validation": accuracy,
        "test": accuracy,
        "speedup": None,
        "memory_bytes": None,
        "seconds": 1.0,
        "accuracy_sure": True,
    }
    return CandidateRow(
        name=name,
        latency=latency,
        mcnemar=McNemar(only_reference_right=lost, only_this_right=won, p_value=p_value),
        verdicts=[Verdict(metric="size_bytes", limit=1, measured=1, interval=None, verdict=verdict)],
        verdict=verdict,
        **{**plain, **fields},
    )
