"""The picture of a comparison: accuracy over bytes and over time, with the Pareto fronts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.documents import CompareDocument

LABEL_WIDTH, LABEL_HEIGHT = 80, 12  # what a name takes on the page, in pixels


def draw_comparison(document: CompareDocument, folder: Path) -> list[Path]:
    """Draw accuracy over bytes and over time, fronts marked; write `compare.png` and `.svg`; return their paths."""
    import matplotlib
    from matplotlib import ticker
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from pipeline.comparison.choice import pareto_front

    rows = document.candidates
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    FigureCanvasAgg(figure)  # which knows where points lie on the page
    panels = figure.subplots(1, 2, sharey=True)
    axes: list[tuple[str, list[float], list[tuple[float, float]] | None]] = [
        ("file size, bytes", [float(row.size_bytes) for row in rows], None),
        ("median latency, µs", [row.latency.p50_us for row in rows], [row.latency.p50_us_interval for row in rows]),
    ]
    accuracies = [row.validation.accuracy * 100 for row in rows]
    below = [(row.validation.accuracy - row.validation.interval[0]) * 100 for row in rows]
    above = [(row.validation.interval[1] - row.validation.accuracy) * 100 for row in rows]
    for panel, (label, values, intervals) in zip(panels, axes, strict=True):
        front = pareto_front([(value, -accuracy) for value, accuracy in zip(values, accuracies, strict=True)])
        line = sorted((value, accuracies[i]) for i, value in enumerate(values) if front[i])
        panel.plot(*zip(*line, strict=True), color="#888888", linewidth=1, zorder=1, drawstyle="steps-post")
        across = None
        if intervals:
            across = [
                [value - low for value, (low, _) in zip(values, intervals, strict=True)],
                [high - value for value, (_, high) in zip(values, intervals, strict=True)],
            ]
        panel.errorbar(
            values, accuracies, yerr=[below, above], xerr=across, fmt="none", ecolor="#cccccc", elinewidth=0.8, zorder=0
        )
        for row, value, accuracy, on_front in zip(rows, values, accuracies, front, strict=True):
            chosen = row.name == document.choice
            panel.scatter(
                value,
                accuracy,
                marker="*" if chosen else "o",
                s=190 if chosen else 45,
                color="#d95f02" if chosen else "#1b6ca8" if on_front else "#9db8cc",
                zorder=3 if chosen else 2,
            )
        panel.set_xlabel(label)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
        panel.xaxis.set_minor_formatter(ticker.NullFormatter())
        panel.margins(x=0.15)
        panel.grid(alpha=0.25, which="both")
    panels[0].set_ylabel("validation accuracy, % (95% interval)")
    for panel, (_, values, _) in zip(panels, axes, strict=True):
        _label_points(figure, panel, [row.name for row in rows], values, accuracies)
    figure.suptitle(
        f"{document.workload} for {document.target}: star = choice, dark = on the front of the two axes shown"
    )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "compare.png", folder / "compare.svg"]
    # Equal documents give equal bytes: no date, and identifiers that are not drawn at random. Text stays text.
    with matplotlib.rc_context({"svg.hashsalt": "compare", "svg.fonttype": "none"}):
        figure.savefig(paths[0], dpi=120, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _label_points(figure: Any, panel: Any, names: list[str], values: list[float], accuracies: list[float]) -> None:
    """Write the names beside the points, one that would cover another a line higher."""
    figure.canvas.draw()
    places = panel.transData.transform(list(zip(values, accuracies, strict=True)))
    written: list[tuple[float, float]] = []
    for index in sorted(range(len(names)), key=lambda i: (places[i][1], places[i][0])):
        x, y = places[index]
        while any(abs(x - taken_x) < LABEL_WIDTH and abs(y - taken_y) < LABEL_HEIGHT for taken_x, taken_y in written):
            y += 1
        written.append((x, y))
        shift = (y - places[index][1]) * 72 / figure.dpi
        panel.annotate(
            names[index],
            (values[index], accuracies[index]),
            xytext=(7, shift),
            textcoords="offset points",
            fontsize=8,
            verticalalignment="center",
        )
