"""Histograms for trackers: what quantization makes of the counted values."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from report_samples import anatomy, build

from pipeline.anatomy.document import Histogram
from pipeline.tracking.facts import BuildFacts
from pipeline.tracking.histograms import AFTER, BEFORE, bins_of

EMPTY_STORE = cast(Any, SimpleNamespace(store=SimpleNamespace(peek=lambda key: None)))


def facts(*histograms: Histogram) -> BuildFacts:
    parts = anatomy().model_copy(update={"histograms": list(histograms)})
    return BuildFacts("grey/null", Path("nowhere"), build(), parts, {}, {}, {}, 0.0)


def test_values_are_moved_to_the_grid_and_those_beyond_it_to_its_end() -> None:
    """Bins around 0.5, 1.5, 2.5 and 3.5 on a grid of 0, 0.8 and 1.6: one value goes to 0.8, nine to the end."""
    counted = Histogram(
        name="dense",
        kind="activations",
        edges=[0.0, 1.0, 2.0, 3.0, 4.0],
        counts=[1, 2, 3, 4],
        grid_low=0.0,
        grid_high=1.6,
        grid_step=0.8,
    )
    (tag, before, given), (same_tag, after, moved) = bins_of(facts(counted), EMPTY_STORE)
    assert (tag, before, after) == ("activations/dense", BEFORE, AFTER)
    assert same_tag == tag
    assert given == [[0, 1, 1], [1, 2, 2], [2, 3, 3], [3, 4, 4]]
    assert [count for _, _, count in moved] == [1, 9, 0, 0]


def test_without_a_grid_nothing_is_moved() -> None:
    plain = Histogram(
        name="dense", kind="activations", edges=[0.0, 1.0], counts=[3], grid_low=None, grid_high=None, grid_step=None
    )
    assert [step for _, step, _ in bins_of(facts(plain), EMPTY_STORE)] == [BEFORE]
