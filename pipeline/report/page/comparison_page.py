"""The page of a comparison: the choice, the Pareto front, every candidate with what it gained and why."""

from __future__ import annotations

from typing import Any

from pipeline.comparison.document import CandidateRow
from pipeline.documents import CompareDocument
from pipeline.report.page.charts.accuracy_intervals import accuracy_intervals
from pipeline.report.page.charts.pareto import pareto
from pipeline.report.page.measured import AXES, axis_texts, budget_pieces, recipe_line, words
from pipeline.report.page.pieces import Chart, Facts, Folded, Front, Link, Page, Section, Table

COMPARED_AXES = {
    **AXES,
    "accuracy": ("validation accuracy", False),
    "deflated_bytes": ("deflated bytes", True),
}


def comparison_page(document: CompareDocument, links: list[Link] | None = None) -> Page:
    """Return the page of `compare.json`."""
    rows, choice = document.candidates, document.choice
    chosen = next((row for row in rows if row.name == choice), None)
    told = words(document.verdict, document.choice_verdicts)
    quick = " Trainings were shortened (--quick): the numbers are of a trial." if document.quick else ""
    points = [_point(row, choice) for row in rows]
    sections = [
        Section(
            "choice",
            "The choice",
            f"{choice}: the smallest that fits the target, keeps its budgets and loses no accuracy that shows."
            if chosen
            else "",
            _choice(chosen, document),
            "" if chosen else "no candidate fits the target",
        ),
        Section(
            "front",
            "Size, accuracy and latency",
            "All files were measured in the same processes. Point at one for its recipe; click it to see it alone.",
            [
                Front(
                    "comparison",
                    points,
                    pareto([row.name for row in rows]),
                    COMPARED_AXES,
                )
            ],
        ),
        Section(
            "accuracy",
            "Accuracy",
            "Circles: validation, with 95% intervals, which chooses. Diamonds: test, which chooses nothing.",
            [
                Chart(
                    "accuracy-intervals",
                    "Validation and test accuracy",
                    accuracy_intervals(rows, choice),
                    "Accuracy of each candidate with its interval",
                    _accuracy_table(rows, document.reference),
                    24 * len(rows) + 50,
                )
            ],
        ),
        Section("candidates", "Candidates", "Every number is measured on the candidate's own file.", [_measures(rows)]),
        Section("reasons", "What each gained, and why", "Computed from both files.", [_reasons(rows)]),
        Section(
            "provenance",
            "Provenance",
            f"Seed {document.seed}; recipes are ready for a target's TOML.",
            [
                Folded(f"{row.name}: {short_hash}", [_stages(row)])
                for row in rows
                for short_hash in (f"{row.sha256[:12]}…",)
            ],
        ),
    ]
    if document.excluded:
        excluded = Table(
            ("technique", "why", "received", "to mend"),
            [(one.name, one.message, one.received, one.fix) for one in document.excluded],
            "Techniques that could not be made",
        )
        sections.insert(5, Section("excluded", "Left out", "", [excluded]))
    return Page(
        title=f"Techniques for {document.target}, {document.workload}",
        eyebrow="comparison",
        verdict=document.verdict,
        words=(f"the choice is {choice}: {told}" if chosen else "no technique fits the target.") + quick,
        sections=sections,
        links=links or [],
    )


def _choice(chosen: CandidateRow | None, document: CompareDocument) -> list[Any]:
    if not chosen:
        return []
    facts = Facts([("technique", chosen.name), ("what", chosen.description), ("recipe", recipe_line(chosen.recipe))])
    return [facts, *budget_pieces(document.choice_verdicts, "choice")]


def _point(row: CandidateRow, choice: str | None) -> dict[str, Any]:
    values: dict[str, float | None] = {
        "size_bytes": row.size_bytes,
        "accuracy": row.validation.accuracy,
        "p50_us": row.latency.p50_us,
        "memory_bytes": row.memory_bytes.value if row.memory_bytes else None,
        "deflated_bytes": row.deflated_bytes,
    }
    return {
        "name": f"{row.name} ★" if row.name == choice else row.name,
        "group": row.name,
        "device": row.latency.device.name,
        "recipe": recipe_line(row.recipe),
        **values,
        **axis_texts(values),
    }


def _accuracy_table(rows: list[CandidateRow], reference: str) -> Table:
    return Table(
        ("technique", "validation", "95% interval", "test", "lost", "won", f"p against {reference}"),
        [
            (
                row.name,
                f"{row.validation.accuracy:.2%}",
                f"{row.validation.interval[0]:.2%} – {row.validation.interval[1]:.2%}",
                f"{row.test.accuracy:.2%}",
                str(row.mcnemar.only_reference_right),
                str(row.mcnemar.only_this_right),
                f"{row.mcnemar.p_value:.2g}",
            )
            for row in rows
        ],
        "Accuracy of each candidate",
        numbers=frozenset(range(1, 7)),
    )


def _measures(rows: list[CandidateRow]) -> Table:
    return Table(
        (
            "technique",
            "bytes",
            "deflated",
            "p50 µs",
            "95% interval",
            "p90 µs",
            "memory",
            "zeros",
            "MACs",
            "verdict",
            "note",
        ),
        [
            (
                row.name,
                f"{row.size_bytes:,}",
                f"{row.deflated_bytes:,}",
                f"{row.latency.p50_us:,.1f}",
                f"{row.latency.p50_us_interval[0]:,.1f} – {row.latency.p50_us_interval[1]:,.1f}",
                f"{row.latency.p90_us:,.1f}",
                f"{row.memory_bytes.value:,.0f}" if row.memory_bytes else "—",
                f"{row.zero_fraction:.0%}",
                f"{row.multiply_accumulates:,}",
                row.verdict,
                row.not_chosen,
            )
            for row in rows
        ],
        "Measures of each candidate",
        numbers=frozenset(range(1, 9)),
        verdicts=frozenset({9}),
    )


def _reasons(rows: list[CandidateRow]) -> Table:
    return Table(
        ("technique", "held against", "gained", "why"),
        [(row.name, row.against or "—", "yes" if row.gained else "no", " ".join(row.reasons)) for row in rows],
        "What each technique gained over the one it is held against",
    )


def _stages(row: CandidateRow) -> Table:
    return Table(
        ("stage", "key"),
        [*row.stages.items(), ("file", row.sha256), ("recipe", recipe_line(row.recipe))],
        f"Stages of {row.name}, {row.seconds:,.0f} seconds in all",
        codes=frozenset({1}),
    )
