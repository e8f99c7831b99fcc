"""The words of a comparison, on simulated processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench_compare import PROCESSES, ratio_of, word
from pipeline.intervals import Interval
from tests.strategies import quick


def simulated(random: np.random.Generator, ratio: float, spread: float) -> list[tuple[float, float]]:
    """Return medians of PROCESSES processes that differ among themselves, and in their ratio by `spread`."""
    first = 30_000 * np.exp(random.normal(0, 0.1, PROCESSES))
    return list(zip(first, first * ratio * np.exp(random.normal(0, spread, PROCESSES)), strict=True))


def test_a_file_against_itself_is_rarely_called_different() -> None:
    random = np.random.default_rng(0)
    words = [word(ratio_of(simulated(random, 1.0, 0.02))) for _ in range(2000)]
    assert 2000 - words.count("no difference shown") < 2000 * 0.02


def test_five_percent_are_seen_through_two_percent_of_noise() -> None:
    random = np.random.default_rng(1)
    words = [word(ratio_of(simulated(random, 1.05, 0.02))) for _ in range(500)]
    assert words.count("slower") > 500 * 0.98
    words = [word(ratio_of(simulated(random, 1 / 1.05, 0.02))) for _ in range(500)]
    assert words.count("faster") > 500 * 0.98


@quick
@given(st.floats(0.1, 10), st.floats(0, 0.3), st.integers(0, 1000))
def test_swapping_the_files_turns_the_ratio_over(ratio: float, spread: float, seed: int) -> None:
    pairs = simulated(np.random.default_rng(seed), ratio, spread)
    one, other = ratio_of(pairs), ratio_of([(second, first) for first, second in pairs])
    assert one.value == pytest.approx(1 / other.value)
    assert one.low == pytest.approx(1 / other.high)
    assert one.low <= one.value <= one.high


def test_equal_processes_give_the_ratio_itself() -> None:
    found = ratio_of([(100.0, 150.0)] * 4)
    assert (found.value, found.low, found.high) == (pytest.approx(1.5),) * 3


def test_the_interval_is_students() -> None:
    found = ratio_of([(1.0, math.exp(value)) for value in (0.1, 0.2, 0.3)], confidence=0.95)
    assert math.log(found.value) == pytest.approx(0.2)
    assert math.log(found.high) - 0.2 == pytest.approx(4.302653 * 0.1 / math.sqrt(3))  # t(2 degrees, 97.5%)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.01, 1.2, "slower"),
        (0.8, 0.99, "faster"),
        (0.99, 1.01, "no difference shown"),
        (1.0, 1.1, "no difference shown"),
    ],
)
def test_words(low: float, high: float, expected: str) -> None:
    assert word(Interval(value=(low + high) / 2, low=low, high=high)) == expected
