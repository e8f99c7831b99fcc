"""The targets of `invoke ci` as Markdown, for a job's summary or a comment on a pull request."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from pipeline.report.device import number

if TYPE_CHECKING:
    from pipeline.ci_document import CiDocument, CiTarget


def summary(document: CiDocument) -> str:
    """Return the whole verdict, a line for each target, and each target's budgets and changes against main."""
    rows = [[target.target, target.workload, target.outcome, _in_short(target)] for target in document.targets]
    parts = [f"# Budgets: {document.outcome}", _table(["target", "workload", "verdict", "against main"], rows)]
    for target in document.targets:
        parts += [f"## {_cell(target.target)}: {target.outcome}", *_details(target)]
    text = "\n\n".join(parts) + "\n"
    return text.encode(errors="replace").decode()  # names of files may hold what UTF-8 does not


def print_summary(document: CiDocument) -> None:
    """Print the summary on stdout."""
    print(summary(document), end="")


def _in_short(target: CiTarget) -> str:
    if target.error:
        return "not built"
    if not target.compared:
        return "nothing to compare with"
    found = {word: [one.metric for one in target.changes if one.outcome == word] for word in ("worse", "better")}
    return (
        "; ".join(f"{word}: {', '.join(metrics)}" for word, metrics in found.items() if metrics)
        or "no difference shown"
    )


def _details(target: CiTarget) -> list[str]:
    if target.error:
        told = (("received", target.error.received), ("expected", target.error.expected), ("to mend", target.error.fix))
        text = "\n".join([target.error.message, *(f"{name}: {value}" for name, value in told if value)])
        return [f"It could not be built ({_cell(target.error.code)}).", f"<pre>{html.escape(text, quote=False)}</pre>"]
    budgets = [
        [
            verdict.metric,
            number(verdict.limit),
            "" if verdict.measured is None else number(verdict.measured),
            " to ".join(map(number, verdict.interval or ())),
            verdict.verdict,
            verdict.note,
        ]
        for verdict in target.verdicts
    ]
    parts = [_table(["budget", "limit", "measured", "95% interval", "verdict", "note"], budgets)] if budgets else []
    if not budgets:
        parts.append("This target has no budget.")
    if not target.compared:
        return [*parts, f"Nothing to compare with: {_cell(target.not_compared)}."]
    changes = [
        [one.metric, number(one.before), number(one.now), f"{one.outcome}: {one.note}" if one.note else one.outcome]
        for one in target.changes
    ]
    return [*parts, f"Against main ({_cell(target.compared)}):", _table(["metric", "main", "now", "change"], changes)]


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return a text that is one line and no markup, whoever wrote it."""
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text)
