"""Where builds were written to, as lines."""

from __future__ import annotations

from typing import Any

from pipeline.report.tables import console_on_stdout


def print_tracking(document: Any) -> None:
    """Print a line for each build of a TrackDocument, and how to look at what TensorBoard got."""
    console = console_on_stdout()
    for one in document.tracked:
        word = "updated" if one.updated else "written"
        text = f"{one.workload} for {one.target}: {word}, {one.tool}, {one.place}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
