"""Where zeros lie in a kernel: the patterns of structured sparsity, in the layout of the `.tflite`.

There a kernel is [outputs, …, inputs]: "rows" are this array as [outputs · …, inputs], so that both
patterns run along the inputs, which lie next to each other in memory.

    m_by_n   of every n neighbours in a row, at least m are zero (N:M sparsity)
    block    the rows × inputs are cut into blocks, and whole blocks are zero

Keras keeps a kernel as [height, width, inputs, outputs]: what is 1×4 in the file is 4×1 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from pipeline.steps.prune import Config


def rows_of(kernel: np.ndarray) -> np.ndarray:
    """Return a Keras kernel [..., inputs, outputs] as the file's rows [outputs · …, inputs]."""
    import numpy as np

    return np.moveaxis(kernel, -1, 0).reshape(-1, kernel.shape[-2])


def m_by_n_zeros(rows: np.ndarray, m: int, n: int) -> int:
    """Return the number of zeros that follow m:n, at most m of each n neighbours; n divides the inputs."""
    import numpy as np

    return int(np.minimum((rows.reshape(-1, n) == 0).sum(axis=1), m).sum())


def block_zeros(rows: np.ndarray, block: tuple[int, int]) -> int:
    """Return the number of zeros in blocks (rows, inputs) that are zero as a whole; they divide the rows' shape."""
    height, width = block
    blocks = rows.reshape(rows.shape[0] // height, height, rows.shape[1] // width, width)
    return int((blocks == 0).all(axis=(1, 3)).sum()) * height * width


def pattern_zeros(config: Config) -> Callable[[np.ndarray], int]:
    """Return the function that counts the zeros of a Keras kernel that follow the config's pattern."""
    if config.method == "m_by_n":
        return lambda kernel: m_by_n_zeros(rows_of(kernel), config.m, config.n)
    if config.method == "block":
        return lambda kernel: block_zeros(rows_of(kernel), config.block_size)
    return lambda kernel: int((kernel == 0).sum())


def kernel_variables(layer: Any) -> list[Any]:
    """Return the variables of a layer that TFMOT can prune, none for a layer that it does not know."""
    from operator import attrgetter

    from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

    names = PruneRegistry._LAYERS_WEIGHTS_MAP.get(type(layer), [])
    return [attrgetter(name)(layer) for name in names]


def zero_share(layers: Iterable[Any]) -> float:
    """Return the share of the elements of all these layers' kernels that are zero, 0 to 1."""
    kernels = [variable.numpy() for layer in layers for variable in kernel_variables(layer)]
    return sum(int((kernel == 0).sum()) for kernel in kernels) / max(1, sum(kernel.size for kernel in kernels))


def why_dense(layer: Any, config: Config) -> str:
    """Return why this layer, which has weights, is left dense; nothing for one that is pruned."""
    kernels = kernel_variables(layer)
    if not kernels:
        return f"TFMOT prunes no {type(layer).__name__}"
    if layer.name in config.skip_layers:
        return "named in skip_layers"
    if sum(math.prod(kernel.shape) for kernel in kernels) < config.kernel_elements_min:
        return f"fewer than {config.kernel_elements_min} weights"
    return _why_no_pattern(type(layer).__name__, kernels[0].shape, config)


def _why_no_pattern(kind: str, shape: tuple[int, ...], config: Config) -> str:
    inputs, outputs = shape[-2:] if len(shape) > 1 else (0, 0)
    if config.method == "m_by_n":
        # TFMOT takes kernels of rank 2 and 4; others of that rank lie in another order in the file.
        if kind not in ("Dense", "Conv2D", "SeparableConv2D"):
            return f"TFMOT's m:n pattern does not lie along the inputs of a {kind}"
        if inputs % config.n:
            return f"{inputs} inputs are no multiple of n = {config.n}"
    if config.method == "block":
        height, width = config.block_size
        if kind != "Dense":
            return f"TFMOT prunes blocks in dense layers alone, not in a {kind}"
        # Otherwise TFMOT pools over other places than it masks, or fails on a single row of blocks.
        if outputs % height or inputs % width or outputs == height or inputs == width:
            return f"{outputs} outputs × {inputs} inputs are no multiple, twofold or more, of {height}×{width}"
    return ""
