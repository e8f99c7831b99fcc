"""Whether the ranges that calibration gave hold what the float32 file's activations are on other samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.anatomy.document import TensorCoverage
from pipeline.anatomy.grids import Grid
from pipeline.steps._operators import activations

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload


class Seen(NamedTuple):
    """What a tensor's values were over all samples."""

    low: float
    high: float
    clipped_share: float  # of the values, more than half a step beyond the grid; 0 without a grid


def seen_values(path: Path, samples: np.ndarray, grids: Mapping[int, Grid | None]) -> dict[int, Seen]:
    """Return {tensor's index: Seen} for the activations that `grids` names.

    path: the float32 file. samples: float32 [n, *input_shape].
    """
    low, high = dict.fromkeys(grids, float("inf")), dict.fromkeys(grids, float("-inf"))
    clipped, counted = dict.fromkeys(grids, 0), dict.fromkeys(grids, 0)
    for found in activations(path, samples):
        for index, grid in grids.items():
            values = found[index]
            low[index] = min(low[index], float(values.min()))
            high[index] = max(high[index], float(values.max()))
            counted[index] += values.size
            if grid:
                beyond = (values < grid.low - grid.step / 2) | (values > grid.high + grid.step / 2)
                clipped[index] += int(beyond.sum())
    return {index: Seen(low[index], high[index], clipped[index] / max(1, counted[index])) for index in grids}


def coverage(
    names: Mapping[int, str], grids: Mapping[int, Grid | None], seen: Mapping[int, Seen]
) -> list[TensorCoverage]:
    """Return one row for each activation with a grid, in the order of `names` ({tensor's index: layer})."""
    return [
        TensorCoverage(
            name=name,
            low=grid.low,
            high=grid.high,
            seen_low=seen[index].low,
            seen_high=seen[index].high,
            clipped_share=seen[index].clipped_share,
        )
        for index, name in names.items()
        if (grid := grids[index])
    ]


def classes_of(workload: Workload, indices: Sequence[int]) -> dict[str, int]:
    """Return {class: calibration samples}; empty where the task's samples have no class each.

    indices: into the training split.
    """
    if not workload.task.HAS_CLASSES:
        return {}
    labels = workload.load("train")[1]
    counts = Counter(int(labels[index]) for index in indices)
    return {name: counts[number] for number, name in enumerate(workload.labels)}
