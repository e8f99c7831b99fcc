"""When the masks of pruning are updated."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import EXIT_STEP, StepFailed
from pipeline.steps.prune import MASK_UPDATES_MIN, mask_schedule
from tests.strategies import quick

epochs = st.integers(2, 200)
shares = st.floats(0.01, 1)


def updates(schedule: dict[str, int], steps: int) -> list[int]:
    """Return the steps at which TFMOT updates the masks in a run of so many steps."""
    begin, end, frequency = schedule["begin_step"], schedule["end_step"], schedule["frequency"]
    return [step for step in range(steps) if begin <= step <= end and (step - begin) % frequency == 0]


@quick
@given(st.integers(1, 500), epochs, shares)
def test_masks_are_updated_often_and_rest_for_the_last_epoch(steps: int, epochs: int, share: float) -> None:
    try:
        schedule = mask_schedule(steps, epochs, share)
    except StepFailed:
        assume(False)
    found = updates(schedule, steps * epochs)
    assert len(found) >= MASK_UPDATES_MIN == 20
    assert found[-1] == schedule["end_step"], "at the last update the share that was asked for is reached"
    assert found[-1] <= steps * epochs - steps
    assert found[-1] <= steps * epochs * share
    assert found[0] == 0


@quick
@given(st.integers(1, 500), epochs, shares)
def test_a_run_is_refused_only_when_it_is_too_short(steps: int, epochs: int, share: float) -> None:
    rising = min(int(steps * epochs * share), steps * (epochs - 1))
    if rising >= MASK_UPDATES_MIN:
        mask_schedule(steps, epochs, share)
    else:
        with pytest.raises(StepFailed) as caught:
            mask_schedule(steps, epochs, share)
        assert caught.value.received == f"{epochs} epochs of {steps} steps"
        assert "`epochs`" in caught.value.fix
        assert caught.value.exit_code == EXIT_STEP


def test_a_long_run_updates_every_hundred_steps() -> None:
    assert mask_schedule(1000, 10, 0.5) == {"begin_step": 0, "end_step": 5000, "frequency": 100}
