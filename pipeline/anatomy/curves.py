"""What the stages of training recorded, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.anatomy.document import Curves

if TYPE_CHECKING:
    from pipeline.documents import StageRecord


def curves_of(stages: Sequence[StageRecord]) -> list[Curves]:
    """Return the curves of every training, in order; a step that trains in phases has one of each."""
    return [
        Curves(stage=name, series=series)
        for stage in stages
        for name, facts in _trainings(stage)
        if (series := _series(facts.get("history")))
    ]


def _trainings(stage: StageRecord) -> Iterator[tuple[str, dict[str, Any]]]:
    yield stage.name, stage.facts
    phases = stage.facts.get("phases")
    for number, phase in enumerate(phases if isinstance(phases, list) else []):
        if isinstance(phase, dict):
            yield f"{stage.name}, phase {number + 1}", phase


def _series(history: object) -> dict[str, list[float]]:
    """Return what is a number an epoch: a project's own step may put anything into its facts."""
    if not isinstance(history, dict):
        return {}
    return {
        str(name): [float(value) for value in values]
        for name, values in history.items()
        if isinstance(values, list) and values and all(_is_number(value) for value in values)
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
