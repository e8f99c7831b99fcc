"""Budgets against measurements: pure functions, no judgement anywhere else.

pass            the whole interval lies inside the limit
fail            the whole interval lies outside
inconclusive    the limit lies within the interval, or nothing was measured
not applicable  the limit binds elsewhere (another device class), so it decides nothing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import EXIT_BUDGET, EXIT_INCONCLUSIVE, EXIT_PASS
from pipeline.learning_task import METRICS, budget_keys
from pipeline.target import Budgets, LatencyBudget

if TYPE_CHECKING:
    from pipeline.benchmark import DeviceCheck, Measurement
    from pipeline.runner import Device

# What a runner's figures are held against, and the figure's name.
DEVICE_BUDGETS = {
    "arena_bytes": "arena_bytes",
    "sram_bytes": "sram_bytes",
    "flash_bytes": "flash_bytes",
    "npu_operator_share_min": "npu_operator_share",
    "npu_cycles_max": "npu_cycles",
    "transfer_gzip_bytes": "transfer_gzip_bytes",
    "transfer_brotli_bytes": "transfer_brotli_bytes",
}
Outcome = Literal["pass", "fail", "inconclusive", "not applicable"]


class Verdict(BaseModel):
    """One budget and the measurement behind its verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field(description="The budget's key in the target's TOML; device_differences_max binds by itself.")
    limit: float = Field(description="The limit.")
    measured: float | None = Field(description="The measured value in the limit's unit; null where none was made.")
    interval: tuple[float, float] | None = Field(description="95% confidence interval; null where exact.")
    verdict: Outcome = Field(description="pass, fail, inconclusive, or not applicable.")
    note: str = Field("", description="Why the limit decides nothing here, or was not measured.")


def judge(
    budgets: Budgets,
    *,
    size_bytes: int,
    scores: Mapping[str, float],
    baseline_scores: Mapping[str, float],
    measurement: Measurement | None,
) -> list[Verdict]:
    """Return a verdict for each budget that is set. Scores are metrics by name, of the test split."""
    verdicts: list[Verdict] = []

    def add(
        metric: str,
        value: float | None,
        interval: tuple[float, float] | None,
        *,
        at_most: bool,
        said: dict[str, str] | None = None,
    ) -> None:
        limit = getattr(budgets, metric)
        if limit is not None:
            verdicts.append(_verdict(metric, limit, value, interval, at_most=at_most).model_copy(update=said or {}))

    add("size_bytes", size_bytes, None, at_most=True)
    for name, scored in METRICS.items():
        limit, worsening = budget_keys(name)
        add(limit, scores.get(name), None, at_most=not scored.higher_is_better)
        add(worsening, worse_by(name, scores, baseline_scores), None, at_most=True)
    for metric, quantile in (("latency_p50_ms", "p50_us"), ("latency_p90_ms", "p90_us")):
        if getattr(budgets, metric) is not None:
            verdicts.append(_latency(metric, getattr(budgets, metric), quantile, measurement))
    speedup = measurement.speedup if measurement else None
    memory = measurement.memory_bytes if measurement else None
    emulated = _emulated(measurement.device) if measurement else {}
    found = (speedup.value, (speedup.low, speedup.high)) if speedup else (None, None)
    add("speedup_min", *found, at_most=False, said=emulated)
    add("memory_bytes", *((memory.value, (memory.low, memory.high)) if memory else (None, None)), at_most=True)
    for metric, name in DEVICE_BUDGETS.items():
        figure = measurement.figures.get(name) if measurement else None
        said = {"note": f"an estimate: {figure.note or 'not measured'}"} if figure and figure.estimated else {}
        add(metric, figure.value if figure else None, None, at_most=not metric.endswith("_min"), said=said)
    if measurement and measurement.device_check:
        verdicts.append(_answers(measurement.device_check))
    return verdicts


def worse_by(metric: str, scores: Mapping[str, float], baseline_scores: Mapping[str, float]) -> float | None:
    """Return by how much a score is worse than the float32 file's; None where one of them is not known."""
    if metric not in scores or metric not in baseline_scores:
        return None
    worse = baseline_scores[metric] - scores[metric]
    return round(worse if METRICS[metric].higher_is_better else -worse, 9)  # 0.995 − 0.993 must not exceed 0.002


