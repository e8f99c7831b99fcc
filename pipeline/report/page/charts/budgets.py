"""Budgets as bars: how much of each limit is used, with the interval, and the limit as a line at 100%."""

from __future__ import annotations

from typing import Any

from pipeline.verdict import Verdict

SHOWN_MAX = 2.0  # what uses more of its limit is drawn up to here, and says so
VERDICT_SCALE = {
    "domain": ["pass", "fail", "inconclusive", "not applicable"],
    "range": ["var(--pass)", "var(--fail)", "var(--open)", "var(--none)"],
}


def used_share(verdict: Verdict) -> tuple[float, float, float] | None:
    """Return how much of its limit a measurement uses, and the interval of that; None where it cannot be said.

    Up to 1 the budget is kept: of a ceiling measured over limit, of a floor limit over measured.
    """
    if verdict.measured is None or not verdict.limit:
        return None
    low, high = verdict.interval or (verdict.measured, verdict.measured)
    if not verdict.metric.endswith("_min"):
        return verdict.measured / verdict.limit, low / verdict.limit, high / verdict.limit
    if min(verdict.measured, low) <= 0 or verdict.limit < 0:
        return None
    return verdict.limit / verdict.measured, verdict.limit / high, verdict.limit / low


def budgets(verdicts: list[Verdict]) -> dict[str, Any]:
    """Return the specification; budgets of which nothing was measured have a name and no bar."""
    rows: list[dict[str, Any]] = []
    for verdict in verdicts:
        used = used_share(verdict)
        shares = dict(zip(("used", "low", "high"), (_shown(share) for share in used), strict=True)) if used else {}
        measured = "not measured" if verdict.measured is None else f"{verdict.measured:.6g}"
        label = "" if not used else f"{used[0]:.0%}" if abs(used[0] - 1) >= 0.02 else f"{used[0]:.2%}"
        rows.append(
            {
                "budget": verdict.metric,
                "verdict": verdict.verdict,
                "limit": f"{verdict.limit:.6g}",
                "measured": measured,
                "label": label,
                "exact": verdict.interval is None,
                "label_at": max(0.0, shares.get("high", 0.0)),
                **shares,
            }
        )
    lowest = min([0.0, *(row["low"] for row in rows if "low" in row)])
    highest = max([1.3, *(row["high"] * 1.25 for row in rows if "high" in row)])
    x_scale = {"domain": [lowest * 1.05, highest], "nice": False, "zero": True}
    tooltip = [{"field": name} for name in ("budget", "limit", "measured", "verdict")]
    y = {"field": "budget", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 170}}
    x = {
        "type": "quantitative",
        "scale": x_scale,
        "title": "share of the limit used",
        "axis": {"format": ".0%", "tickCount": 5, "labelOverlap": "greedy"},
    }
    return {
        "data": {"values": rows},
        "width": "container",
        "height": 26 * len(rows),
        "layer": [
            {
                "mark": {"type": "bar", "height": 12, "cornerRadiusEnd": 2, "tooltip": True},
                "encoding": {
                    "y": y,
                    "x": {"field": "used", **x},
                    "color": {"field": "verdict", "type": "nominal", "scale": VERDICT_SCALE, "legend": None},
                    "tooltip": tooltip,
                },
            },
            {
                "transform": [{"filter": "!datum.exact"}],
                "mark": {"type": "rule", "strokeWidth": 2, "color": "var(--ink)"},
                "encoding": {"y": y, "x": {"field": "low", **x}, "x2": {"field": "high"}},
            },
            *(
                {
                    "transform": [{"filter": "!datum.exact"}],
                    "mark": {"type": "tick", "thickness": 2, "size": 9, "color": "var(--ink)"},
                    "encoding": {"y": y, "x": {"field": end, **x}},
                }
                for end in ("low", "high")
            ),
            {
                "data": {"values": [{"limit": 1, "text": "limit"}]},
                "layer": [
                    {
                        "mark": {"type": "rule", "strokeWidth": 2, "strokeDash": [4, 3], "color": "var(--accent)"},
                        "encoding": {"x": {"field": "limit", **x}},
                    },
                    {
                        "mark": {"type": "text", "dy": -6, "baseline": "bottom", "color": "var(--accent)"},
                        "encoding": {"x": {"field": "limit", **x}, "y": {"value": 0}, "text": {"field": "text"}},
                    },
                ],
            },
            *(
                {
                    "mark": {"type": "text", "align": "left", "dx": 6, "color": "var(--ink)"} | behind,
                    "encoding": {"y": y, "x": {"field": "label_at", **x}, "text": {"field": "label"}},
                }
                for behind in ({"stroke": "var(--panel)", "strokeWidth": 4}, {})
            ),
        ],
    }


def _shown(share: float) -> float:
    return max(-SHOWN_MAX, min(SHOWN_MAX, share))
