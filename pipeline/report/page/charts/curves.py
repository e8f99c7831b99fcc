"""What training recorded, epoch by epoch, its stages behind each other."""

from __future__ import annotations

from typing import Any


def curves(rows: list[dict[str, Any]], starts: list[dict[str, Any]], number_format: str = "~g") -> dict[str, Any]:
    """Return the specification.

    rows: {epoch, value, series, stage}, epoch counted over all stages. starts: {epoch, stage}, where each begins.
    """
    x = {
        "field": "epoch",
        "type": "quantitative",
        "title": "epoch",
        "scale": {"zero": False, "nice": False},
        "axis": {"tickMinStep": 1, "grid": False},
    }
    y = {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "scale": {"zero": False},
        "axis": {"format": number_format},
    }
    color = {"field": "series", "type": "nominal", "sort": None, "legend": {"title": None, "orient": "bottom"}}
    return {
        "data": {"values": rows},
        "width": "container",
        "height": 170,
        "layer": [
            {
                "data": {"values": starts},
                "mark": {"type": "rule", "strokeDash": [2, 3], "color": "var(--line-strong)"},
                "encoding": {"x": {"field": "epoch", "type": "quantitative"}},
            },
            {
                "data": {"values": starts},
                "mark": {"type": "text", "align": "left", "dx": 4, "baseline": "top", "color": "var(--muted)"},
                "encoding": {
                    "x": {"field": "epoch", "type": "quantitative"},
                    "y": {"value": 0},
                    "text": {"field": "stage"},
                },
            },
            {
                "mark": {"type": "line", "point": {"size": 28, "filled": True}, "strokeWidth": 1.75},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": color,
                    "strokeDash": {"field": "series", "type": "nominal", "sort": None, "legend": color["legend"]},
                    "detail": {"field": "stage"},
                    "tooltip": [
                        {"field": "stage"},
                        {"field": "series"},
                        {"field": "epoch"},
                        {"field": "value", "format": ".5g"},
                    ],
                },
            },
        ],
    }
