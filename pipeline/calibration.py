"""The representative dataset: which training samples the quantizer sees, and when it refuses.

Full-integer quantization takes its activation ranges from these samples (Jacob et al. 2018,
arXiv:1712.05877). They come from the training split, class-balanced, distinct and seeded, and
pass through the workload's own preprocessing. Repeated, constant or out-of-range samples give
wrong ranges without any error (tensorflow#44289, #49927), so they are refused here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload


def representative_dataset(workload: Workload, samples: int, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Return float32 [samples, *input_shape] from the training split, and the record of the draw.

    The record holds the indices into the training split, in order, and the SHA-256 of the
    preprocessed bytes. Raises DataError when the split cannot give such a set.
    """
    import numpy as np

    raw, labels = workload.load("train")
    if workload.task.HAS_CLASSES:
        refuse_missing_classes(labels, workload.labels)
    else:  # of one kind all of them, as far as the draw is concerned
        labels = np.zeros(len(labels), np.int64)
    indices = balanced_indices(raw, labels, samples, seed)
    prepared = workload.preprocess(raw[indices])
    refuse_unusable(prepared, workload.input_range)
    record = {
        "split": "train",
        "samples": len(indices),
        "indices": [int(index) for index in indices],
        "sha256": hashlib.sha256(prepared.tobytes()).hexdigest(),
    }
    return prepared, record


def balanced_indices(raw: np.ndarray, labels: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Return `samples` distinct indices, equally many of each class (give or take one).

    raw: [n, …] samples, labels: integers [n]. Two indices never point at equal samples.
    Raises DataError when a class has too few distinct samples.
    """
    import numpy as np

    classes = np.unique(labels)
    random = np.random.default_rng(seed)
    share = [samples // len(classes) + (i < samples % len(classes)) for i in range(len(classes))]
    chosen: list[np.ndarray] = []
    seen: set[bytes] = set()  # over all classes: two of them may share a sample
    for label, wanted in zip(classes, share, strict=True):
        part: list[int] = []
        for index in random.permutation(np.flatnonzero(labels == label)):
            if len(part) == wanted:
                break
            content = raw[index].tobytes()
            if content not in seen:
                seen.add(content)
                part.append(int(index))
        if len(part) < wanted:
            raise DataError(
                "the training split cannot give a distinct, class-balanced representative dataset",
                received=f"{len(part)} distinct samples of class {label}",
                expected=f"{wanted} (calibration_samples = {samples} over {len(classes)} classes)",
                fix="lower `calibration_samples` of the quantize step, or look for repeated samples",
            )
        chosen.append(np.array(part, np.int64))
    # Interleaved, so that any prefix is balanced as well.
    order = np.argsort(np.concatenate([np.arange(len(part)) for part in chosen]), kind="stable")
    return np.concatenate(chosen)[order]


def refuse_missing_classes(labels: np.ndarray, names: Sequence[str]) -> None:
    """Raise DataError when a class of `names` has no sample: its activations would be quantized unseen."""
    import numpy as np

    missing = sorted(set(range(len(names))) - set(np.unique(labels).tolist()))
    if missing:
        raise DataError(
            "the representative dataset would lack a class",
            received=f"a training split without a sample of {', '.join(names[label] for label in missing)}",
            expected=f"samples of all {len(names)} LABELS",
            fix="add samples of it to the training split, or take it out of LABELS",
        )


def refuse_unusable(prepared: np.ndarray, input_range: tuple[float, float]) -> None:
    """Raise DataError when samples float32 [n, …] are out of range, constant or repeated."""
    import numpy as np

    low, high = input_range
    expected = f"distinct samples within {low} to {high}, none of a single value"
    fix = "correct the workload's load() or preprocess()"
    if not np.isfinite(prepared).all() or prepared.min() < low or prepared.max() > high:
        raise DataError(
            "the representative dataset is out of range",
            received=f"values from {prepared.min()} to {prepared.max()}",
            expected=expected,
            fix=fix,
        )
    flat = prepared.reshape(len(prepared), -1)
    constant = np.flatnonzero(flat.min(axis=1) == flat.max(axis=1)) if flat.shape[1] > 1 else np.empty(0)
    if len(constant):
        raise DataError(
            "the representative dataset holds constant samples",
            received=f"{len(constant)} of {len(flat)}, the first at position {constant[0]}",
            expected=expected,
            fix=fix,
        )
    distinct = len({row.tobytes() for row in flat})
    if distinct < len(flat):
        raise DataError(
            "the representative dataset repeats samples",
            received=f"{distinct} distinct samples of {len(flat)}",
            expected=expected,
            fix=fix,
        )
