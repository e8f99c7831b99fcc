"""Two measures of every file against each other, with the front; page.js fills in the chosen axes.

Its rows are {x, y, name, group, device, recipe, front, text_x, text_y}: page.js makes them from a front's
points, since axes and groups are chosen on the page.
"""

from __future__ import annotations

from typing import Any


def pareto(groups: list[str]) -> dict[str, Any]:
    """Return the specification without data. groups: names in the order of their colours."""
    x = {"field": "x", "type": "quantitative", "scale": {"zero": False, "nice": True, "padding": 12}}
    y = {"field": "y", "type": "quantitative", "scale": {"zero": False, "nice": True, "padding": 12}}
    color = {"field": "group", "type": "nominal", "scale": {"domain": groups}, "legend": None}
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
                "mark": {"type": "point", "size": 130, "strokeWidth": 2, "opacity": 1, "cursor": "pointer"},
                "encoding": {
                    "x": {**x, **axis},
                    "y": {**y, **axis},
                    "color": color,
                    "fill": {
                        "condition": {"test": "datum.front", "field": "group", "type": "nominal", "legend": None},
                        "value": "var(--panel)",
                        "scale": {"domain": groups},
                    },
                    "shape": {
                        "field": "group",
                        "type": "nominal",
                        "scale": {"domain": groups},
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
