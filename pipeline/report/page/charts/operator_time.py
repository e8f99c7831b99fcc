"""Where the time is: the estimate of each operator with its interval."""

from __future__ import annotations

from typing import Any

from pipeline.operator_times import OperatorTimes


def operator_time(times: OperatorTimes) -> dict[str, Any]:
    """Return the specification, in the graph's order of execution, with the floor of a call at the end."""
    rows = [
        {
            "operator": f"{one.first + 1}. {one.name}",
            "us": one.microseconds.value,
            "low": one.microseconds.low,
            "high": one.microseconds.high,
            "share": one.share,
            "noise": one.within_noise,
            "kernels": one.kernels,
        }
        for one in sorted(times.operators, key=lambda one: one.first)
    ]
    floor = times.dispatch_floor_us
    rows.append(
        {
            "operator": "the call itself",
            "us": floor.value,
            "low": floor.low,
            "high": floor.high,
            "share": times.dispatch_floor_share,
            "noise": False,
            "kernels": "",
        }
    )
    y = {"field": "operator", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 170}}
    x = {"type": "quantitative", "title": "microseconds, estimated"}
    tooltip = [
        {"field": "operator"},
        {"field": "us", "title": "µs", "format": ".2f"},
        {"field": "share", "format": ".1%"},
        {"field": "noise", "title": "within noise"},
        {"field": "kernels"},
    ]
    return {
        "data": {"values": rows},
        "width": "container",
        "height": 24 * len(rows),
        "layer": [
            {
                "mark": {"type": "bar", "height": 12, "cornerRadiusEnd": 2},
                "encoding": {
                    "y": y,
                    "x": {"field": "us", **x},
                    "color": {"condition": {"test": "datum.noise", "value": "var(--none)"}, "value": "var(--accent)"},
                    "tooltip": tooltip,
                },
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": "var(--ink)"},
                "encoding": {"y": y, "x": {"field": "low", **x}, "x2": {"field": "high"}},
            },
        ],
    }
