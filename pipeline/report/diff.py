"""Two builds side by side, as text."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from pipeline.report.device import number
from pipeline.report.folding_table import table_of
from pipeline.report.history import step_in_words, value
from pipeline.report.tables import COLOURS, console_on_stdout

SHOWN_ANSWERS = 20
OUTCOMES = {"worse": "red", "better": "green"}


def print_diff(document: Any) -> None:
    """Print a DiffDocument: who they are, numbers, recipe, versions, operators, answers, budgets."""
    console = console_on_stdout()
    for word, side in (("before", document.before), ("after", document.after)):
        text = f"{word:<7} {side.workload} for {side.target}, seed {side.seed}, {side.sha256[:12]}, on {side.device}"
        _say(console, f"{text}: {side.path}")
    if document.before.sha256 == document.after.sha256:
        _say(console, "the two files are the same, byte by byte")
    _metrics(console, document.metrics)
    _recipe(console, document.recipe)
    _fields(console, "versions", document.versions)
    if "operators" in document.missing:
        _say(console, f"operators: {document.missing['operators']}")
    else:
        changed = [f"  {one.operator}: {one.before} → {one.after}" for one in document.operators]
        _say(console, "\n".join(["operators", *changed]) if changed else "operators: the same")
        _fields(console, "file", document.file)
    _answers(console, document)
    _budgets(console, document.budgets)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _metrics(console: Console, metrics: list[Any]) -> None:
    table = table_of("metric", "before", "after", "change", "outcome")
    for one in metrics:
        step = ""
        if one.before is not None and one.after is not None:
            step = step_in_words(one.metric, one.before, one.after)
        outcome = one.outcome + (f": {one.note}" if one.note else "")
        colour = OUTCOMES.get(one.outcome)
        table.add_row(
            escape(one.metric),
            _with_interval(one.metric, one.before, one.before_interval),
            _with_interval(one.metric, one.after, one.after_interval),
            step,
            f"[{colour}]{escape(outcome)}[/]" if colour else escape(outcome),
        )
    console.print(table)


def _with_interval(metric: str, measured: float | None, interval: Any) -> str:
    if measured is None:
        return ""
    span = f" ({value(metric, interval[0])}–{value(metric, interval[1])})" if interval else ""
    return value(metric, measured) + span


def _recipe(console: Console, stages: list[Any]) -> None:
    if all(stage.state == "same" for stage in stages):
        _say(console, "recipe: the same, every stage has the same key")
        return
    _say(console, "recipe")
    for stage in stages:
        _say(console, f"  {stage.name:<18}{stage.state}" + (f": {stage.note}" if stage.note else ""))
        for change in stage.parameters:
            _say(console, f"    {change.field}: {_text(change.before)} → {_text(change.after)}")
        if stage.inputs:
            _say(console, f"    also: {', '.join(stage.inputs)}")


def _fields(console: Console, title: str, changes: list[Any]) -> None:
    lines = [f"  {one.field}: {_text(one.before)} → {_text(one.after)}" for one in changes]
    _say(console, "\n".join([title, *lines]) if lines else f"{title}: the same")


def _text(found: Any) -> str:
    if found is None:
        return "none"
    return number(found) if isinstance(found, float) else f"{found:,}" if type(found) is int else str(found)


def _answers(console: Console, document: Any) -> None:
    answers = document.answers
    if answers is None:
        _say(console, f"answers: {document.missing['answers']}")
        return
    text = f"answers: {answers.changed:,} of {answers.samples:,} test samples changed class"
    if answers.mcnemar:
        text += f"; {answers.lost} lost, {answers.gained} gained, McNemar's p {answers.mcnemar.p_value:.2g}"
    _say(console, text + (f"; {answers.note}" if answers.note else ""))
    for one in answers.shown[:SHOWN_ANSWERS]:
        label = "" if one.label is None else f" (label {one.label})"
        _say(console, f"  {one.index:>6}{label}: {one.before} → {one.after}")
    if answers.changed > SHOWN_ANSWERS:
        _say(console, f"  {answers.changed - SHOWN_ANSWERS} more: --json lists all")


def _budgets(console: Console, budgets: list[Any]) -> None:
    table = table_of("budget", "limit", "before", "after")
    for one in budgets:
        limits = dict.fromkeys(number(side.limit) for side in (one.before, one.after) if side)
        cells = (f"[{COLOURS[side.verdict]}]{side.verdict}[/]" if side else "" for side in (one.before, one.after))
        table.add_row(escape(one.metric), " → ".join(limits), *cells)
    console.print(table)
