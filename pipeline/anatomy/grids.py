"""The grid of values that a quantized tensor can hold."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.flatbuffer import Tensor

_BITS = {"int2": 2, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "int16": 16}


class Grid(NamedTuple):
    """Real values: the lowest, the highest, and the distance of two neighbours."""

    low: float
    high: float
    step: float


def grid_of(tensor: Tensor) -> Grid | None:
    """Return a tensor's grid, of several scales the widest; None where it is not quantized to 16 bits or fewer."""
    bits = _BITS.get(tensor.dtype)
    if not bits or not tensor.scale:
        return None
    step = max(tensor.scale)
    points = tensor.zero_point or (0,)
    zero_point = points[min(tensor.scale.index(step), len(points) - 1)]
    lowest = 0 if tensor.dtype.startswith("u") else -(2 ** (bits - 1))
    return Grid((lowest - zero_point) * step, (lowest + 2**bits - 1 - zero_point) * step, step)
