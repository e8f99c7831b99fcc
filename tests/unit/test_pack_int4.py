"""Which int8 kernels lie on a grid of 4 bits, and how they are packed."""

from __future__ import annotations

from pathlib import Path

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest

from pipeline.steps.pack_int4 import pack_int4, step_size, two_in_a_byte

TINY = Path(__file__).parents[1] / "data" / "tiny_int8.tflite"


def as_converted(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 values and scales of each channel, as the converter makes them of a float kernel."""
    scales = np.abs(kernel).reshape(len(kernel), -1).max(axis=1) / 127
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    values = np.round(kernel / scales.reshape(-1, *[1] * (kernel.ndim - 1))).astype(np.int8)
    return values, scales.astype(np.float64)


def grid(seed: int, top: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(-top, top + 1, (6, 3, 3, 4))


@pytest.mark.parametrize("step", [1e-4, 0.0371, 12.5])
@pytest.mark.parametrize("top", [2, 3, 7])
def test_one_step_for_the_kernel_is_found_although_the_channels_scales_differ(step: float, top: int) -> None:
    integers = grid(0, top)
    integers[1] = np.sign(integers[1])  # a channel that uses no more than ±1
    integers[2] = 0
    values, scales = as_converted(integers * step)
    scales[2] = step  # what a converter writes for a channel without weights does not matter
    assert step_size(values, scales) == pytest.approx(step, rel=1e-5)


def test_channels_with_steps_of_their_own_have_no_common_one() -> None:
    steps = np.array([0.01, 0.0133, 0.02, 0.031, 0.0377, 0.05])
    values, scales = as_converted(grid(1) * steps.reshape(-1, 1, 1, 1))
    assert step_size(values, scales) is None


def test_kernels_of_more_bits_are_on_no_grid() -> None:
    values, scales = as_converted(np.random.default_rng(2).normal(size=(6, 3, 3, 4)))
    assert step_size(values, scales) is None
    values, scales = as_converted(grid(3, top=15) * 0.1)
    assert step_size(values, scales) is None


def test_two_weights_in_a_byte_the_first_in_the_low_half() -> None:
    assert two_in_a_byte(np.array([1, -1, 7, -7, 3], np.int8)).tolist() == [0xF1, 0x97, 0x03]


def test_a_file_without_such_a_kernel_keeps_all_of_them() -> None:
    content, packed, left = pack_int4(TINY.read_bytes())
    assert packed == []
    assert len(left) > 0
    types = [t.type for t in schema.ModelT.InitFromPackedBuf(content).subgraphs[0].tensors]
    assert schema.TensorType.INT4 not in types
