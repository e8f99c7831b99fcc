"""Whether a measurement is worse than an earlier one, beyond what both intervals allow.

A latency is worse when its whole interval lies above the earlier whole interval; so is memory. Sizes and
a device's figures are exact; those that vary and have no interval are left out. A score is worse when it lies
beyond the 95% interval of the earlier one; where that has none, it is compared as it is. Times and
memory compare only where device, runner and threads are the same.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import RequestError
from pipeline.learning_task import METRICS
from pipeline.score_intervals import wilson_interval
from pipeline.verdict import DEVICE_BUDGETS

if TYPE_CHECKING:
    from pipeline.documents import BenchResult, BuildDocument

HIGHER_IS_BETTER = ("npu_operator_share",)
# Figures that a file has; the others are times, energy and the like, which vary and have no interval.
EXACT = frozenset(DEVICE_BUDGETS.values())


class Change(BaseModel):
    """One metric, before and now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field(description="Name of the metric, with its unit.")
    before: float = Field(description="Its earlier value.")
    now: float = Field(description="Its value now.")
    outcome: Literal["worse", "better", "no difference shown", "not applicable"] = Field(
        description="worse or better: beyond what the intervals allow; not applicable: measured under other conditions."
    )
    note: str = Field("", description="Why it does not apply.")


def load_earlier(path: Path) -> BuildDocument | BenchResult:
    """Return an earlier `build.json` or `bench.json`. Raises RequestError for anything else."""
    from pipeline.documents import BenchDocument, BenchResult, BuildDocument

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _no_measurement(path, str(error)) from error
    complaints = []
    with contextlib.suppress(ValidationError):  # what `invoke bench --json` prints, for one file
        results = BenchDocument.model_validate_json(text).results
        if len(results) == 1:
            return results[0]
    for model in (BuildDocument, BenchResult):
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            complaints.append(f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip())
    raise _no_measurement(path, complaints[0])


def changes(
    now: BuildDocument | BenchResult,
    before: BuildDocument | BenchResult,
    scores: tuple[dict[str, float], int] | None = None,
) -> list[Change]:
    """Return every metric that both have. scores: of the file now, and of how many samples."""
    found = [_exact("size_bytes", before.size_bytes, now.size_bytes)]
    earlier, spans = getattr(before, "scores", {}), getattr(before, "score_intervals", {})
    for name in METRICS:
        if scores and name in earlier and name in scores[0]:
            span = score_interval(earlier, spans, name, scores[1])
            found.append(_score(name, earlier[name], scores[0][name], span))
    for name in sorted(set(before.device.figures) & set(now.device.figures) & EXACT):
        theirs, ours = before.device.figures[name].value, now.device.figures[name].value
        found.append(_exact(name, theirs, ours, higher=name in HIGHER_IS_BETTER))
    note = not_comparable(now, before)
    if before.latency and now.latency:
        for name in ("p50_us", "p90_us"):
            intervals = [getattr(latency, f"{name}_interval") for latency in (before.latency, now.latency)]
            values = [getattr(latency, name) for latency in (before.latency, now.latency)]
            found.append(_measured(name, values, intervals, note))
    if before.device.memory_bytes and now.device.memory_bytes:
        both = [before.device.memory_bytes, now.device.memory_bytes]
        found.append(
            _measured("memory_bytes", [one.value for one in both], [(one.low, one.high) for one in both], note)
        )
    return found


def score_interval(
    scores: dict[str, float], intervals: dict[str, tuple[float, float]], metric: str, samples: int
) -> tuple[float, float] | None:
    """Return a score's recorded interval; accuracy's from its samples in a document from before they were recorded."""
    if metric in intervals or metric != "accuracy" or metric not in scores or not samples:
        return intervals.get(metric)
    return wilson_interval(round(scores[metric] * samples), samples)


def not_comparable(now: BuildDocument | BenchResult, before: BuildDocument | BenchResult) -> str:
    """Return why times do not compare; "" where they do."""
    if now.device.runner != before.device.runner or now.device.device != before.device.device:
        return f"measured on {before.device.device.name} ({before.device.runner}) before, or with other versions"
    if now.device.device.emulated:
        return "emulated time decides nothing"
    if now.latency and before.latency and now.latency.threads != before.latency.threads:
        return f"measured with {before.latency.threads} threads before"
    return ""


def _exact(metric: str, before: float, now: float, *, higher: bool = False) -> Change:
    worse, better = (now < before, now > before) if higher else (now > before, now < before)
    outcome = "worse" if worse else "better" if better else "no difference shown"
    return Change(metric=metric, before=before, now=now, outcome=outcome)


def _measured(metric: str, values: list[float], intervals: list[tuple[float, float]], note: str) -> Change:
    (before_low, before_high), (now_low, now_high) = intervals
    outcome = "worse" if now_low > before_high else "better" if now_high < before_low else "no difference shown"
    return Change(
        metric=metric,
        before=values[0],
        now=values[1],
        outcome="not applicable" if note else outcome,
        note=note,
    )


def _score(metric: str, before: float, now: float, span: tuple[float, float] | None) -> Change:
    """span: 95% interval of the earlier score; None where it is as it is."""
    if span is None:
        return _exact(metric, before, now, higher=METRICS[metric].higher_is_better)
    below, above = now < span[0], now > span[1]
    better, worse = (above, below) if METRICS[metric].higher_is_better else (below, above)
    outcome = "worse" if worse else "better" if better else "no difference shown"
    return Change(metric=metric, before=before, now=now, outcome=outcome)


def _no_measurement(path: Path, received: Any) -> RequestError:
    return RequestError(
        f"--against: {path} is no earlier measurement",
        received=received,
        expected="a build.json or bench.json of this version, or what `invoke bench --json` printed for one file",
        fix="copy artifacts/<workload>/<target>/build.json of the earlier build, and give its path",
    )
