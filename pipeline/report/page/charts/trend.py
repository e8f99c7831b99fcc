"""One measure over the measurements of the history, a line a target, with the interval where there is one."""

from __future__ import annotations

from typing import Any


def trend(rows: list[dict[str, Any]], title: str, number_format: str, groups: list[str]) -> dict[str, Any]:
    """Return the specification of rows {at, group, value, low, high}; at is UTC, low and high may be missing.

    groups: all names that any of the charts has, so that each has one colour throughout.
    """
    x = {
        "field": "at",
        "type": "temporal",
        "title": None,
        "axis": {"format": "%d %b %H:%M", "labelOverlap": True, "tickCount": 3},
    }
    legend = {"title": None, "orient": "bottom", "columns": 3, "symbolOpacity": 1}
    color = {"field": "group", "type": "nominal", "scale": {"domain": groups}, "legend": legend}
    y = {"type": "quantitative", "title": None, "scale": {"zero": False, "nice": True}}
    interval = {
        "transform": [{"filter": "isValid(datum.low)"}],
        "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6},
        "encoding": {"x": x, "y": {"field": "low", **y}, "y2": {"field": "high"}, "color": color},
    }
    return {
        "data": {"values": rows},
        "width": "container",
        "height": 150,
        "layer": [
            *([interval] if any("low" in row for row in rows) else []),
            {
                "mark": {"type": "line", "strokeWidth": 1.5},
                "encoding": {"x": x, "y": {"field": "value", **y, "axis": {"format": number_format}}, "color": color},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
                "encoding": {
                    "x": x,
                    "y": {"field": "value", **y},
                    "color": color,
                    "shape": color,
                    "tooltip": [
                        {"field": "group", "title": "target"},
                        {"field": "at", "type": "temporal", "format": "%Y-%m-%d %H:%M"},
                        {"field": "value", "title": title, "format": number_format},
                    ],
                },
            },
        ],
    }
