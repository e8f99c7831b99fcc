"""The history as tables with sparklines."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from pipeline.learning_task import METRICS, in_words
from pipeline.report.device import number
from pipeline.report.folding_table import table_of
from pipeline.report.sparkline import levels_of_stdout, sparkline
from pipeline.report.tables import console_on_stdout

SHOWN_VALUES = 20


def print_history(document: Any) -> None:
    """Print a HistoryDocument: each metric's way, and of a single workload and target the measurements too."""
    console, levels = console_on_stdout(), levels_of_stdout()
    if not document.trends:
        console.print("nothing was measured yet: invoke build --target=mobile", markup=False, highlight=False)
    else:
        table = table_of("workload", "target", "metric", "trend", "latest", "change", "measured")
        for trend in document.trends:
            for place, series in enumerate(trend.series):
                names = (escape(trend.workload), escape(trend.target)) if place == 0 else ("", "")
                shown = sparkline(series.values[-SHOWN_VALUES:], levels)
                cells = (escape(series.metric), shown, value(series.metric, series.latest), change(series))
                table.add_row(*names, *cells, _count(series))
        console.print(table)
    if len(document.trends) == 1:
        _print_lines(console, document.trends[0])
    notes = [f"unreadable lines in {document.path}: {document.unreadable}"] if document.unreadable else []
    notes += [f"lines of files that belong to no target: {document.unnamed}"] if document.unnamed else []
    console.print("\n".join(notes), end="\n" if notes else "", markup=False, highlight=False, soft_wrap=True)


def value(metric: str, measured: float) -> str:
    """Return a value as its metric is written."""
    return in_words(metric, measured) if metric in METRICS else number(measured)


def step_in_words(metric: str, before: float, after: float) -> str:
    """Return a change: of what is said in percent in percentage points, of all else as a share of what it was."""
    if value(metric, before).endswith("%"):
        return f"{(after - before) * 100 + 0.0:+.2f} points"
    return f"{(after - before) / abs(before) + 0.0:+.2%}" if before else f"{after - before:+.4g}"


def change(series: Any) -> str:
    """Return the step from the previous value, and whether it says anything."""
    if series.previous is None:
        return ""
    if series.latest == series.previous:
        return "same"
    step = step_in_words(series.metric, series.previous, series.latest)
    return step + ({True: "", False: ", within the intervals", None: ""}[series.beyond_intervals])


def _count(series: Any) -> str:
    left_out = f", {series.left_out} under other conditions" if series.left_out else ""
    return f"{len(series.values)} measurements{left_out}" if len(series.values) > 1 else f"1 measurement{left_out}"


def _print_lines(console: Console, trend: Any) -> None:
    columns = [series.metric for series in trend.series]
    table = table_of("at", "kind", "commit", *map(escape, columns), "on")
    for line in trend.lines:
        known = {"size_bytes": line.size_bytes, **line.scores, "p50_us": line.p50_us, "p90_us": line.p90_us}
        known["memory_bytes"] = line.memory_bytes.value if line.memory_bytes else None
        known |= {name: figure.value for name, figure in line.figures.items()}
        cells = ("" if (found := known.get(name)) is None else value(name, found) for name in columns)
        commit = f"{line.git_commit[:10]}{'+' * line.git_commit.endswith('+')}" if line.git_commit else ""
        kind = f"{line.kind}, reused" if line.reused else line.kind
        table.add_row(line.at, kind, commit, *cells, escape(line.device.name))
    console.print(table)
