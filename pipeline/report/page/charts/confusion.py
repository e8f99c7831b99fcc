"""A confusion matrix: errors in colour, right answers quiet; the number in each cell where there is room."""

from __future__ import annotations

from typing import Any

NUMBERS_MAX = 12  # classes; of more the cells are too small for a number


def confusion(labels: list[str], counts: list[list[int]], errors_max: int) -> dict[str, Any]:
    """Return the specification. errors_max: what the darkest colour means, so that two matrices compare."""
    cells = [
        {"true": true, "answer": answer, "row": i, "column": j, "count": counts[i][j], "right": i == j}
        for i, true in enumerate(labels)
        for j, answer in enumerate(labels)
    ]
    x = {"field": "column", "type": "ordinal", "title": "answer", "axis": _names(labels, "top")}
    y = {"field": "row", "type": "ordinal", "title": "true class", "axis": _names(labels, "left")}
    tooltip = [{"field": name} for name in ("true", "answer", "count")]
    shades = ["var(--panel)", "var(--fail-strong)"]
    colour = {
        "field": "count",
        "type": "quantitative",
        "scale": {
            "type": "sqrt",
            "domain": [0, max(errors_max, 1)],
            "interpolate": "lab",
            "range": shades,
        },
        "legend": None,
    }
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rect", "stroke": "var(--line)", "strokeWidth": 1},
            "encoding": {
                "x": x,
                "y": y,
                "tooltip": tooltip,
                "color": {"condition": {"test": "datum.right", "value": "var(--right)"}, **colour},
            },
        }
    ]
    if len(labels) <= NUMBERS_MAX:
        strong = f"!datum.right && sqrt(datum.count / {max(errors_max, 1)}) > 0.6"
        ink = {"condition": {"test": strong, "value": "var(--on-strong)"}, "value": "var(--ink)"}
        layers.append(
            {
                "transform": [{"filter": "datum.count > 0"}],
                "mark": {"type": "text", "fontSize": 10},
                "encoding": {"x": x, "y": y, "text": {"field": "count"}, "color": ink, "tooltip": tooltip},
            }
        )
    return {"data": {"values": cells}, "width": "container", "height": 300, "layer": layers}


def _names(labels: list[str], orient: str) -> dict[str, Any]:
    """Return an axis whose ticks are the names: two classes may be called the same."""
    quoted = ",".join(_expression_string(label) for label in labels)
    return {
        "labelExpr": f"[{quoted}][datum.value]",
        "orient": orient,
        "ticks": False,
        "domain": False,
        "labelAngle": 0 if orient == "left" or max(map(len, labels)) <= 3 else -45,
        "labelLimit": 90,
        "labelOverlap": len(labels) > NUMBERS_MAX,
    }


def _expression_string(text: str) -> str:
    """Return a literal of Vega's expression language: whatever is in a label, it stays one string."""
    return (
        "'" + "".join(c if c.isalnum() or c in " -_" else "".join(f"\\u{u:04x}" for u in _units(c)) for c in text) + "'"
    )


def _units(character: str) -> list[int]:
    encoded = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(encoded[i : i + 2], "big") for i in range(0, len(encoded), 2)]
