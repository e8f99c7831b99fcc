"""How the values of weights and activations spread, beside the grid that they are rounded to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.anatomy.calibration_coverage import Seen
from pipeline.anatomy.document import Histogram
from pipeline.anatomy.grids import Grid, grid_of
from pipeline.flatbuffer import Tensor, read_model
from pipeline.inspect import constant_sources, kernels_of
from pipeline.steps._operators import NamedOperator, activations

if TYPE_CHECKING:
    import numpy as np

BINS = 64
_DIGITS = 6  # significant ones of an edge


def weight_histograms(path: Path, operators: Sequence[NamedOperator]) -> Iterator[Histogram]:
    """Yield the real values of each kernel in the file, in order of execution; shared ones once.

    operators: under their layers' names.
    """
    graph = read_model(path).subgraphs[0]
    sources, seen = constant_sources(graph), set()
    for operator in operators:
        for tensor in kernels_of(graph.operators[operator.position], graph, sources):
            values = None if tensor.buffer in seen else real_values(tensor)
            seen.add(tensor.buffer)
            if values is not None and values.size:
                yield _histogram(operator.layer, "weights", *_counted(values, tensor), grid_of(tensor))


def real_values(tensor: Tensor) -> np.ndarray | None:
    """Return the real values of a constant, flat, or None where scale and value cannot be brought together.

    That is so where a sparse kernel has several scales, or a blockwise one keeps them in another tensor.
    """
    import numpy as np

    stored = tensor.stored_values()
    gaps = np.zeros(tensor.elements - stored.size, np.float32)  # a sparse tensor leaves out zeros
    if not tensor.quantized:
        return np.concatenate([stored.astype(np.float32), gaps])
    if not tensor.scale or (gaps.size and len(tensor.scale) > 1):
        return None
    scale, point = np.array(tensor.scale, np.float32), np.array(tensor.zero_point or (0,), np.float32)
    if len(scale) == 1:
        return np.concatenate([(stored.astype(np.float32) - point[0]) * scale[0], gaps])
    axis = tensor.quantized_dimension
    if not 0 <= axis < len(tensor.shape) or tensor.shape[axis] != len(scale) or len(point) not in (1, len(scale)):
        return None
    channels = np.moveaxis(stored.reshape(tensor.shape), axis, -1).astype(np.float32)
    return ((channels - point) * scale).reshape(-1)


def activation_histograms(
    path: Path,
    samples: np.ndarray,
    names: Mapping[int, str],
    seen: Mapping[int, Seen],
    grids: Mapping[int, Grid | None],
) -> Iterator[Histogram]:
    """Yield how the activations that `names` ({tensor's index: layer}) has spread over the samples.

    path: the file whose values are counted. samples: float32 [n, *input_shape].
    """
    import numpy as np

    ranges = {index: _range(seen[index].low, seen[index].high) for index in names}
    counts = {index: np.zeros(BINS, np.int64) for index in names}
    for found in activations(path, samples):
        for index in names:
            counts[index] += np.histogram(found[index], BINS, ranges[index])[0]
    for index, name in names.items():
        yield _histogram(name, "activations", counts[index], np.linspace(*ranges[index], BINS + 1), grids[index])


def _counted(values: np.ndarray, tensor: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and edges; of one scale whole steps to a bin, since others give a pattern of their own."""
    import numpy as np

    low, high = float(values.min()), float(values.max())
    if not tensor.quantized or len(tensor.scale) != 1:
        return np.histogram(values, BINS, _range(low, high))
    step = tensor.scale[0]
    levels = round((high - low) / step) + 1
    width = -(-levels // BINS)
    edges = low + step * (np.arange(0, levels + width, width) - 0.5)
    return np.histogram(values, edges)


def _range(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _histogram(name: str, kind: str, counts: np.ndarray, edges: np.ndarray, grid: Grid | None) -> Histogram:
    return Histogram(
        name=name,
        kind=kind,
        edges=[float(f"{edge:.{_DIGITS}g}") for edge in edges],
        counts=counts.tolist(),
        grid_low=grid.low if grid else None,
        grid_high=grid.high if grid else None,
        grid_step=grid.step if grid else None,
    )
