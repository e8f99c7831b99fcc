"""A comparison for a person: the table, the reasons, the choice; and as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from pipeline.comparison.scenarios import mean_corrupted, warnings
from pipeline.report.folding_table import table_of
from pipeline.report.tables import COLOURS, console_on_stdout, print_budgets, print_figures, print_verdict
from pipeline.target import recipe_toml

if TYPE_CHECKING:
    from pipeline.comparison.document import CandidateRow
    from pipeline.documents import CompareDocument


def print_comparison(document: CompareDocument) -> None:
    """Print a CompareDocument."""
    console = console_on_stdout()
    rows = document.candidates
    scenarios = any(row.corrupted for row in rows)
    marks = {row.name: ("★" if row.name == document.choice else " ") + ("◆" if row.on_front else " ") for row in rows}
    for columns, cells in ((_SIZE, _size_cells), (_TIME + _SCENARIOS * scenarios, _time_cells)):
        table = table_of("  technique", *columns)
        for row in rows:
            table.add_row(f"{marks[row.name]} {row.name}", *cells(row)[: len(columns)])
        console.print(table)
    print_figures(console, rows)
    timed = rows[0].latency
    console.print(f"times by the runner {timed.runner} on {timed.device.name}", markup=False, highlight=False)
    console.print(
        "★ the choice  ◆ on the Pareto front of bytes, p50 and validation accuracy (with its 95% interval)\n"
        "p: McNemar's test against float32 on validation  values: most distinct weights in a channel\n"
        "accuracy by chance: the accuracy budgets hold on validation, but not with 95% confidence",
        highlight=False,
    )
    console.print()
    for row in rows:
        for number, reason in enumerate(row.reasons):
            console.print(f"{row.name if not number else '':<15} {reason}", markup=False, highlight=False)
    for left_out in document.excluded:
        text = f"{left_out.name:<15} left out: {left_out.message}; {left_out.received}"
        console.print(text, markup=False, highlight=False, style="yellow")
    console.print()
    _print_choice(console, document)


_SIZE = ["bytes", "deflated", "weights", "zeros", "values", "validation", "test", "p", "budgets"]
_TIME = ["p50 µs (95%)", "p90 µs", "of float32's", "memory"]
_SCENARIOS = ["corrupted", "first answer", "without a pause, p50 µs"]


def _size_cells(row: CandidateRow) -> list[str]:
    low, high = row.validation.interval
    unsure = "" if row.accuracy_sure or row.verdict != "pass" else ", accuracy by chance"
    return [
        f"{row.size_bytes:,}",
        f"{row.deflated_bytes:,}",
        f"{row.weight_bytes:,}",
        f"{row.zero_fraction:.0%}",
        str(row.distinct_values_per_channel or ""),
        f"{row.validation.accuracy:.2%} ±{(high - low) / 2:.2%}",
        f"{row.test.accuracy:.2%}",
        "" if row.name == "float32" else f"{row.mcnemar.p_value:.2g}",
        f"[{COLOURS[row.verdict]}]{row.verdict}[/]{unsure}" if row.fits_target else "other dtypes",
    ]


def _time_cells(row: CandidateRow) -> list[str]:
    low, high = row.latency.p50_us_interval
    memory, cold, mean = row.memory_bytes, row.cold_start, mean_corrupted(row)
    sustained = cold.sustained_p50_us if cold else None
    return [
        f"{row.latency.p50_us:.1f} ({low:.1f}–{high:.1f})",
        f"{row.latency.p90_us:.1f}",
        f"{1 / row.speedup.value:.2f}×" if row.speedup else "",
        f"{memory.value / 1000:,.0f} kB" if memory else "",
        f"{mean:.1%}" if mean is not None else "",
        f"{cold.first_answer_ms.value:.1f} ms" if cold else "",
        f"{sustained[0]:.1f} → {sustained[1]:.1f}" if sustained else "",
    ]


def _print_choice(console: Any, document: CompareDocument) -> None:
    rows = {row.name: row for row in document.candidates}
    if document.choice is None:
        console.print("no technique fits this target:", markup=False)
        for row in document.candidates:
            console.print(f"  {row.name}: {row.not_chosen}", markup=False, highlight=False)
        return
    chosen = rows[document.choice]
    console.print(f"choice for {document.target}: {chosen.name} ({chosen.description})", markup=False, highlight=False)
    console.print(
        "of those that fit the target and lose no accuracy the smallest file; of one size the fastest, then the "
        "smallest when deflated; by validation and measurement alone",
        markup=False,
        highlight=False,
    )
    print_budgets(console, document.choice_verdicts)
    print_verdict(console, document.verdict, f"{chosen.file}, accuracy on the test split")
    for warning in warnings(chosen, document.candidates[0]):
        console.print(f"on corrupted pictures — {warning}", style="yellow", markup=False, highlight=False)
    console.print(f"\nits recipe, for targets/{document.target}.toml:\n", markup=False, highlight=False)
    console.print(escape(recipe_toml(chosen.recipe)), highlight=False)


def comparison_csv(document: CompareDocument) -> str:
    """Return one line a candidate, with the columns of the table in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = list(dict.fromkeys(name for row in document.candidates for name in row.figures))
    writer.writerow([*_CSV, *figures])
    for row in document.candidates:
        interval = row.validation.interval
        writer.writerow(
            [
                *(row.name, row.name == document.choice, row.on_front, row.fits_target, row.verdict),
                *(row.size_bytes, row.deflated_bytes, row.weight_bytes, row.parameters, row.multiply_accumulates),
                *(row.validation.accuracy, *interval, row.test.accuracy, row.mcnemar.p_value),
                *(row.latency.p50_us, *row.latency.p50_us_interval, row.latency.p90_us),
                *(row.speedup.value if row.speedup else "", row.memory_bytes.value if row.memory_bytes else ""),
                *(row.zero_fraction, row.distinct_values_per_channel, mean_corrupted(row), row.sha256),
                *(row.figures[name].value if name in row.figures else "" for name in figures),
            ]
        )
    return text.getvalue()


_CSV = (
    *("technique", "choice", "on_front", "fits_target", "verdict"),
    *("size_bytes", "deflated_bytes", "weight_bytes", "parameters", "multiply_accumulates"),
    *("validation_accuracy", "validation_accuracy_low", "validation_accuracy_high", "test_accuracy", "mcnemar_p"),
    *("p50_us", "p50_us_low", "p50_us_high", "p90_us", "speedup", "memory_bytes"),
    *("zero_fraction", "distinct_values_per_channel", "mean_corrupted_accuracy", "sha256"),
)
