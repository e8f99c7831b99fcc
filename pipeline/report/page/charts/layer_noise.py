"""The error that quantization puts into each layer's output, the worst first."""

from __future__ import annotations

from typing import Any

from pipeline.anatomy.document import LayerNoise


def layer_noise(layers: list[LayerNoise]) -> dict[str, Any]:
    rows = [
        {"layer": f"{rank}. {one.layer}", "operator": one.operator, "own": one.own_noise, "noise": one.noise}
        | ({"sqnr": f"{one.sqnr_db:.1f} dB"} if one.sqnr_db is not None else {"sqnr": "exact"})
        for rank, one in enumerate(layers, 1)
    ]
    y = {"field": "layer", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 150}}
    x = {
        "type": "quantitative",
        "title": "noise as a share of the signal's power",
        "axis": {"format": "~e", "tickCount": 5},
    }
    tooltip = [
        {"field": "layer"},
        {"field": "operator"},
        {"field": "own", "title": "its own", "format": ".3e"},
        {"field": "noise", "title": "from the input on", "format": ".3e"},
        {"field": "sqnr", "title": "signal to noise"},
    ]
    return {
        "data": {"values": rows},
        "width": "container",
        "height": 24 * len(rows),
        "layer": [
            {
                "mark": {"type": "bar", "height": 12, "color": "var(--accent)", "cornerRadiusEnd": 2},
                "encoding": {"y": y, "x": {"field": "own", **x}, "tooltip": tooltip},
            },
            {
                "mark": {"type": "tick", "thickness": 2, "size": 16, "color": "var(--ink)"},
                "encoding": {"y": y, "x": {"field": "noise", **x}, "tooltip": tooltip},
            },
        ],
    }
