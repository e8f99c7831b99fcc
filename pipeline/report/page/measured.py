"""Parts that several pages share: budgets, recipes in a line, numbers in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.learning_task import in_words
from pipeline.report.device import number
from pipeline.report.page.charts.budgets import budgets, used_share
from pipeline.report.page.pieces import Chart, Table
from pipeline.verdict import Verdict

AXES = {  # measures of a file: title, and whether less is better
    "size_bytes": ("size in bytes", True),
    "accuracy": ("accuracy", False),
    "p50_us": ("median latency in µs", True),
    "memory_bytes": ("memory in bytes", True),
}


def budget_pieces(verdicts: list[Verdict], name: str) -> list[Any]:
    """Return the bars and the table of a build's budgets."""
    if not verdicts:
        return []
    drawn = [verdict for verdict in verdicts if used_share(verdict)]
    told = "; ".join(f"{verdict.metric} {verdict.verdict}" for verdict in verdicts)
    chart = Chart(
        f"budgets-{name}",
        "How much of each limit is used; whiskers are 95% intervals",
        budgets(verdicts),
        f"Bars of the share of each budget's limit that is used: {told}",
        height=26 * len(verdicts) + 60,
    )
    return [*([chart] if drawn else []), budget_table(verdicts)]


def budget_table(verdicts: list[Verdict]) -> Table:
    return Table(
        ("budget", "limit", "measured", "95% interval", "verdict", "note"),
        [
            (
                verdict.metric,
                number(verdict.limit),
                "—" if verdict.measured is None else number(verdict.measured),
                "exact"
                if verdict.interval is None
                else f"{number(verdict.interval[0])} – {number(verdict.interval[1])}",
                verdict.verdict,
                verdict.note,
            )
            for verdict in verdicts
        ],
        "Budgets, each with its limit and what was measured",
        numbers=frozenset({1, 2, 3}),
        verdicts=frozenset({4}),
    )


def words(verdict: str, verdicts: Iterable[Verdict]) -> str:
    """Return the overall verdict as a sentence that names what decides."""
    found = list(verdicts)
    binding = [one for one in found if one.verdict != "not applicable"]
    elsewhere = len(found) - len(binding)
    other = f" {elsewhere} {'binds' if elsewhere == 1 else 'bind'} on another device." if elsewhere else ""
    if verdict == "pass":
        return f"{_all(len(binding))} kept.{other}" if binding else f"no budget binds here.{other}"
    names = ", ".join(one.metric for one in binding if one.verdict == verdict)
    if verdict == "fail":
        return f"missed: {names}.{other}"
    return f"not decided by the measurements: {names}.{other}"


def recipe_line(recipe: Iterable[Mapping[str, Any]]) -> str:
    """Return `train → prune (final_sparsity 0.85) → …`."""
    steps = []
    for entry in recipe:
        parameters = ", ".join(f"{name} {value}" for name, value in entry.items() if name != "step")
        steps.append(f"{entry.get('step')}" + (f" ({parameters})" if parameters else ""))
    return " → ".join(steps)


def axis_texts(values: Mapping[str, float | None]) -> dict[str, str]:
    """Return each measure as it is written in a table."""
    return {f"{name}_text": "—" if value is None else axis_text(name, value) for name, value in values.items()}


def axis_text(name: str, value: float) -> str:
    if name == "accuracy":
        return in_words(name, value)
    return f"{value:,.0f}" if name.endswith("_bytes") else f"{value:,.1f}"


def short(hash_text: str) -> str:
    return f"{hash_text[:12]}…" if len(hash_text) > 12 else hash_text


def _all(count: int) -> str:
    return "the one budget that binds here is" if count == 1 else f"all {count} budgets that bind here are"
