"""Measurements over time: the lines of the history, by workload and target, as series of numbers.

Times and memory compare only where runner, device and threads are those of the latest line that has them;
sizes and scores belong to the file and compare everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import RequestError, UnknownName
from pipeline.history import HISTORY, HistoryLine, read
from pipeline.learning_task import METRICS
from pipeline.project import BUILD_DOCUMENT, Project

if TYPE_CHECKING:
    from pipeline.history_document import HistoryDocument, Series, Trend

LAST_MAX = 100_000
OF_THE_DEVICE = ("p50_us", "p90_us", "memory_bytes")


def history_document(
    project: Project, *, target: str = "", workload: str = "", metric: str = "", last: str = "20"
) -> HistoryDocument:
    """Return the history of the project, of one target, workload or metric where these are named.

    last: text of a whole number, how many lines of each workload and target are taken.
    Raises RequestError for a number that cannot be meant, UnknownName for what the history does not hold.
    """
    from pipeline.history_document import HistoryDocument

    most = _count(last)
    path = project.artifacts / HISTORY
    lines, unreadable = read(path)
    named = [line for line in lines if line.target and line.workload]
    learned = Path(workload).stem if workload.endswith(".py") else workload
    for kind, wanted, known in (
        ("target", target, {str(line.target) for line in named}),
        ("workload", learned, {str(line.workload) for line in named}),
        ("metric", metric, {name for line in named for name in values_of(line)}),
    ):
        if wanted and wanted not in known:
            raise UnknownName(kind, wanted, known, where="the history")
    groups: dict[tuple[str, str], list[HistoryLine]] = {}
    for line in named:
        if (not target or line.target == target) and (not learned or line.workload == learned):
            groups.setdefault((str(line.workload), str(line.target)), []).append(line)
    trends = [
        trend_of(name, place, group[-most:], metric or _metric_of(project.folder(name, place)), only=bool(metric))
        for (name, place), group in sorted(groups.items())
    ]
    return HistoryDocument(
        path=str(path.relative_to(project.root)),
        last=most,
        unreadable=unreadable,
        unnamed=len(lines) - len(named),
        trends=[trend for trend in trends if trend.series],
    )


def trend_of(workload: str, target: str, lines: Sequence[HistoryLine], metric: str, *, only: bool = False) -> Trend:
    """Return size, score and median latency over the lines, or the one metric alone with `only`.

    metric: the workload's; "" takes the first that the lines have.
    """
    from pipeline.history_document import Trend

    score = metric or next((name for name in METRICS if any(name in line.scores for line in lines)), "")
    names = (score,) if only else ("size_bytes", score, "p50_us")
    found = [series_of(name, lines) for name in names if name]
    return Trend(workload=workload, target=target, series=[one for one in found if one], lines=list(lines))


def series_of(metric: str, lines: Sequence[HistoryLine]) -> Series | None:
    """Return the metric's values over the lines; None where no line has it."""
    from pipeline.history_document import Series

    having = _measured_once([line for line in lines if metric in values_of(line)], metric)
    if not having:
        return None
    alike = [line for line in having if _conditions(line, metric) == _conditions(having[-1], metric)]
    values = [values_of(line)[metric] for line in alike]
    previous = values[-2] if len(values) > 1 else None
    intervals = [_interval(line, metric) for line in alike[-2:]]
    before, now = intervals if len(intervals) > 1 else (None, None)
    return Series(
        metric=metric,
        values=values,
        at=[line.at for line in alike],
        left_out=len(having) - len(alike),
        latest=values[-1],
        previous=previous,
        change=(values[-1] - previous) / abs(previous) if previous else None,
        beyond_intervals=(now[0] > before[1] or now[1] < before[0]) if before and now else None,
    )


def _measured_once(lines: Sequence[HistoryLine], metric: str) -> list[HistoryLine]:
    """Leave out the lines that only repeat a measurement of the device: a build that reused it measured nothing."""
    if metric not in OF_THE_DEVICE and not any(metric in line.figures for line in lines):
        return list(lines)
    seen: set[object] = set()
    kept = []
    for line in lines:
        measurement = (line.sha256, line.at, line.runner, line.device.name, line.threads)
        if not line.reused or measurement not in seen:
            kept.append(line)
        seen.add(measurement)
    return kept


def values_of(line: HistoryLine) -> dict[str, float]:
    """Return every number of a line by its name: size, scores, times, memory and the device's figures."""
    times = {"p50_us": line.p50_us, "p90_us": line.p90_us}
    return {
        "size_bytes": float(line.size_bytes),
        **({"accuracy": line.accuracy} if line.accuracy is not None else {}),
        **line.scores,
        **{name: value for name, value in times.items() if value is not None},
        **({"memory_bytes": line.memory_bytes.value} if line.memory_bytes else {}),
        **{name: figure.value for name, figure in line.figures.items()},
    }


def scores_over_time(lines: Sequence[HistoryLine], target: str, workload: str, metric: str, last: int) -> list[float]:
    """Return the metric of the last builds of a workload for a target, the oldest first."""
    builds = [line for line in lines if line.kind == "build" and (line.target, line.workload) == (target, workload)]
    return [values_of(line)[metric] for line in builds if metric in values_of(line)][-last:]


def _conditions(line: HistoryLine, metric: str) -> object:
    """Return what must be equal for two values to compare."""
    if metric in OF_THE_DEVICE:
        return line.runner, line.device, line.threads
    return (line.runner, line.device) if metric in line.figures else None


def _interval(line: HistoryLine, metric: str) -> tuple[float, float] | None:
    if metric == "memory_bytes" and line.memory_bytes:
        return line.memory_bytes.low, line.memory_bytes.high
    known = {"p50_us": line.p50_us_interval, "p90_us": line.p90_us_interval}
    return known.get(metric)


def _metric_of(folder: Path) -> str:
    """Return the metric that the last build was scored by; "" where there is none."""
    try:
        return str(json.loads((folder / BUILD_DOCUMENT).read_text(encoding="utf-8"))["metric"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _count(text: str) -> int:
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= LAST_MAX:
        return int(text)
    raise RequestError(
        "--last cannot be used",
        received=text or "nothing",
        expected=f"a whole number from 1 to {LAST_MAX}",
        fix="--last=20",
    )
