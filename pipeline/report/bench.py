"""What was measured, as lines and tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from pipeline.report.device import device_lines, number
from pipeline.report.folding_table import table_of
from pipeline.report.tables import console_on_stdout, print_budgets, print_verdict


def print_bench(document: Any) -> None:
    """Print each result of a BenchDocument."""
    console = console_on_stdout()
    for result in document.results:
        title = f"{result.workload} for {result.target}: " if result.target else ""
        console.print(f"{title}{result.model}", markup=False, highlight=False)
        lines = device_lines(result.latency, result.device)
        console.print("\n".join(lines), markup=False, highlight=False)
        if result.profile:
            from pipeline.report.operator_times import print_operator_times

            print_operator_times(console, result.profile)
        if result.changes:
            _print_changes(console, result.changes)
        if result.verdicts:
            print_budgets(console, result.verdicts)
            print_verdict(console, result.verdict, result.target)


def print_bench_compare(document: Any) -> None:
    """Print the ratio of a BenchCompareDocument and its word."""
    console = console_on_stdout()
    ratio = document.ratio
    lines = [
        f"{document.first}: p50 {document.first_p50_us:.2f} µs, {document.kernels[0]}",
        f"{document.second}: p50 {document.second_p50_us:.2f} µs, {document.kernels[1]}",
        f"the second takes {ratio.value:.3f} times as long as the first "
        f"({document.confidence:.0%} interval {ratio.low:.3f}–{ratio.high:.3f}): {document.word}",
        f"{document.processes} processes on {document.device.name} ({document.device.device_class}), "
        f"{document.threads} thread{'s' if document.threads > 1 else ''}",
    ]
    console.print("\n".join(lines), markup=False, highlight=False)


def _print_changes(console: Console, changes: list[Any]) -> None:
    table = table_of("metric", "before", "now", "outcome")
    for change in changes:
        outcome = f"{change.outcome}: {change.note}" if change.note else change.outcome
        table.add_row(change.metric, number(change.before), number(change.now), outcome)
    console.print(table)
