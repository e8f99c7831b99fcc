"""A plan as a tree: each stage from the store or to be made, and the one field that made the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from pipeline.report.tables import console_on_stdout
from pipeline.report.terminal import duration

CHANGES_SHOWN = 4
VALUE_SHOWN = 40  # characters


def print_plan(document: Any, console: Console | None = None) -> None:
    """Print the stages of a PlanDocument, what caused each to be made, and how long all of it should take."""
    console = console or console_on_stdout()
    to_make = sum(stage.state == "make" for stage in document.stages)
    tree = Tree(Text(f"{document.workload} for {document.target}: {len(document.stages)} stages, {to_make} to make"))
    names = {stage.name for stage in document.stages}
    for stage in document.stages:
        if stage.follows not in names:
            _add(tree, stage, document.stages)
    console.print(tree, highlight=False)
    if document.expected_seconds:
        console.print(f"about {duration(document.expected_seconds)} in all", markup=False, highlight=False)
    elif to_make:
        console.print("time unknown: not all of these stages were made here before", markup=False, highlight=False)


def _add(branch: Tree, stage: Any, stages: Sequence[Any]) -> None:
    """Add a stage, and what follows it: the longest way to the end at the same level, other ways below the stage."""
    leaf = branch.add(_told(stage))
    followers = sorted((one for one in stages if one.follows == stage.name), key=lambda one: -_length(one, stages))
    for other in followers[1:]:
        _add(leaf, other, stages)
    for main in followers[:1]:
        _add(branch, main, stages)


def _length(stage: Any, stages: Sequence[Any]) -> int:
    return 1 + max((_length(one, stages) for one in stages if one.follows == stage.name), default=0)


def _told(stage: Any) -> Text:
    """Return the stage's name, key and state, and why it is made, the fields that changed on lines of their own."""
    state = "from the store" if stage.state == "hit" else "make"
    expected = f", about {duration(stage.expected_seconds)}" if stage.expected_seconds else ""
    # The stage before changed, which its own line tells: the keys say no more.
    changes = [change for change in stage.changes if change["field"] != "follows"]
    if len(changes) == 1:
        reason = f": {_change(changes[0])}"
    elif changes:
        reason = f": {len(changes)} fields of its key changed"
    else:
        reason = f": {stage.reason}" if stage.reason else ""
    lines = [f"{stage.name} {stage.key[:12]} {state}{expected}{reason}"]
    if len(changes) > 1:
        lines += [f"  {_change(change)}" for change in changes[:CHANGES_SHOWN]]
        lines += [f"  … {len(changes) - CHANGES_SHOWN} more"] if len(changes) > CHANGES_SHOWN else []
    return Text("\n".join(lines))


def _change(change: dict[str, Any]) -> str:
    return f"{change['field']}: {_short(change['before'])} → {_short(change['after'])}"


def _short(value: Any) -> str:
    text = "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if len(text) == 64 and text.isalnum():  # a hash
        return f"{text[:12]}…"
    return text if len(text) <= VALUE_SHOWN else f"{text[: VALUE_SHOWN - 1]}…"
