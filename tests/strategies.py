"""Hypothesis strategies that several tests share."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

quick = settings(max_examples=60, deadline=None)

texts = st.text(max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
json_leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | finite | texts
json_values = st.recursive(
    json_leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
# What a key is taken from: an object of any JSON values.
records = st.dictionaries(texts, json_values, max_size=5)


def reordered(value: Any) -> Any:
    """Return an equal value with the keys of all its objects in the opposite order."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@st.composite
def intervals(draw: st.DrawFn, lowest: float = 1e-3, highest: float = 1e6) -> tuple[float, float, float]:
    """Return (low, value, high) in rising order, all positive."""
    low, value, high = sorted(draw(st.tuples(*[st.floats(lowest, highest)] * 3)))
    return low, value, high


@st.composite
def labelled_samples(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """Return (samples of three small numbers, labels of up to four classes): many of them equal."""
    count = draw(st.integers(4, 60))
    samples = draw(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=count, max_size=count))
    classes = draw(st.integers(1, 4))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    return samples, labels
