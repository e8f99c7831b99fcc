"""A model's graph as SVG: operators in layers from top to bottom, edges between them.

A float leftover is red, has a doubled frame and says FLOAT in words, so that colour is not needed to see it.
"""

from __future__ import annotations

from itertools import pairwise

from markupsafe import Markup

from pipeline.anatomy.document import GraphNode

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 256, 58, 20, 26, 10
SWEEPS = 4  # times that the order within the layers is straightened
Place = tuple[float, float]


def graph_svg(nodes: list[GraphNode]) -> Markup:
    """Return the drawing. Every name in it is escaped."""
    rows = ordered_layers([list(node.follows) for node in nodes])
    places = _places(rows)
    width = max((x for x, _ in places.values()), default=0) + WIDTH + MARGIN
    height = max((y for _, y in places.values()), default=0) + HEIGHT + MARGIN
    edges = [_edge(places[source], places[position]) for position, node in enumerate(nodes) for source in node.follows]
    boxes = [_box(node, places[position]) for position, node in enumerate(nodes)]
    floats = sum(node.float_leftover for node in nodes)
    told = f"Graph of {len(nodes)} operators and inputs, {floats} of them float leftovers"
    head = Markup(
        '<svg class="graph" role="img" aria-label="{}" width="{:g}" height="{:g}" viewBox="0 0 {:g} {:g}">'
    ).format(told, width, height, width, height)
    return Markup("").join([head, *edges, *boxes, Markup("</svg>")])


def ordered_layers(follows: list[list[int]]) -> list[list[int]]:
    """Return the nodes of each layer, in an order with few crossings.

    A node lies one layer below the lowest that it follows. follows: for each node, those that it reads, all of
    them earlier in the list.
    """
    depth: list[int] = []
    for sources in follows:
        depth.append(max((depth[source] + 1 for source in sources), default=0))
    followers: list[list[int]] = [[] for _ in follows]
    for node, sources in enumerate(follows):
        for source in sources:
            followers[source].append(node)
    rows = [[node for node, level in enumerate(depth) if level == row] for row in range(max(depth, default=-1) + 1)]
    for sweep in range(SWEEPS):
        neighbours = followers if sweep % 2 else follows
        rank = {node: position - len(row) / 2 for row in rows for position, node in enumerate(row)}
        for row in reversed(rows) if sweep % 2 else rows:
            row.sort(key=lambda node: _middle([rank[other] for other in neighbours[node]], rank[node]))
            rank.update({node: position - len(row) / 2 for position, node in enumerate(row)})
    return rows


def _middle(ranks: list[float], own: float) -> float:
    return sum(ranks) / len(ranks) if ranks else own


def _places(rows: list[list[int]]) -> dict[int, Place]:
    widest = max((len(row) for row in rows), default=0)
    return {
        node: (
            MARGIN + (position + (widest - len(row)) / 2) * (WIDTH + GAP_X),
            MARGIN + level * (HEIGHT + GAP_Y),
        )
        for level, row in enumerate(rows)
        for position, node in enumerate(row)
    }


def _edge(source: Place, target: Place) -> Markup:
    x1, y1, x2, y2 = source[0] + WIDTH / 2, source[1] + HEIGHT, target[0] + WIDTH / 2, target[1]
    bend = (y2 - y1) / 2
    if y2 - y1 > HEIGHT + GAP_Y:  # over other layers: beside the boxes between
        side = max(source[0], target[0]) + WIDTH + GAP_X / 2
        points = [(x1, y1), (side, y1 + GAP_Y), (side, y2 - GAP_Y), (x2, y2)]
        path = f"M{x1:g} {y1:g}" + "".join(
            f" C{a:g} {(b + d) / 2:g} {c:g} {(b + d) / 2:g} {c:g} {d:g}" for (a, b), (c, d) in pairwise(points)
        )
    else:
        path = f"M{x1:g} {y1:g} C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"
    return Markup('<path class="edge" d="{}"/>').format(path)


def _box(node: GraphNode, place: Place) -> Markup:
    x, y = place
    kind = "leftover" if node.float_leftover else "input" if node.name == "INPUT" else "operator"
    shape = "×".join(map(str, node.shape)) or "scalar"
    dtypes = " ".join(node.dtypes) + (f", weights {node.weight_dtype}" if node.weight_dtype else "")
    parts = [
        Markup('<g class="{}"><title>{}</title>').format(kind, f"{node.name} {node.layer} {shape} {dtypes}"),
        _rectangle(x, y, WIDTH, HEIGHT),
    ]
    if node.float_leftover:
        parts += [
            _rectangle(x + 3, y + 3, WIDTH - 6, HEIGHT - 6),
            Markup('<text class="mark" text-anchor="end" x="{:g}" y="{:g}">FLOAT</text>').format(x + WIDTH - 9, y + 18),
        ]
    for line, (text, style) in enumerate(((node.name, "name"), (node.layer, "layer"), (f"{shape}  {dtypes}", "shape"))):
        cut = text if len(text) <= 42 else f"{text[:41]}…"
        parts.append(
            Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(style, x + 10, y + 18 + 15 * line, cut)
        )
    return Markup("").join([*parts, Markup("</g>")])


def _rectangle(x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" rx="5"/>').format(x, y, width, height)
