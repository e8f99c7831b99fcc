"""Ranges that are cut from histograms of activations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.steps._ranges import STEPS, cut_at, least_error
from tests.strategies import quick


def histogram(values: np.ndarray, bins: int = 8192) -> tuple[np.ndarray, np.ndarray]:
    return np.histogram(values, bins, (min(0, values.min()), max(0, values.max())))


def squared_error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / STEPS
    return float(((np.clip(np.round(values / step) * step, low, high) - values) ** 2).mean())


def normal_with_outlier(size: float) -> np.ndarray:
    return np.append(np.random.default_rng(3).normal(size=100_000), size)


def test_a_percentile_cuts_what_is_larger_in_size_on_both_sides() -> None:
    values = np.concatenate([np.linspace(-4, 8, 12_001), np.full(12_001, 0.5)])
    low, high = cut_at(*histogram(values), 87.5)
    # Of the half that is spread, a quarter lies beyond 5 = 8 − 3.
    assert (low, high) == (pytest.approx(-4), pytest.approx(5, abs=0.01))
    low, high = cut_at(*histogram(values), 70)
    share = (abs(values) <= high).mean()
    assert low == pytest.approx(-high)
    assert share == pytest.approx(0.7, abs=0.001)


@quick
@given(st.floats(50, 100), st.integers(0, 2**31))
def test_a_percentile_leaves_at_least_its_share(percentile: float, seed: int) -> None:
    values = np.random.default_rng(seed).standard_cauchy(500)
    low, high = cut_at(*histogram(values), percentile)
    assert ((values >= low) & (values <= high)).mean() >= percentile / 100 - 1e-9
    assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)


def test_all_of_the_values_are_min_and_max() -> None:
    values = normal_with_outlier(50)
    assert cut_at(*histogram(values), 100) == (pytest.approx(values.min()), 50)
    rectified = np.maximum(values, 0)
    assert cut_at(*histogram(rectified), 100) == (0, 50)


@pytest.mark.parametrize("outlier", [8.0, 50.0, 400.0])
def test_least_error_loses_less_than_min_and_max(outlier: float) -> None:
    values = normal_with_outlier(outlier)[:-1]
    kept = np.append(np.tile(values, 3), outlier)
    low, high = least_error(*histogram(kept))
    widest = squared_error(kept, kept.min(), kept.max())
    found = squared_error(kept, low, high)
    assert found < 0.9 * widest
    tried = [squared_error(kept, factor * kept.min(), factor * kept.max()) for factor in np.arange(1, 101) / 100]
    assert found == pytest.approx(min(tried), rel=0.02)


def test_values_without_outliers_keep_their_range() -> None:
    values = np.linspace(-1, 1, 10_001)
    assert least_error(*histogram(values)) == pytest.approx((-1, 1), abs=0.011)
