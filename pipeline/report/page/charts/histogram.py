"""The values of one tensor, and below them the grid that quantization rounds them to."""

from __future__ import annotations

from typing import Any

from pipeline.anatomy.document import Histogram

TICKS_MAX = 300  # grid lines that are drawn one by one; of a finer grid the range alone


def histogram(values: Histogram) -> dict[str, Any]:
    """Return the specification; counts are drawn by their square root, so that the tails are seen."""
    bins = [
        {"from": low, "to": high, "zero": 0, "count": count}
        for low, high, count in zip(values.edges, values.edges[1:], values.counts, strict=False)
    ]
    x = {"type": "quantitative", "title": None, "scale": {"nice": False}}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "color": "var(--accent)", "binSpacing": 0.5},
            "encoding": {
                "x": {"field": "from", **x, "axis": {"tickCount": 5, "grid": False, "offset": 11}},
                "x2": {"field": "to"},
                "y": {
                    "field": "count",
                    "type": "quantitative",
                    "title": None,
                    "scale": {"type": "sqrt"},
                    "axis": {"tickCount": 3, "format": "~s"},
                },
                "y2": {"field": "zero"},
                "tooltip": [
                    {"field": "from", "format": ".4g"},
                    {"field": "to", "format": ".4g"},
                    {"field": "count", "format": ","},
                ],
            },
        }
    ]
    if values.grid_low is not None and values.grid_high is not None:
        low, high, step = values.grid_low, values.grid_high, values.grid_step
        lines = round((high - low) / step) + 1 if step else 0
        ends = [{"x": low}, {"x": high}]
        layers.append(
            {
                "data": {"values": ends},
                "mark": {"type": "rule", "color": "var(--open)", "strokeWidth": 1.5},
                "encoding": {"x": {"field": "x", **x}},
            }
        )
        if step and lines <= TICKS_MAX:
            layers.append(
                {
                    "data": {"sequence": {"start": 0, "stop": lines, "as": "line"}},
                    "transform": [{"calculate": f"{low!r} + datum.line * {step!r}", "as": "x"}],
                    "mark": {"type": "rule", "color": "var(--open)", "strokeWidth": 0.6},
                    "encoding": {
                        "x": {"field": "x", **x},
                        "y": {"value": 132},
                        "y2": {"value": 139},
                    },
                }
            )
    return {"data": {"values": bins}, "width": "container", "height": 130, "layer": layers}
