"""Accuracy of a `.tflite` as it lies: every sample goes through the target's runner.

A stage of the plan with the same contract as a step. The runner applies the input's scale
and zero point and refuses values that the file cannot express, so that raw 0–255 pixels fed
to an int8 model are an error here and not a wrong number.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.runner import Settings, find_runner

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES = "tflite"
PRODUCES = "evaluation"
LIBRARIES = ("numpy", "ai-edge-litert")
SHOWN_PREDICTIONS = 10


class Config(BaseModel):
    """Where the file runs while it is evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runner: str = Field(description="Name of the runner.")
    threads: int = Field(1, ge=1, description="Interpreter threads.")
    resident_megabytes: int = Field(2048, gt=0, description="Limit of the interpreter's process.")
    seconds: float = Field(60.0, gt=0, description="Limit of the interpreter's process for each split.")


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Classify the validation and test splits with `source/model.tflite`.

    Writes `<split>.npy`, integers [n], the predicted classes. Returns accuracy (0 to 1),
    correct and total counts of each split, and the first test predictions with their confidence.
    Raises RunnerFailed when the file cannot be run.
    """
    import numpy as np

    runner = find_runner(config.runner)
    settings = Settings(config.threads, resident_megabytes=config.resident_megabytes, seconds=config.seconds)
    facts: dict[str, Any] = {}
    for number, split in enumerate(("validation", "test")):
        raw, labels = workload.load(split)
        result = runner.run({"model": source / "model.tflite"}, workload.preprocess(raw), settings)
        outputs = result.models["model"].outputs
        predicted = outputs.argmax(axis=1)
        np.save(out / f"{split}.npy", predicted.astype(np.int32))
        correct = int((predicted == labels).sum())
        facts[split] = {"accuracy": correct / len(labels), "correct": correct, "samples": len(labels)}
        report({"done": (number + 1) / 2})
    facts["predictions"] = [
        {
            "index": index,
            "label": workload.labels[int(labels[index])],
            "predicted": workload.labels[int(predicted[index])],
            "confidence": round(confidence(outputs[index]), 4),
        }
        for index in range(min(SHOWN_PREDICTIONS, len(labels)))
    ]
    return facts


def confidence(logits: Any) -> float:
    """Return the softmax of the highest logit, 0 to 1. logits: float [classes]."""
    import numpy as np

    shifted = np.exp(logits.astype(np.float64) - logits.max())
    return float(shifted.max() / shifted.sum())
