"""The page of everything that was built: a card a build, the Pareto front, trends, provenance."""

from __future__ import annotations

from typing import Any

from pipeline.documents import BuildDocument
from pipeline.history import HistoryLine
from pipeline.report.page.build_page import figures, provenance
from pipeline.report.page.charts.pareto import pareto
from pipeline.report.page.charts.trend import trend
from pipeline.report.page.measured import AXES, axis_texts, budget_pieces, words
from pipeline.report.page.pieces import Card, Cards, Chart, Charts, Folded, Front, Link, Links, Page, Section, Table

TRENDS = (
    ("size_bytes", "Size in bytes", "~s"),
    ("accuracy", "Test accuracy", ".2%"),
    ("p50_us", "Median latency in µs", ",~r"),
    ("memory_bytes", "Memory in bytes", "~s"),
)


def history_page(
    builds: list[BuildDocument],
    lines: list[HistoryLine],
    *,
    recipes: dict[str, str],
    reports: dict[str, Link],
    unreadable: int = 0,
) -> Page:
    """Return the page.

    recipes: `workload/target` to its recipe in a line. reports: the same to a link to its own report, where one was
    written; keys of comparisons end in `/compare`. unreadable: lines of the history that could not be read.
    """
    measured = [line for line in lines if not line.reused]
    points = front_points(builds, measured, recipes)
    groups = list(dict.fromkeys(point["group"] for point in points))
    counts = {name: sum(build.verdict == name for build in builds) for name in ("pass", "fail", "inconclusive")}
    worst = next((name for name in ("fail", "inconclusive", "pass") if counts[name]), "nothing built")
    other = f"{unreadable} lines of the history cannot be read and are left out" if unreadable else ""
    sections = [
        Section(
            "builds",
            "Builds",
            "The last finished build of each target.",
            [Cards([_card(build, reports) for build in builds])] if builds else [],
            "" if builds else "nothing has been built here; invoke build --target=mobile",
        ),
        Section(
            "front",
            "Size, accuracy and latency",
            "Point at a file for its recipe; click it to see it alone. Times and memory compare on one device only.",
            [Front("history", points, pareto(groups), AXES)] if points else [],
            "" if points else "there are no measurements",
        ),
        Section("trends", "Trends", "All measurements; whiskers are 95% intervals.", trends(measured), other),
        Section(
            "provenance",
            "Provenance",
            "What each file was made from, and how to make it again.",
            [Folded(f"{build.workload} for {build.target}", provenance(build)) for build in builds],
            "" if builds else "nothing has been built",
        ),
    ]
    if compared := [link for key, link in reports.items() if key.endswith("/compare")]:
        sections.insert(2, Section("comparisons", "Comparisons", "", [Links(compared)]))
    title = "Every build" if len(builds) != 1 else "One build"
    return Page(title, "history", worst, _words(counts, len(builds)), sections)


def _words(counts: dict[str, int], total: int) -> str:
    if not total:
        return "there is no finished build."
    told = [f"{counts[name]} {name}" for name in ("fail", "inconclusive") if counts[name]]
    return f"{counts['pass']} of {total} targets keep every budget that binds" + (
        f"; {', '.join(told)}." if told else "."
    )


def _card(build: BuildDocument, reports: dict[str, Link]) -> Card:
    key = f"{build.workload}/{build.target}"
    link = reports.get(key)
    facts = [
        (name, f"{value} ({detail})" if name == "median latency" else value) for name, value, detail in figures(build)
    ]
    chart, *table = budget_pieces(build.verdicts, f"{build.workload}-{build.target}") or [None]
    told = words(build.verdict, build.verdicts)
    pieces = [*([chart] if chart else []), *([Folded(f"Budgets: {told}", table)] if table else [])]
    return Card(f"{build.workload} for {build.target}", build.verdict, link.address if link else "", facts, pieces)


def front_points(
    builds: list[BuildDocument], lines: list[HistoryLine], recipes: dict[str, str]
) -> list[dict[str, Any]]:
    """Return a point for each file and device of the history, the last measurement of each."""
    current = {build.sha256 for build in builds}
    last: dict[tuple[str | None, str | None, str, str], HistoryLine] = {}
    for line in lines:
        last[line.workload, line.target, line.sha256, line.device.name] = line
    points: list[dict[str, Any]] = []
    for (workload, target, sha256, device), line in last.items():
        now = sha256 in current
        values: dict[str, float | None] = {
            "size_bytes": line.size_bytes,
            "accuracy": line.accuracy,
            "p50_us": line.p50_us,
            "memory_bytes": line.memory_bytes.value if line.memory_bytes else None,
        }
        recipe = recipes.get(f"{workload}/{target}", "") if now else "of an earlier build"
        points.append(
            {
                "name": f"{sha256[:8]}" + ("" if now else " (earlier)"),
                "group": f"{workload} for {target}" if target else "other files",
                "device": device,
                "recipe": recipe or "not known",
                **values,
                **axis_texts(values),
            }
        )
    return points


def trends(lines: list[HistoryLine]) -> list[Any]:
    """Return a chart for each measure that the history has."""
    charts = []
    groups = sorted({line.target or "other files" for line in lines})
    for field, title, form in TRENDS:
        rows = []
        for line in lines:
            value = getattr(line, field)
            ends = line.p50_us_interval if field == "p50_us" else None
            if field == "memory_bytes" and value:
                value, ends = value.value, (value.low, value.high)
            if value is not None:
                group = line.target or "other files"
                row: dict[str, Any] = {"at": line.at, "group": group, "value": value}
                rows.append(row | ({"low": ends[0], "high": ends[1]} if ends else {}))
        table = Table(
            ("target", "at", title),
            [(row["group"], row["at"], f"{row['value']:,.5g}") for row in rows],
            f"{title}, measurement by measurement",
            numbers=frozenset({2}),
        )
        if rows:
            description = f"{title} of each target over time"
            charts.append(Chart(f"trend-{field}", title, trend(rows, title, form, groups), description, table, 210))
    return [Charts(charts)] if charts else []
