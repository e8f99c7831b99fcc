"""Statistics and the choice of a comparison, over rows made up for each case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.comparison.choice import accuracy_is_sure, choose, mcnemar, pareto_front, why_not
from pipeline.comparison.document import Accuracy
from pipeline.score_intervals import wilson_interval
from pipeline.verdict import Verdict
from tests.comparison_rows import row

FLOAT = row("float32", size_bytes=100_000, p50_us=40, fits_target=False)


@given(st.integers(1, 1000), st.data())
def test_wilsons_interval_holds_the_share_and_narrows(samples: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, samples))
    low, high = wilson_interval(correct, samples)
    assert 0 <= low <= correct / samples <= high <= 1
    of_more_low, of_more_high = wilson_interval(10 * correct, 10 * samples)
    assert of_more_high - of_more_low < high - low


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_interval_is_scipy_s() -> None:
    from scipy.stats import binomtest

    for correct, samples in ((0, 1), (1, 1), (0, 40), (40, 40), (3, 7), (9_951, 10_000), (1, 10**6)):
        expected = binomtest(correct, samples).proportion_ci(method="wilson")
        assert wilson_interval(correct, samples) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


def test_mcnemar_counts_what_only_one_of_both_gets_right() -> None:
    reference = np.array([True] * 12 + [False] * 10)
    other = np.array([True] * 2 + [False] * 10 + [True] * 1 + [False] * 9)
    found = mcnemar(reference, other)
    assert (found.only_reference_right, found.only_this_right) == (10, 1)
    assert found.p_value == pytest.approx(2 * (1 + 11) / 2**11)  # both tails of 11 fair coins
    assert found.worse
    assert not mcnemar(other, reference).worse
    assert mcnemar(reference, reference).p_value == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points)
    assert any(front)
    for point, on_front in zip(points, front, strict=True):
        beaten = any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
        assert on_front is not beaten


def chosen(*rows: Any) -> str | None:
    for one in (FLOAT, *rows):
        one.not_chosen = why_not(one, FLOAT)
    found = choose([FLOAT, *rows])
    return found.name if found else None


def test_the_smallest_that_fits_is_chosen() -> None:
    large, small = row("large", size_bytes=50_000, p50_us=1), row("small", size_bytes=20_000, p50_us=9)
    assert chosen(large, small) == "small"
    assert chosen(large, row("small", size_bytes=20_000, verdict="fail")) == "large"
    assert chosen(large, row("small", size_bytes=20_000, lost=60, won=10)) == "large", "less accurate, not by chance"
    assert chosen(large, row("small", size_bytes=20_000, lost=12, won=10)) == "small", "less accurate by chance"
    assert chosen(row("small", size_bytes=20_000, fits_target=False)) is None


def test_among_files_of_a_size_the_fastest_then_the_best_deflated() -> None:
    slow, fast = row("slow", size_bytes=20_000, p50_us=9), row("fast", size_bytes=20_100, p50_us=5)
    assert chosen(slow, fast) == "fast"
    as_fast = row("as_fast", size_bytes=20_050, p50_us=5.04, deflated_bytes=3_000)
    assert chosen(slow, fast, as_fast) == "as_fast", "the intervals overlap"
    much_larger = row("much_larger", size_bytes=20_300, p50_us=1)
    assert chosen(slow, much_larger) == "slow", "more than a hundredth larger"


def test_it_says_why_a_row_is_not_the_choice() -> None:
    assert why_not(row("a"), FLOAT) == ""
    assert "number formats" in why_not(row("a", fits_target=False), FLOAT)
    assert "size_bytes" in why_not(row("a", verdict="fail"), FLOAT)
    assert "less accurate than float32" in why_not(row("a", lost=60, won=10), FLOAT)


def test_what_holds_by_chance_alone_gives_way_to_what_holds_surely() -> None:
    unsure, sure = row("unsure", size_bytes=5_000, accuracy_sure=False), row("sure", size_bytes=20_000)
    assert chosen(unsure, sure) == "sure"
    assert chosen(unsure) == "unsure", "where nothing is sure, what holds as counted"


@pytest.mark.parametrize(
    ("metric", "limit", "correct", "lost", "won", "sure"),
    [
        ("accuracy_min", 0.99, 997, 0, 0, True),  # the one-sided bound is 0.9925
        ("accuracy_min", 0.99, 993, 0, 0, False),  # and 0.9873
        ("accuracy_drop_max", 0.01, 900, 5, 5, True),  # 0 + 1.64 × √10 / 1000
        ("accuracy_drop_max", 0.01, 900, 12, 5, False),  # 0.007 + 1.64 × √17 / 1000
        ("accuracy_drop_max", 0.01, 900, 5, 40, True),
    ],
)
def test_an_accuracy_budget_is_sure_when_its_bound_holds(
    metric: str, limit: float, correct: int, lost: int, won: int, sure: bool
) -> None:
    validation = Accuracy(accuracy=correct / 1000, correct=correct, samples=1000, interval=(0, 1))
    made = row("a", validation=validation, lost=lost, won=won)
    made.verdicts = [Verdict(metric=metric, limit=limit, measured=None, interval=None, verdict="pass")]
    assert accuracy_is_sure(made) is sure
