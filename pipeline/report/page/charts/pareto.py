"""Two measures of every file against each other, with the front; page.js fills in the chosen axes.

Its rows are {x, y, name, group, device, recipe, front, text_x, text_y, size}: page.js makes them from a front's
points, since axes and groups are chosen on the page.
"""

from __future__ import annotations

from typing import Any

SERIES = 8  # colours that page.css has; as many shapes
SHAPES = (
    *("circle", "square", "triangle-up", "diamond"),
    *("cross", "triangle-down", "triangle-right", "triangle-left"),
)


def pareto(groups: list[str]) -> dict[str, Any]:
    """Return the specification without data. groups: names in the order of their colours."""
    x = {"field": "x", "type": "quantitative", "scale": {"zero": False, "nice": True, "padding": 12}}
    y = {"field": "y", "type": "quantitative", "scale": {"zero": False, "nice": True, "padding": 12}}
    looks = [(f"var(--series-{i % SERIES})", SHAPES[(i + i // SERIES) % SERIES]) for i in range(len(groups))]
    colors = {"domain": groups, "range": [color for color, _ in looks]}
    color = {"field": "group", "type": "nominal", "scale": colors, "legend": None}
    axis = {"axis": {"title": "", "tickCount": 6, "format": "~s"}}
    return {
        "width": "container",
        "height": 320,
        "layer": [
            {
                "transform": [{"filter": "datum.front"}],
                "mark": {"type": "line", "interpolate": "linear", "strokeDash": [4, 4], "strokeWidth": 1.25},
                "encoding": {
                    "x": x,
                    "y": y,
                    "order": {"field": "x"},
                    "detail": {"field": "device"},
                    "color": {"value": "var(--line-strong)"},
                },
            },
            {
                "mark": {"type": "point", "strokeWidth": 2, "opacity": 1, "cursor": "pointer"},
                "encoding": {
                    "x": {**x, **axis},
                    "y": {**y, **axis},
                    "size": {
                        "field": "size",
                        "type": "quantitative",
                        "scale": None,
                    },  # equal points lie within each other
                    "color": color,
                    "fill": {
                        "condition": {"test": "datum.front", **color},
                        "value": "var(--panel)",
                    },
                    "shape": {
                        "field": "group",
                        "type": "nominal",
                        "scale": {"domain": groups, "range": [shape for _, shape in looks]},
                        "legend": None,
                    },
                    "tooltip": [
                        {"field": "name"},
                        {"field": "group", "title": "of"},
                        {"field": "text_x", "title": "x"},
                        {"field": "text_y", "title": "y"},
                        {"field": "device"},
                        {"field": "recipe"},
                    ],
                },
            },
        ],
    }
