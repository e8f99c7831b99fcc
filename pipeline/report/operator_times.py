"""Where a file's time goes, as a table for a person: what `invoke bench --profile` adds."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from pipeline.report.folding_table import table_of


def print_operator_times(console: Console, times: Any) -> None:
    """Print OperatorTimes: the operators, the longest first, then the dispatch floor and what it all leaves out."""
    table = table_of("#", "operator", "output", "time (estimate)", "interval", "share", "kernels", "")
    for row in times.operators:
        remarks = ["within noise"] * row.within_noise + ["cut off, computed by another"] * (not row.cut_alike)
        table.add_row(
            str(row.first) if row.first == row.last else f"{row.first}–{row.last}",
            escape(row.name),
            "×".join(map(str, row.output_shape)) or "scalar",
            f"{row.microseconds.value:.2f} µs",
            f"{row.microseconds.low:.2f} to {row.microseconds.high:.2f}",
            f"{row.share:.1%}",
            row.kernels,
            ", ".join(remarks),
        )
    console.print(table)
    whole, floor = times.whole_us, times.dispatch_floor_us
    lines = [
        f"dispatch    {floor.value:.2f} µs ({floor.low:.2f}–{floor.high:.2f}), {times.dispatch_floor_share:.1%} of the "
        f"whole: what a file of one operator with next to nothing to compute takes",
        f"whole       {whole.value:.2f} µs ({whole.low:.2f}–{whole.high:.2f}) in {times.rounds} rounds",
        f"operators   {times.note}",
    ]
    console.print("\n".join(lines), markup=False, highlight=False)
