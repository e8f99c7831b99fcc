"""One picture through the built file: the class, and how sure the file is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.target import Target
from pipeline.target_runner import find_evaluator, settings_of
from pipeline.workload import Workload

if TYPE_CHECKING:
    import numpy as np


def predict(model: Path, image: Path, target: Target, workload: Workload, *, inverted: bool) -> dict[str, Any]:
    """Return predicted class, confidence (0 to 1), every class's probability, and notes.

    The picture may have any size and mode; `inverted` swaps dark and light first. Raises
    BadImage for a file that is no picture, RunnerFailed when the file cannot be run.
    """
    import numpy as np

    from pipeline.images import decode_image, invert, looks_inverted, open_image

    picture = open_image(image)
    decode = getattr(workload.module, "decode_image", None)
    sample = decode(picture) if decode else decode_image(picture, workload.input_shape)
    sample = invert(sample) if inverted else sample
    notes = []
    if sample.min() == sample.max():
        notes.append("the picture has a single value: there is nothing in it to recognize")
    elif looks_inverted(sample):
        notes.append("the border is brighter than the middle; if the picture is dark on light, add --invert")
    prepared = workload.preprocess(sample[np.newaxis])
    _, runner = find_evaluator(target)
    result = runner.run({"model": model}, prepared, settings_of(target))
    evidence = workload.task.evidence(result.models["model"].outputs, prepared)
    answer, sure = workload.task.shown(evidence, workload.labels, workload.threshold)[0]
    return {
        "predicted": answer,
        "confidence": None if sure is None else round(sure, 4),
        "probabilities": _probabilities(evidence, workload),
        "notes": notes,
    }


def _probabilities(evidence: np.ndarray, workload: Workload) -> dict[str, float]:
    """Return the probability of each label; empty where the task has none."""
    shares = workload.task.probabilities(evidence)
    if shares is None:
        return {}
    return {label: round(float(share), 4) for label, share in zip(workload.labels, shares[0], strict=True)}
