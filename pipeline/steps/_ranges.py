"""The ranges of a float model's activations on the representative dataset, which set their scales.

    minmax       the lowest and the highest value (Jacob et al. 2018, arXiv:1712.05877)
    percentile   cut where that share of the values is no larger in size (Wu et al. 2020, arXiv:2004.09602)
    mse          shrunk by the factor for which the mean squared error of rounding to 8 bits and
                 clipping is least (Nagel et al. 2021, arXiv:2106.08295)

A few outliers stretch min/max, and with it the step of all other values. The model's own input and
output keep min/max: the first belongs to the workload's preprocessing, and of two answers cut to one
value none would be the highest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.flatbuffer import read_model
from pipeline.steps._operators import activations, named_operators

if TYPE_CHECKING:
    import numpy as np

Method = Literal["minmax", "percentile", "mse"]
BINS = 8192  # of the histogram of one activation: 32 to a step of 8 bits
FACTORS = 100  # tried for the mean squared error: 0.01, 0.02, … 1
STEPS = 255  # between the lowest and the highest of 8 bits' values


def activation_ranges(
    path: Path, samples: np.ndarray, method: Method, percentile: float
) -> dict[str, tuple[float, float]]:
    """Return {tensor's name: (lowest, highest)}, zero always within, of the float `.tflite` at `path`.

    samples: float32 [n, *input_shape]; percentile: 0 to 100, for that method alone.
    """
    import numpy as np

    low: dict[int, float] = {}
    high: dict[int, float] = {}
    for found in activations(path, samples):
        for index, values in found.items():
            low[index] = min(low.get(index, 0.0), float(values.min()))
            high[index] = max(high.get(index, 0.0), float(values.max()))
    ranges = {index: (low[index], high[index]) for index in low}
    graph = read_model(path).subgraphs[0]
    read = {index for operator in named_operators(path) for index in operator.inputs}
    clipped = [
        index
        for index in (read & ranges.keys()) - {*graph.inputs, *graph.outputs}
        if method != "minmax" and high[index] > low[index]
    ]
    if clipped:
        edges = {index: np.linspace(*ranges[index], BINS + 1) for index in clipped}
        counts = {index: np.zeros(BINS, np.int64) for index in clipped}
        for found in activations(path, samples):
            for index in clipped:
                counts[index] += np.histogram(found[index], BINS, ranges[index])[0]
        for index in clipped:
            if method == "percentile":
                ranges[index] = cut_at(counts[index], edges[index], percentile)
            else:
                ranges[index] = least_error(counts[index], edges[index])
    return {graph.tensors[index].name: limits for index, limits in ranges.items()}


def cut_at(counts: np.ndarray, edges: np.ndarray, percentile: float) -> tuple[float, float]:
    """Return the range of a histogram, cut where `percentile` of its values are no larger in size.

    counts: integers [bins], edges: ascending [bins + 1] with zero within.
    """
    import numpy as np

    sizes = np.maximum(abs(edges[:-1]), abs(edges[1:]))  # the largest of each bin
    order = np.argsort(sizes, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    # A share is a quotient of integers: not to be missed for its rounding.
    limit = float(sizes[order][np.searchsorted(share, percentile / 100 - 1e-12)])
    return max(float(edges[0]), -limit), min(float(edges[-1]), limit)


def least_error(counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """Return the range of a histogram shrunk so that 8 bits lose least of its values.

    counts: integers [bins], edges: ascending [bins + 1] with zero within.
    """
    import numpy as np

    centers = (edges[:-1] + edges[1:]) / 2

    def error(factor: float) -> float:
        low, high = factor * edges[0], factor * edges[-1]
        step = (high - low) / STEPS
        rounded = np.clip(np.round(centers / step) * step, low, high)
        return float(counts @ (rounded - centers) ** 2)

    factors = np.arange(FACTORS, 0, -1) / FACTORS
    best = min(factors, key=error)  # the widest of equal ones
    return float(best * edges[0]), float(best * edges[-1])
