"""Charts as specifications: how much of a limit is used, layers of a graph, labels that are no code."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import HOSTILE, anatomy, node

from pipeline.anatomy.document import Confusion
from pipeline.report.page.anatomy_sections import confusion_pieces
from pipeline.report.page.charts.budgets import budgets, used_share
from pipeline.report.page.charts.confusion import confusion
from pipeline.report.page.charts.coverage import coverage
from pipeline.report.page.charts.histogram import histogram
from pipeline.report.page.charts.treemap import PIECES_MAX, treemap
from pipeline.report.page.graph_drawing import graph_svg, ordered_layers
from pipeline.verdict import Verdict


def verdict(metric: str, limit: float, measured: float | None, interval: tuple[float, float] | None = None) -> Verdict:
    return Verdict(metric=metric, limit=limit, measured=measured, interval=interval, verdict="pass")


@pytest.mark.parametrize(
    ("given_verdict", "used"),
    [
        (verdict("size_bytes", 400, 100), (0.25, 0.25, 0.25)),
        (verdict("memory_bytes", 400, 200, (100, 300)), (0.5, 0.25, 0.75)),
        (verdict("speedup_min", 2, 4, (2, 8)), (0.5, 0.25, 1.0)),
        (verdict("accuracy_drop_max", 0.5, -0.25), (-0.5, -0.5, -0.5)),
        (verdict("size_bytes", 400, None), None),
        (verdict("accuracy_drop_max", 0, 0.1), None),
        (verdict("accuracy_min", 0.9, 0.0), None),
    ],
)
def test_a_bar_is_the_share_of_the_limit_that_is_used(given_verdict: Verdict, used: tuple[float, ...] | None) -> None:
    assert used_share(given_verdict) == used


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.sampled_from(["size_bytes", "speedup_min"]))
def test_a_bar_passes_the_line_where_the_limit_is_missed(limit: float, measured: float, metric: str) -> None:
    used = used_share(verdict(metric, limit, measured))
    kept = measured >= limit if metric.endswith("_min") else measured <= limit
    assert used
    assert (used[0] <= 1) == kept


def test_what_uses_very_much_of_its_limit_is_drawn_to_an_end_and_says_how_much() -> None:
    (row,) = budgets([verdict("size_bytes", 1, 900)])["data"]["values"]
    assert (row["used"], row["label"]) == (2.0, "90000%")


def test_labels_in_an_expression_stay_one_string() -> None:
    expression = confusion([HOSTILE, "it's", "\\"], [[1, 0, 0]] * 3, 1)["layer"][0]["encoding"]["x"]["axis"][
        "labelExpr"
    ]
    assert re.fullmatch(r"\[('([\w \-]|\\u[0-9a-f]{4})*',?){3}\]\[datum\.value\]", expression)


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """For each node, some of the earlier ones."""
    count = draw(st.integers(0, 20))
    return [sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(count)]


@given(graphs())
def test_every_operator_lies_below_those_it_follows(edges: list[list[int]]) -> None:
    rows = ordered_layers(edges)
    assert sorted(one for row in rows for one in row) == list(range(len(edges)))
    level = {one: position for position, row in enumerate(rows) for one in row}
    assert all(level[source] < level[one] for one, sources in enumerate(edges) for source in sources)


def test_crossed_branches_are_straightened() -> None:
    rows = ordered_layers([[], [], [1], [0]])
    assert [rows[0].index(0), rows[0].index(1)] == [rows[1].index(3), rows[1].index(2)]


def test_a_float_leftover_is_marked_by_more_than_colour() -> None:
    svg = graph_svg([node("INPUT", "", []), node("SOFTMAX", "<b>", [0], float_leftover=True)])
    assert svg.count("FLOAT") == 1
    assert svg.count("<rect") == 3
    assert "<b>" not in svg
    assert graph_svg([node("INPUT", "", [])]).count("FLOAT") == 0


def test_the_treemap_has_every_byte() -> None:
    pieces = [one.model_copy(update={"name": str(i)}) for i, one in enumerate(anatomy().bytes * 300)]
    nodes = treemap(pieces)["data"][0]["values"]
    assert len(nodes) < PIECES_MAX + 20
    assert sum(one.get("size", 0) for one in nodes) == sum(piece.bytes for piece in pieces)


def test_grid_lines_are_those_of_the_quantization() -> None:
    (weights,) = anatomy().histograms
    layers = histogram(weights)["layer"]
    assert [one["data"]["sequence"]["stop"] for one in layers if "sequence" in one.get("data", {})] == [256]
    plain = weights.model_copy(update={"grid_low": None, "grid_high": None, "grid_step": None})
    assert len(histogram(plain)["layer"]) == 1


def test_coverage_says_what_is_clipped() -> None:
    rows = coverage(anatomy().calibration.tensors)["data"]["values"]  # type: ignore[union-attr]
    assert [(row["seen_high"], row["label"]) for row in rows] == [(0.9, ""), (1.25, "<0.01% clipped")]


def test_two_confusions_have_one_scale_which_right_answers_do_not_stretch() -> None:
    found = Confusion(labels=["a", "b"], float_counts=[[900, 2], [1, 800]], file_counts=[[895, 7], [0, 801]])
    (both,) = confusion_pieces(found)
    assert [chart.title for chart in both.charts] == ["float32: 3 errors", "the file that ships: 7 errors"]
    colours = [chart.spec["layer"][0]["encoding"]["color"] for chart in both.charts]
    assert [colour["scale"]["domain"] for colour in colours] == [[0, 7], [0, 7]]
