"""How many calibration samples each class has."""

from __future__ import annotations

from typing import Any


def class_balance(classes: dict[str, int]) -> dict[str, Any]:
    axis = {"labelAngle": 0, "labelLimit": 60}
    return {
        "data": {"values": [{"class": name, "samples": count} for name, count in classes.items()]},
        "width": "container",
        "height": 140,
        "mark": {"type": "bar", "color": "var(--accent)", "tooltip": True},
        "encoding": {
            "x": {
                "field": "class",
                "type": "nominal",
                "sort": None,
                "title": None,
                "axis": axis,
            },
            "y": {"field": "samples", "type": "quantitative", "title": None},
        },
    }
