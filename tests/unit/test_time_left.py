"""What a build says of the time left comes from what its stages took before, and from its pace."""

from __future__ import annotations

import pytest

from pipeline.report.time_left import ESTIMATE_AFTER_SECONDS, TimeLeft


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def started(clock: Clock, expected: float | None = 10.0, later: float | None = 5.0) -> TimeLeft:
    left = TimeLeft(clock)
    left.plan([("load", True, None), ("train", False, expected), ("quantize", False, later)], None)
    left.stage_done("load")
    left.stage_started("train", expected)
    return left


def test_before_a_pace_is_seen_the_last_time_counts(clock: Clock) -> None:
    left = started(clock)
    clock.now = 4.0
    assert (left.of_stage(), left.in_all()) == (6.0, 11.0)


def test_the_pace_counts_from_the_first_progress_on(clock: Clock) -> None:
    left = started(clock)
    clock.now = 100.0  # libraries were loaded and the graph was traced
    left.progress(0.1)
    clock.now = 100.0 + ESTIMATE_AFTER_SECONDS
    left.progress(0.2)
    assert left.of_stage() == pytest.approx(8 * ESTIMATE_AFTER_SECONDS)
    assert left.in_all() == pytest.approx(8 * ESTIMATE_AFTER_SECONDS + 5)


def test_what_takes_longer_than_last_time_has_no_forecast(clock: Clock) -> None:
    left = started(clock)
    clock.now = 10.0
    assert left.of_stage() is None
    assert left.in_all() is None


def test_a_stage_that_was_never_made_here_leaves_the_whole_unknown(clock: Clock) -> None:
    left = started(clock, later=None)
    assert left.of_stage() == 10.0
    assert left.in_all() is None


def test_a_forecast_of_the_whole_counts_where_its_stages_have_none(clock: Clock) -> None:
    left = TimeLeft(clock)
    left.plan([("train", False, None), ("quantize", False, None)], 200.0)
    left.stage_started("train", None)
    clock.now = 50.0
    assert left.in_all() == 150.0


def test_a_finished_stage_leaves_those_that_wait(clock: Clock) -> None:
    left = started(clock)
    left.stage_done("train")
    left.stage_started("quantize", 5.0)
    clock.now = 1.0
    assert left.in_all() == 4.0
