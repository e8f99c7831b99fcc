"""Calibrated ranges against what validation samples made of them: the range is 0 to 1 for each tensor."""

from __future__ import annotations

from typing import Any

from pipeline.anatomy.document import TensorCoverage


def coverage(tensors: list[TensorCoverage]) -> dict[str, Any]:
    """Return the specification: a band for the range that the file can hold, a line for what was seen."""
    rows = []
    for position, tensor in enumerate(tensors):
        width = (tensor.high - tensor.low) or 1.0
        rows.append(
            {
                "tensor": f"{position + 1}. {tensor.name}",
                "zero": 0,
                "one": 1,
                "seen_low": (tensor.seen_low - tensor.low) / width,
                "seen_high": (tensor.seen_high - tensor.low) / width,
                "range": f"{tensor.low:.4g} to {tensor.high:.4g}",
                "seen": f"{tensor.seen_low:.4g} to {tensor.seen_high:.4g}",
                "clipped": tensor.clipped_share,
                "label": _clipped(tensor.clipped_share),
                "clips": bool(tensor.clipped_share),
            }
        )
    y = {"field": "tensor", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 150}}
    x = {
        "type": "quantitative",
        "title": "position in the calibrated range",
        "scale": {"nice": True},
        "axis": {"tickCount": 6},
    }
    tooltip = [{"field": "tensor"}, {"field": "range"}, {"field": "seen"}, {"field": "clipped", "format": ".3%"}]
    return {
        "data": {"values": rows},
        "width": "container",
        "height": 24 * len(rows),
        "layer": [
            {
                "mark": {"type": "bar", "height": 14, "color": "var(--band)"},
                "encoding": {"y": y, "x": {"field": "zero", **x}, "x2": {"field": "one"}, "tooltip": tooltip},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 4},
                "encoding": {
                    "y": y,
                    "x": {"field": "seen_low", **x},
                    "x2": {"field": "seen_high"},
                    "color": {"condition": {"test": "datum.clips", "value": "var(--fail)"}, "value": "var(--accent)"},
                    "tooltip": tooltip,
                },
            },
            {
                "mark": {"type": "text", "align": "right", "dx": -4, "dy": -9, "color": "var(--ink)"},
                "encoding": {"y": y, "x": {"field": "seen_high", **x}, "text": {"field": "label"}},
            },
        ],
    }


def _clipped(share: float) -> str:
    if not share:
        return ""
    return "<0.01% clipped" if share < 0.0001 else f"{share:.2%} clipped"
