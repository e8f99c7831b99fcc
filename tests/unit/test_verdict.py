"""Budgets against measurements."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.benchmark import DeviceCheck, Latency, Measurement
from pipeline.intervals import Interval
from pipeline.runner import Device, Figure
from pipeline.target import Budgets
from pipeline.verdict import Verdict, exit_code, judge, overall, undecided
from tests.strategies import intervals, quick

Numbers = tuple[float, float, float]


def measurement(
    *,
    p50: Numbers = (90, 100, 110),
    p90: Numbers = (190, 200, 210),
    speedup: Numbers | None = (1.9, 2.0, 2.1),
    memory: Numbers | None = (900, 1000, 1100),
    device_class: str = "phone",
) -> Measurement:
    """Return a Measurement from (low, value, high): microseconds, a ratio, bytes."""

    def interval(numbers: Numbers | None) -> Interval | None:
        return Interval(low=numbers[0], value=numbers[1], high=numbers[2]) if numbers else None

    latency = Latency(
        runner="null",
        device=Device(device_class=device_class, name="a phone", fingerprint={}),
        threads=1,
        kernels="none",
        p50_us=p50[1],
        p90_us=p90[1],
        p99_us=p90[1],
        p50_us_interval=(p50[0], p50[2]),
        p90_us_interval=(p90[0], p90[2]),
        p99_us_interval=(p90[0], p90[2]),
        samples=100,
        rounds=10,
    )
    return Measurement(
        model_sha256="0" * 64,
        baseline_sha256=None,
        device=latency.device,
        latency=latency,
        baseline_latency=None,
        speedup=interval(speedup),
        memory_bytes=interval(memory),
        figures={name: Figure(value=value) for name, value in FIGURES.items()},
        measured_at="2026-01-01T00:00:00+00:00",
    )


SCORES = {"accuracy": 0.993, "f1": 0.8, "auc": 0.9, "mean_absolute_error": 4.5}
BASELINE_SCORES = {"accuracy": 0.995, "f1": 0.85, "auc": 0.92, "mean_absolute_error": 4.0}


def judged(budgets: dict[str, Any], **measured: Any) -> Verdict:
    """Return the one verdict on one budget."""
    given = {
        "size_bytes": 1000,
        "scores": SCORES,
        "baseline_scores": BASELINE_SCORES,
        "measurement": measurement(),
        **measured,
    }
    for name in ("accuracy", "baseline_accuracy"):  # many tests need this one alone
        if name in given:
            value = given.pop(name)
            given[name.replace("accuracy", "scores")] = {} if value is None else {"accuracy": value}
    (verdict,) = judge(Budgets.model_validate(budgets), **given)
    return verdict


def latency(limit: float, device_class: str = "phone") -> dict[str, Any]:
    return {"limit": limit, "device_class": device_class}


# Of each kind of budget: limits that pass and fail, and one that lies in the interval where there is one.
KINDS = [
    ("size_bytes", 1000, 999, None),
    ("accuracy_min", 0.993, 0.9931, None),
    ("accuracy_drop_max", 0.002, 0.0019, None),
    ("f1_min", 0.8, 0.81, None),
    ("f1_drop_max", 0.05, 0.049, None),
    ("auc_min", 0.9, 0.91, None),
    ("auc_drop_max", 0.02, 0.019, None),
    ("mean_absolute_error_max", 4.5, 4.4, None),
    ("mean_absolute_error_rise_max", 0.5, 0.49, None),
    ("latency_p50_ms", latency(0.11), latency(0.08), latency(0.1)),
    ("latency_p90_ms", latency(0.21), latency(0.18), latency(0.205)),
    ("speedup_min", 1.9, 2.2, 2.0),
    ("memory_bytes", 1100, 899, 1000),
    ("arena_bytes", 5000, 4999, None),
    ("sram_bytes", 6000, 5999, None),
    ("flash_bytes", 7000, 6999, None),
    ("npu_operator_share_min", 0.75, 0.76, None),
    ("npu_cycles_max", 8000, 7999, None),
    ("transfer_gzip_bytes", 900, 899, None),
    ("transfer_brotli_bytes", 800, 799, None),
]
FIGURES = {
    "arena_bytes": 5000,
    "sram_bytes": 6000,
    "flash_bytes": 7000,
    "npu_operator_share": 0.75,
    "npu_cycles": 8000,
    "transfer_gzip_bytes": 900,
    "transfer_brotli_bytes": 800,
}


def test_every_kind_of_budget_is_here() -> None:
    assert [kind[0] for kind in KINDS] == list(Budgets.model_fields)


@pytest.mark.parametrize(
    ("metric", "limit", "expected"),
    [
        (metric, limit, expected)
        for metric, *limits in KINDS
        for limit, expected in zip(limits, ("pass", "fail", "inconclusive"), strict=True)
        if limit is not None
    ],
)
def test_each_kind_can_pass_and_fail(metric: str, limit: Any, expected: str) -> None:
    verdict = judged({metric: limit})
    assert (verdict.metric, verdict.verdict, verdict.note) == (metric, expected, "")
    assert verdict.limit == (limit["limit"] if isinstance(limit, dict) else limit)
    assert verdict.measured is not None


@pytest.mark.parametrize(
    ("metric", "measured", "interval"),
    [
        ("size_bytes", 1000, None),
        ("accuracy_min", 0.993, None),
        ("accuracy_drop_max", 0.002, None),
        ("latency_p50_ms", 0.1, (0.09, 0.11)),
        ("latency_p90_ms", 0.2, (0.19, 0.21)),
        ("speedup_min", 2.0, (1.9, 2.1)),
        ("memory_bytes", 1000, (900, 1100)),
        ("npu_operator_share_min", 0.75, None),
        ("arena_bytes", 5000, None),
    ],
)
def test_measured_value_and_interval_have_the_unit_of_the_limit(metric: str, measured: float, interval: Any) -> None:
    verdict = judged({metric: next(kind[1] for kind in KINDS if kind[0] == metric)})
    assert verdict.measured == pytest.approx(measured)
    assert verdict.interval == (None if interval is None else pytest.approx(interval))


@pytest.mark.parametrize("metric", ["latency_p50_ms", "latency_p90_ms"])
@pytest.mark.parametrize("limit", [0.001, 0.1, 1000.0])
def test_latency_decides_nothing_on_another_class_of_device(metric: str, limit: float) -> None:
    verdict = judged({metric: latency(limit, "watch")})
    assert verdict.verdict == "not applicable"
    assert verdict.measured is not None
    assert "watch" in verdict.note
    assert "phone" in verdict.note
    assert overall([verdict]) == "pass"


@pytest.mark.parametrize(
    ("metric", "measured"),
    [
        ("accuracy_min", {"accuracy": None}),
        ("accuracy_drop_max", {"accuracy": None}),
        ("accuracy_drop_max", {"baseline_accuracy": None}),
        ("latency_p50_ms", {"measurement": None}),
        ("latency_p90_ms", {"measurement": None}),
        ("speedup_min", {"measurement": None}),
        ("speedup_min", {"measurement": measurement(speedup=None)}),
        ("memory_bytes", {"measurement": None}),
        ("memory_bytes", {"measurement": measurement(memory=None)}),
    ],
)
def test_what_binds_and_was_not_measured_does_not_pass(metric: str, measured: dict[str, Any]) -> None:
    generous = next(kind[1] for kind in KINDS if kind[0] == metric)
    verdict = judged({metric: generous}, **measured)
    assert (verdict.verdict, verdict.measured, verdict.interval) == ("inconclusive", None, None)
    assert verdict.note
    assert undecided([verdict]) == [], "more rounds cannot measure what was not measured"


@pytest.mark.parametrize("budget", [{"latency_p50_ms": latency(0.001)}, {"speedup_min": 100.0}, {"speedup_min": 0.1}])
def test_emulated_time_decides_nothing(budget: dict[str, Any]) -> None:
    found = measurement()
    emulated = found.device.model_copy(update={"emulated": True})
    seen = found.model_copy(
        update={"device": emulated, "latency": found.latency.model_copy(update={"device": emulated})}
    )
    verdict = judged(budget, measurement=seen)
    assert verdict.verdict == "not applicable"
    assert "emulated on a phone" in verdict.note
    assert judged(budget).verdict in ("pass", "fail")


def test_an_estimate_is_called_one() -> None:
    figures = {"npu_cycles": Figure(value=8000, estimated=True, note="of a compiler")}
    verdict = judged({"npu_cycles_max": 8000}, measurement=measurement().model_copy(update={"figures": figures}))
    assert (verdict.verdict, verdict.note) == ("pass", "an estimate: of a compiler")


def test_a_figure_that_is_not_told_does_not_pass() -> None:
    silent = measurement().model_copy(update={"figures": {}})
    assert judged({"arena_bytes": 10**6}, measurement=silent).verdict == "inconclusive"
    assert judged({"npu_operator_share_min": 0.0}, measurement=silent).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("limit", "p95_us", "expected"),
    [
        (0.3, 250, "pass"),  # 95% of the single invocations lie within the limit
        (0.3, 310, "inconclusive"),
        (0.3, None, "inconclusive"),
        (0.1, 50, "pass"),
        (0.15, None, "inconclusive"),  # a tenth of the means lie beyond it, which may be a twentieth of the invocations
        (0.08, None, "fail"),  # half of the means lie beyond it
    ],
)
def test_a_90th_percentile_of_means_decides_by_what_bounds_it(
    limit: float, p95_us: float | None, expected: str
) -> None:
    found = measurement()
    figures = {} if p95_us is None else {"p95_us": Figure(value=p95_us)}
    seen = found.model_copy(
        update={"figures": figures, "latency": found.latency.model_copy(update={"invocations_a_time": 50})}
    )
    assert judged({"latency_p90_ms": latency(limit)}, measurement=seen).verdict == expected


@pytest.mark.parametrize(
    ("differences", "beyond", "expected"), [(0, 0, "pass"), (2, 0, "pass"), (3, 0, "fail"), (1, 1, "fail")]
)
def test_answers_beyond_rounding_fail_without_a_budget(differences: int, beyond: int, expected: str) -> None:
    check = DeviceCheck(
        samples=1000,
        differences=differences,
        differences_max=2,
        steps_max=1,
        beyond_steps_max=beyond,
        largest_difference_steps=1.0,
        first_difference="operator 3 SOFTMAX",
        test_samples=1000,
        metric="accuracy",
        score=0.99,
        host_score=0.99,
    )
    verdict = judged({}, measurement=measurement().model_copy(update={"device_check": check}))
    assert (verdict.metric, verdict.verdict, verdict.measured) == ("device_differences_max", expected, differences)
    assert "SOFTMAX" in verdict.note


def test_only_budgets_that_are_set_are_judged() -> None:
    assert judge(Budgets(), size_bytes=1, scores={}, baseline_scores={}, measurement=None) == []


def outcome(low: float, high: float, limit: float, *, at_most: bool) -> str:
    inside, outside = (high <= limit, low > limit) if at_most else (low >= limit, high < limit)
    return "pass" if inside else "fail" if outside else "inconclusive"


@quick
@given(intervals(), st.floats(1e-6, 1e9), st.sampled_from(["latency_p50_ms", "latency_p90_ms"]))
def test_latency_is_decided_by_the_whole_interval(found: Numbers, limit: float, metric: str) -> None:
    verdict = judged({metric: latency(limit)}, measurement=measurement(p50=found, p90=found))
    assert verdict.verdict == outcome(found[0] / 1000, found[2] / 1000, limit, at_most=True)


@quick
@given(intervals(), st.sampled_from(["speedup_min", "memory_bytes"]), st.data())
def test_ratio_and_memory_are_decided_by_the_whole_interval(found: Numbers, metric: str, data: st.DataObject) -> None:
    at_most = metric == "memory_bytes"
    near = st.sampled_from(found) | st.floats(1e-3, 1e6)
    limit = data.draw(st.integers(1, 10**6) if at_most else near)
    verdict = judged({metric: limit}, measurement=measurement(speedup=found, memory=found))
    assert verdict.verdict == outcome(found[0], found[2], limit, at_most=at_most)
    assert (verdict in undecided([verdict])) == (verdict.verdict == "inconclusive")


@quick
@given(st.integers(1, 100_000), st.integers(0, 10_000), st.data())
def test_accuracy_counts_samples_exactly(samples: int, limit: int, data: st.DataObject) -> None:
    """A drop of just the limit passes and one sample more fails, whatever floats make of it."""
    allowed = limit * samples // 10_000
    baseline = data.draw(st.integers(0, samples))
    drop = data.draw(st.integers(allowed, allowed + 1) | st.integers(0, samples)) % (baseline + 1)
    verdict = judged(
        {"accuracy_drop_max": float(f"0.{limit:04}") if limit < 10_000 else 1.0},
        accuracy=(baseline - drop) / samples,
        baseline_accuracy=baseline / samples,
    )
    assert verdict.verdict == ("pass" if Fraction(drop, samples) <= Fraction(limit, 10_000) else "fail")


def test_drop_of_0_995_to_0_993_is_0_002() -> None:
    assert 0.995 - 0.993 > 0.002, "what makes this test worth having"
    assert judged({"accuracy_drop_max": 0.002}, accuracy=0.993, baseline_accuracy=0.995).verdict == "pass"
    assert judged({"accuracy_drop_max": 0.002}, accuracy=0.9929, baseline_accuracy=0.995).verdict == "fail"


def test_a_gain_over_the_baseline_is_a_negative_drop() -> None:
    verdict = judged({"accuracy_drop_max": 0.0}, accuracy=0.995, baseline_accuracy=0.993)
    assert (verdict.verdict, verdict.measured) == ("pass", pytest.approx(-0.002))


def verdict_of(outcome: Any) -> Verdict:
    return Verdict(metric="size_bytes", limit=1, measured=1, interval=None, verdict=outcome)


@pytest.mark.parametrize(
    ("found", "whole", "code"),
    [
        ([], "pass", 0),
        (["pass", "not applicable"], "pass", 0),
        (["not applicable"], "pass", 0),
        (["pass", "inconclusive"], "inconclusive", 3),
        (["pass", "fail"], "fail", 5),
        (["inconclusive", "fail", "not applicable"], "fail", 5),
    ],
)
def test_one_failure_fails_the_whole(found: list[str], whole: str, code: int) -> None:
    for order in (found, found[::-1]):
        assert overall([verdict_of(outcome) for outcome in order]) == whole
    assert exit_code(whole) == code
