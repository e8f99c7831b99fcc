"""The measured table of techniques, read out of benchmarks/RESULTS.md."""

from __future__ import annotations

import re
from pathlib import Path

HEADING = "## Techniques side by side"
_ROW = re.compile(r"[ ★◆]+[a-z][a-z0-9_]+ {2,}\S")
_COLUMN = re.compile(r"\S+(?: \S+)*")


def measured_techniques(root: Path) -> dict[str, dict[str, str]]:
    """Return {technique: {column: value}}, both printed tables joined. Raises ValueError where there are none."""
    text = (root / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    _, _, section = text.partition(HEADING)
    block = section.split("```")[1] if "```" in section else ""
    found: dict[str, dict[str, str]] = {}
    columns: list[tuple[str, int]] = []
    for line in block.splitlines():
        cells = [(match.group(), match.start()) for match in _COLUMN.finditer(line)]
        if cells and cells[0][0] == "technique":
            columns = cells
        elif columns and _ROW.match(line):
            ends = [start for _, start in columns[1:]] + [len(line) + 1]
            row = {name: line[start:end].strip() for (name, start), end in zip(columns, ends, strict=True)}
            found.setdefault(row.pop("technique").strip("★◆ "), {}).update(row)
    if not found:
        raise ValueError(f"benchmarks/RESULTS.md: no table under {HEADING!r}")
    return found


def measured_table(rows: dict[str, dict[str, str]]) -> str:
    """Return rows of techniques as a Markdown table."""
    columns = ("bytes", "deflated", "zeros", "test", "p50 µs (95%)", "of float32's", "budgets")
    lines = ["| technique | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name, row in rows.items():
        lines.append(
            f"| [`{name}`](TECHNIQUES#{name}) | " + " | ".join(row.get(column, "") for column in columns) + " |"
        )
    return "\n".join(lines)
