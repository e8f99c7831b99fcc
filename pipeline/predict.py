"""One picture through the built file: the class, and how sure the file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.target import Target
from pipeline.target_runner import find_evaluator, settings_of
from pipeline.workload import Workload


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
    _, runner = find_evaluator(target)
    result = runner.run({"model": model}, workload.preprocess(sample[np.newaxis]), settings_of(target))
    logits = result.models["model"].outputs[0].astype(np.float64)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    best = int(shares.argmax())
    return {
        "predicted": workload.labels[best],
        "confidence": round(float(shares[best]), 4),
        "probabilities": {label: round(float(share), 4) for label, share in zip(workload.labels, shares, strict=True)},
        "notes": notes,
    }
