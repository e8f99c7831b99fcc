"""Candidates of a comparison: validation accuracy with its interval, test accuracy beside it."""

from __future__ import annotations

from typing import Any

from pipeline.comparison.document import CandidateRow


def accuracy_intervals(candidates: list[CandidateRow], choice: str | None) -> dict[str, Any]:
    rows = [
        {
            "name": f"★ {row.name}" if row.name == choice else row.name,
            "low": row.validation.interval[0],
            "high": row.validation.interval[1],
            "validation": row.validation.accuracy,
            "test": row.test.accuracy,
            "p": row.mcnemar.p_value,
        }
        for row in candidates
    ]
    y = {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 130}}
    x = {
        "type": "quantitative",
        "title": "accuracy",
        "scale": {"zero": False},
        "axis": {"format": ".1%", "tickCount": 5},
    }
    tooltip = [
        {"field": "name"},
        {"field": "validation", "format": ".2%"},
        {"field": "low", "format": ".2%"},
        {"field": "high", "format": ".2%"},
        {"field": "test", "format": ".2%"},
        {"field": "p", "title": "p (McNemar)", "format": ".2g"},
    ]
    return {
        "data": {"values": rows},
        "width": "container",
        "height": 24 * len(rows),
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": "var(--line-strong)"},
                "encoding": {"y": y, "x": {"field": "low", **x}, "x2": {"field": "high"}, "tooltip": tooltip},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "color": "var(--accent)"},
                "encoding": {"y": y, "x": {"field": "validation", **x}, "tooltip": tooltip},
            },
            {
                "mark": {"type": "point", "shape": "diamond", "size": 60, "opacity": 1, "color": "var(--ink)"},
                "encoding": {"y": y, "x": {"field": "test", **x}, "tooltip": tooltip},
            },
        ],
    }