def overall(verdicts: list[Verdict]) -> Literal["pass", "fail", "inconclusive"]:
    """One failed budget fails the whole; one inconclusive keeps it from passing."""
    found = {verdict.verdict for verdict in verdicts}
    return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"


def undecided(verdicts: list[Verdict], *, by_rounds: bool = False) -> list[Verdict]:
    """Return the inconclusive ones that were measured; with `by_rounds` those that more rounds might decide."""
    found = [verdict for verdict in verdicts if verdict.verdict == "inconclusive" and verdict.interval]
    return [verdict for verdict in found if not (by_rounds and verdict.metric == "memory_bytes")]


def exit_code(outcome: str) -> int:
    """Return the exit code of an overall verdict: 0, 3 or 5."""
    return {"pass": EXIT_PASS, "inconclusive": EXIT_INCONCLUSIVE, "fail": EXIT_BUDGET}[outcome]


def _verdict(
    metric: str, limit: float, value: float | None, interval: tuple[float, float] | None, *, at_most: bool
) -> Verdict:
    outcome: Outcome
    if value is None:
        return Verdict(
            metric=metric,
            limit=limit,
            measured=None,
            interval=None,
            verdict="inconclusive",  # what binds and was not measured does not pass
            note="not measured: there was nothing to compare with, or the device does not tell",
        )
    low, high = interval or (value, value)
    if (high <= limit) if at_most else (low >= limit):
        outcome = "pass"
    elif (low > limit) if at_most else (high < limit):
        outcome = "fail"
    else:
        outcome = "inconclusive"
    return Verdict(metric=metric, limit=limit, measured=value, interval=interval, verdict=outcome)


def _emulated(device: Device) -> dict[str, str]:
    """Return what a verdict on a time of this device says, where another one stands in for it; else nothing."""
    if not device.emulated:
        return {}
    return {"verdict": "not applicable", "note": f"emulated on {device.name}: its time decides nothing"}


def _answers(check: DeviceCheck) -> Verdict:
    """Fail where the device answers otherwise than rounding explains: it is not the file that was evaluated."""
    ok = check.differences <= check.differences_max and not check.beyond_steps_max
    note = ""
    if check.beyond_steps_max:
        note = f"{check.beyond_steps_max} of them between classes more than {check.steps_max} steps apart"
    if check.first_difference:
        note = f"{note}; first at {check.first_difference}".removeprefix("; ")
    return Verdict(
        metric="device_differences_max",
        limit=check.differences_max,
        measured=check.differences,
        interval=None,
        verdict="pass" if ok else "fail",
        note=note,
    )


def _p90_of_means(judged: Verdict, budget: LatencyBudget, measurement: Measurement) -> Verdict:
    """Means of several invocations vary less than single ones: their 90th percentile decides nothing by itself.

    Where the device tells the 95th percentile of single invocations, that is no less than the 90th. And where half
    of the medians lie beyond the limit, so does a quarter of the invocations at least.
    """
    bound = measurement.figures.get("p95_us")
    latency = measurement.latency
    if bound and bound.value / 1000 <= budget.limit:
        update = {"measured": bound.value / 1000, "interval": None, "verdict": "pass", "note": "by the 95th percentile"}
    elif latency and latency.p50_us_interval[0] / 1000 > budget.limit:
        return judged
    else:
        update = {"verdict": "inconclusive", "note": "the device tells means of several invocations only"}
    return judged.model_copy(update=update)


def _latency(metric: str, budget: LatencyBudget, quantile: str, measurement: Measurement | None) -> Verdict:
    """Judge in milliseconds, where the device is of the class that the budget binds on."""
    latency = measurement.latency if measurement else None
    value = getattr(latency, quantile) / 1000 if latency else None
    bounds = getattr(latency, f"{quantile}_interval") if latency else None
    interval = (bounds[0] / 1000, bounds[1] / 1000) if bounds else None
    judged = _verdict(metric, budget.limit, value, interval, at_most=True)
    if quantile == "p90_us" and latency and latency.invocations_a_time > 1 and measurement:
        judged = _p90_of_means(judged, budget, measurement)
    if latency and (emulated := _emulated(latency.device)):
        return judged.model_copy(update=emulated)
    device = measurement.device if measurement else None
    if device and device.device_class != budget.device_class:
        note = f"binds on {budget.device_class}, measured on {device.device_class}"
        return judged.model_copy(update={"verdict": "not applicable", "note": note})
    return judged
