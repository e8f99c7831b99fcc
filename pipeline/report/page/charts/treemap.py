"""Where the bytes are: a rectangle a tensor, within one for its kind. Vega, since Vega-Lite has no treemap."""

from __future__ import annotations

from typing import Any

from pipeline.anatomy.document import FileBytes

KINDS = ("weights", "biases", "quantization parameters", "other constants", "graph overhead")
COLORS = {kind: f"--kind-{position}" for position, kind in enumerate(KINDS)}  # the page's custom properties
PIECES_MAX = 400  # the smallest beyond are one rectangle of their kind
NAMED_WIDTH, NAMED_HEIGHT = 46, 16  # pixels that a rectangle needs to hold a name


def treemap(pieces: list[FileBytes]) -> dict[str, Any]:
    """Return the Vega specification; the pieces' bytes add up to the file's."""
    kept = sorted(pieces, key=lambda piece: -piece.bytes)
    rest = kept[PIECES_MAX:]
    total = sum(piece.bytes for piece in pieces) or 1
    leaves: list[tuple[str, str, str, int]] = [
        (piece.name, piece.layer, piece.kind, piece.bytes) for piece in kept[:PIECES_MAX]
    ]
    for kind in KINDS:
        if more := [piece.bytes for piece in rest if piece.kind == kind]:
            leaves.append((f"{len(more)} smaller ones", "", kind, sum(more)))
    present = [kind for kind in KINDS if any(leaf[2] == kind for leaf in leaves)]
    nodes: list[dict[str, Any]] = [{"id": "file"}]
    nodes += [{"id": f"kind {kind}", "parent": "file"} for kind in present]
    nodes += [
        {
            "id": f"piece {position}",
            "parent": f"kind {kind}",
            "name": name,
            "layer": layer,
            "kind": kind,
            "size": size,
            "share": size / total,
        }
        for position, (name, layer, kind, size) in enumerate(leaves)
        if size > 0
    ]
    fits = f"(datum.x1 - datum.x0) > {NAMED_WIDTH} && (datum.y1 - datum.y0) > {NAMED_HEIGHT}"
    return {
        "$schema": "vega",
        "height": 300,
        "padding": 0,
        "autosize": {"type": "none"},
        "signals": [
            {
                "name": "width",
                "init": "isFinite(containerSize()[0]) ? containerSize()[0] : 600",
                "on": [{"events": "window:resize", "update": "containerSize()[0]"}],
            }
        ],
        "data": [
            {
                "name": "tree",
                "values": nodes,
                "transform": [
                    {"type": "stratify", "key": "id", "parentKey": "parent"},
                    {
                        "type": "treemap",
                        "field": "size",
                        "sort": {"field": "value", "order": "descending"},
                        "paddingInner": 1,
                        "paddingOuter": 1,
                        "size": [{"signal": "width"}, {"signal": "height"}],
                    },
                ],
            },
            {
                "name": "leaves",
                "source": "tree",
                "transform": [{"type": "filter", "expr": "!datum.children && isValid(datum.size)"}],
            },
        ],
        "scales": [
            {
                "name": "color",
                "type": "ordinal",
                "domain": list(KINDS),
                "range": [f"var({COLORS[kind]})" for kind in KINDS],
            }
        ],
        "marks": [
            {
                "type": "rect",
                "from": {"data": "leaves"},
                "encode": {
                    "update": {
                        "x": {"field": "x0"},
                        "y": {"field": "y0"},
                        "x2": {"field": "x1"},
                        "y2": {"field": "y1"},
                        "fill": {"scale": "color", "field": "kind"},
                        "stroke": {"value": "var(--panel)"},
                        "tooltip": {
                            "signal": "{title: datum.name, kind: datum.kind, layer: datum.layer, "
                            "bytes: format(datum.size, ','), share: format(datum.share, '.1%')}"
                        },
                    },
                    "hover": {"fillOpacity": {"value": 0.8}},
                },
            },
            _line(13, 11, f"{fits} ? (datum.layer || datum.name) : ''"),
            _line(
                27,
                10,
                f"{fits} && datum.y1 - datum.y0 > 32 && datum.x1 - datum.x0 > 90 ? "
                "format(datum.size, ',') + ' B · ' + datum.kind : ''",
            ),
        ],
    }


def _line(offset: int, size: int, text: str) -> dict[str, Any]:
    """Return the mark that writes a line into each piece. offset and size: pixels; text: Vega's expression for it."""
    return {
        "type": "text",
        "interactive": False,
        "from": {"data": "leaves"},
        "encode": {
            "update": {
                "x": {"field": "x0", "offset": 5},
                "y": {"field": "y0", "offset": offset},
                "text": {"signal": text},
                "limit": {"signal": "datum.x1 - datum.x0 - 8"},
                "fontSize": {"value": size},
                "fill": {"value": "var(--on-kind)"},
            }
        },
    }
