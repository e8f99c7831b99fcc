"""The data report as text."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from pipeline.report.folding_table import table_of
from pipeline.report.tables import console_on_stdout

CLASSES_SHOWN = 40


def print_data(document: Any) -> None:
    """Print samples by class and split, what the reader found, and warnings."""
    console = console_on_stdout()
    table = table_of("class", *document.splits)
    names = list(next(iter(document.splits.values())).classes)
    for name in names[:CLASSES_SHOWN]:
        table.add_row(escape(name), *(str(split.classes[name]) for split in document.splits.values()))
    if len(names) > CLASSES_SHOWN:
        table.add_row(f"… {len(names) - CLASSES_SHOWN} more", *("" for _ in document.splits))
    table.add_row("all", *(str(split.samples) for split in document.splits.values()))
    console.print(table)
    shape = "×".join(map(str, document.input_shape))
    lines = [
        f"data        {document.path}: {document.kind}, {document.task}",
        f"samples     {shape}, {document.input_range[0]:g} to {document.input_range[1]:g}",
    ]
    if document.mean:
        values = (", ".join(f"{value:.4f}" for value in part) for part in (document.mean, document.deviation))
        lines.append("preprocessed mean {}; deviation {}".format(*values))
    equal = sum(split.exact_duplicates for split in document.splits.values())
    lines.append(f"duplicates  {equal} equal samples within a split")
    told = {"exact_duplicates": "copies of files", "near_duplicates": "nearly equal pictures"}
    lines += [f"            {document.details[key]} {word}" for key, word in told.items() if key in document.details]
    if sizes := document.details.get("sizes"):
        lines.append("pictures    " + ", ".join(f"{size}: {count}" for size, count in list(sizes.items())[:5]))
    lines += [f"skipped     {name}: {why}" for name, why in list(document.details.get("skipped", {}).items())[:10]]
    if document.contact_sheet:
        lines.append(f"pictures in {document.contact_sheet}")
    console.print("\n".join(lines), markup=False, highlight=False)
    for warning in document.warnings:
        console.print(f"[yellow]warning[/yellow]: {escape(warning)}", highlight=False)
