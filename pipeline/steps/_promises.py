"""What the kernels of a Keras model hold and a later step can lose: zeros and clusters.

A kernel is a weight of rank 2 or more, its output channels along the last axis. A step that
trains further measures its kernels before and after; `verify.py` holds the finished file
against what was promised:

    kernel_zeros    [[size, share], …]: for each entry one kernel of that size with that share of zeros
    agreement_min   share of validation samples on which the file's class must be its source's, where a recipe
                    sets another one than `verify.py`
    clusters        {"number": n, "kernel_elements": [size, …]}: for each entry one kernel of
                    that size with at most n distinct values in every output channel
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pipeline.errors import StepFailed

if TYPE_CHECKING:
    import numpy as np

SPARSITY_TOLERANCE = 0.005
CLUSTERS_MAX = 256


def kernels_of(model: Any) -> dict[str, np.ndarray]:
    """Return {layer's name: kernel}; a layer's second kernel is "name/1", and so on."""
    found = {}
    for layer in model.layers:
        kernels = [weight for weight in layer.get_weights() if weight.ndim > 1]
        found.update({f"{layer.name}/{i}" if i else layer.name: kernel for i, kernel in enumerate(kernels)})
    return found


def zero_share(kernel: np.ndarray) -> float:
    """Return the share of the kernel's weights that are zero, 0 to 1."""
    return float((kernel == 0).mean())


def kernel_zeros(kernels: Iterable[np.ndarray]) -> list[tuple[int, float]]:
    """Return the promise of the pruned ones among the kernels: (elements, share of zeros) of each."""
    return [(int(kernel.size), zero_share(kernel)) for kernel in kernels if is_pruned(kernel)]


def is_pruned(kernel: np.ndarray) -> bool:
    """True where so many weights are zero that it is no accident."""
    return zero_share(kernel) > SPARSITY_TOLERANCE


def is_clustered(kernel: np.ndarray) -> bool:
    """True where the weights that are not zero share at most 256 values, each taken twice on average."""
    import numpy as np

    others = kernel[kernel != 0]
    return 0 < np.unique(others).size <= min(CLUSTERS_MAX, others.size // 2)


def distinct_values_per_channel(kernel: np.ndarray) -> int:
    """Return the number of distinct values in the output channel that has most."""
    import numpy as np

    return max(np.unique(channel).size for channel in kernel.reshape(-1, kernel.shape[-1]).T)


def lost_clusters(promise: dict[str, Any], found: Iterable[tuple[int, int]]) -> list[int]:
    """Return the sizes of promised kernels that are missing among (elements, distinct values per channel)."""
    kept = Counter(elements for elements, distinct in found if distinct <= promise["number"])
    return sorted((Counter(promise["kernel_elements"]) - kept).elements())


def lost_zeros(
    promised: Iterable[tuple[int, float]], found: Iterable[tuple[int, float]], *, more_allowed: bool
) -> list[tuple[str, str]]:
    """Return (what was found, what was promised) in words for each kernel whose share of zeros is another.

    A promised kernel is held against the nearest one of its size: conversion drops names, not sizes.
    """
    left, lost = list(found), []
    for elements, share in promised:
        nearest = min(
            (kernel for kernel in left if kernel[0] == elements),
            key=lambda kernel: abs(kernel[1] - share),
            default=None,
        )
        expected = f"{share:.4f} ± {SPARSITY_TOLERANCE} zeros in a kernel of {elements} weights"
        if nearest is None:
            lost.append((f"no kernel of {elements} weights", expected))
            continue
        left.remove(nearest)
        gain, tolerance = nearest[1] - share, max(SPARSITY_TOLERANCE, 1 / elements)
        if gain < -tolerance or (gain > tolerance and not more_allowed):
            lost.append((f"{nearest[1]:.4f} zeros in a kernel of {elements} weights", expected))
    return lost


def refuse_lost_zeros(step: str, before: Iterable[np.ndarray], after: Iterable[np.ndarray], fix: str) -> None:
    """Raise StepFailed when a step that trained further lost a kernel's zeros; more of them are no loss."""
    found = [(int(kernel.size), zero_share(kernel)) for kernel in after]
    lost = lost_zeros(kernel_zeros(before), found, more_allowed=True)
    if lost:
        raise StepFailed(
            f"the {step} step lost zeros of the pruned model that it was given",
            received="; ".join(received for received, _ in lost),
            expected="; ".join(expected for _, expected in lost),
            fix=fix,
        )


def refuse_lost_clusters(step: str, before: Iterable[np.ndarray], after: Iterable[np.ndarray], fix: str) -> None:
    """Raise StepFailed when a step that trained further gave clustered kernels more values in a channel."""
    import numpy as np

    clustered = [kernel for kernel in before if is_clustered(kernel)]
    number = max((np.unique(kernel).size for kernel in clustered), default=0)
    found = [(kernel.size, distinct_values_per_channel(kernel)) for kernel in after]
    lost = lost_clusters({"number": number, "kernel_elements": [kernel.size for kernel in clustered]}, found)
    if lost:
        raise StepFailed(
            f"the {step} step lost the clusters of the model that it was given",
            received=describe_channels(found),
            expected=f"at most {number} in every output channel of the kernels of {lost} weights",
            fix=fix,
        )


def describe_channels(found: Iterable[tuple[int, int]]) -> str:
    """Return (elements, distinct values per channel) of each kernel in words."""
    return "; ".join(f"{distinct} distinct values in a channel of {elements} weights" for elements, distinct in found)
