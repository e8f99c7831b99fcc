"""Which widths channel pruning chooses: by ratio, by name, within a budget."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import StepFailed
from pipeline.steps._channel_graph import ChannelGraph, Group
from pipeline.steps.prune_channels import Config, given_widths, greedy_widths, tried_widths, width_for
from tests.strategies import quick


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "received none"),
        ({"keep_ratio": 0.5, "parameters_max": 9}, "received keep_ratio, parameters_max"),
        ({"parameters_max": 9, "multiply_accumulates_max": 9}, "exactly one"),
        ({"keep_ratio": 0}, "greater than 0"),
        ({"keep_ratio": 1}, "less than 1"),
        ({"widths": {}}, "at least 1 item"),
        ({"widths": {"conv": 0}}, "greater than 0"),
        ({"widths": {"conv": 1.5}}, "integer"),
        ({"widths": {"conv": 10}, "channels_multiple_of": 4}, "widths of conv are no multiples"),
        ({"parameters_max": 0}, "greater than 0"),
        ({"multiply_accumulates_max": -1}, "greater than 0"),
        ({"keep_ratio": 0.5, "channels_multiple_of": 0}, "greater than 0"),
        ({"keep_ratio": 0.5, "epochs": 0}, "greater than 0"),
        ({"keep_ratios": 0.5}, "Extra inputs"),
    ],
)
def test_unusable_settings_are_refused(fields: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config(**fields)


@quick
@given(st.floats(0.001, 0.999), st.integers(1, 600), st.integers(1, 40))
def test_a_ratio_becomes_the_nearest_multiple(ratio: float, width: int, multiple: int) -> None:
    kept = width_for(ratio, width, multiple)
    assert 1 <= kept <= width
    if kept < width:
        assert kept % multiple == 0
        assert kept == multiple or abs(kept - ratio * width) <= multiple / 2 + 1e-9


def test_sensitivity_is_measured_from_all_channels_down() -> None:
    assert tried_widths(64, 1) == [64, 56, 48, 40, 32, 24, 16, 8, 4]
    assert tried_widths(64, 16) == [64, 48, 32, 16]
    assert tried_widths(3, 1) == [3, 2, 1]
    assert tried_widths(6, 8) == [6]


GRAPH = ChannelGraph(
    channels=30,
    groups=(Group(("conv", "shortcut"), np.arange(8)), Group(("dense",), np.arange(8, 24))),
    obstacles={"logits": "its channels are the model's outputs"},
    outputs={},
    normalized_by={},
    axes={},
    shapes={},
    positions={},
)


def test_a_tied_layer_gives_its_width_to_the_others() -> None:
    assert given_widths(GRAPH, {"shortcut": 3}) == [3, 16]
    assert given_widths(GRAPH, {"shortcut": 8, "conv": 8, "dense": 16}) == [8, 16]


@pytest.mark.parametrize(
    ("widths", "message", "received", "expected"),
    [
        ({"dens": 4}, "dens cannot be pruned", "no layer of the model", "conv, shortcut, dense"),
        ({"logits": 4}, "logits cannot be pruned", "the model's outputs", "conv, shortcut, dense"),
        ({"dense": 17}, "narrower", "dense = 17", "1 to 16"),
        ({"conv": 4, "shortcut": 5}, "conv and shortcut are tied", "conv = 4, shortcut = 5", "one width"),
        ({"conv": 8, "shortcut": 5}, "conv and shortcut are tied", "conv = 8, shortcut = 5", "one width"),
    ],
)
def test_widths_that_do_not_fit_are_refused(widths: dict, message: str, received: str, expected: str) -> None:
    with pytest.raises(StepFailed, match=message) as caught:
        given_widths(GRAPH, widths)
    assert received in caught.value.received
    assert expected in caught.value.expected
    assert "`widths`" in caught.value.fix


def parameters(widths: list[int]) -> int:
    """Return the weights of dense layers of these widths in a row, from 5 inputs to 3 outputs."""
    return sum(math.prod(pair) for pair in zip([5, *widths], [*widths, 3], strict=True))


@st.composite
def curves(draw: st.DrawFn) -> list[dict[int, float]]:
    """Return the validation loss by width of one to three layers."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        widths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5, unique=True))
        found.append({width: draw(st.floats(0, 5)) for width in widths})
    return found


@quick
@given(curves(), st.integers(1, 3000), st.integers(1, 4))
def test_a_budget_holds(curves: list[dict[int, float]], budget: int, multiple: int) -> None:
    full, narrowest = [max(curve) for curve in curves], [min(curve) for curve in curves]
    budget = max(budget, parameters(narrowest))
    widths = greedy_widths(curves, parameters, budget, multiple)
    assert parameters(widths) <= budget
    assert all(low <= width <= high for low, width, high in zip(narrowest, widths, full, strict=True))
    assert all(width in curve or width % multiple == 0 for width, curve in zip(widths, curves, strict=True))
    if parameters(full) <= budget:
        assert widths == full


def test_the_layer_that_costs_least_loss_for_what_it_saves_is_cut_first() -> None:
    sensitive, robust = {20: 0.1, 10: 2.0, 5: 4.0}, {20: 0.1, 10: 0.2, 5: 0.3}
    assert greedy_widths([sensitive, robust], parameters, 300, 1) == [20, 8]
    assert greedy_widths([robust, sensitive], parameters, 300, 1) == [9, 20]
    # Equal losses: what saves more goes first.
    assert greedy_widths([{8: 0, 4: 1}, {40: 0, 20: 1}], parameters, 300, 1) == [8, 23]


def test_the_last_step_goes_only_as_far_as_it_has_to() -> None:
    assert parameters([20]) == 160
    assert greedy_widths([{20: 0.0, 5: 1.0}], parameters, 159, 1) == [19]
    assert greedy_widths([{20: 0.0, 5: 1.0}], parameters, 159, 4) == [16]
    assert greedy_widths([{20: 0.0, 5: 1.0}], parameters, 40, 4) == [5]
