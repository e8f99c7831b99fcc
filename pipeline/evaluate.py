"""Scores of a `.tflite` as it lies: every sample goes through the target's runner.

A stage of the plan with the same contract as a step. The runner applies the input's scale
and zero point and refuses values that the file cannot express, so that raw 0–255 pixels fed
to an int8 model are an error here and not a wrong number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.data.streaming import answers_of
from pipeline.learning_task import METRICS
from pipeline.runner import Settings, find_runner
from pipeline.score_intervals import score_intervals

if TYPE_CHECKING:
    import numpy as np

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


def scores_of(facts: Mapping[str, Any], split: str) -> dict[str, float]:
    """Return {metric: score} of one split, from the facts of an evaluation."""
    return {name: value for name, value in facts[split].items() if name in METRICS}


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Run the validation and test splits through `source/model.tflite`.

    Writes `<split>.npy`, [n, …], what the file answers to each sample. Returns the task's scores and the
    samples of each split, for samples of one class each also how many are right, the 95% intervals of the test
    scores, and the first test answers with their confidence. Raises RunnerFailed when the file cannot be run.
    """
    import numpy as np

    runner = find_runner(config.runner)
    settings = Settings(config.threads, resident_megabytes=config.resident_megabytes, seconds=config.seconds)
    task = workload.task

    def score(evidence: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        return dict(task.scores(evidence, labels, workload.threshold))

    facts: dict[str, Any] = {}
    for number, split in enumerate(("validation", "test")):
        raw, labels = workload.load(split)
        _, evidence = answers_of(runner, {"model": source / "model.tflite"}, raw, workload, settings)["model"]
        answers = task.answers(evidence, workload.threshold)
        np.save(out / f"{split}.npy", answers.astype(np.int32) if answers.dtype.kind == "i" else answers)
        facts[split] = {**score(evidence, labels), "samples": len(labels)}
        correct = int((answers == labels).sum()) if task.HAS_CLASSES else None
        if correct is not None:
            facts[split]["correct"] = correct
        report({"done": (number + 0.9) / 2})
    spans = score_intervals(score, evidence, labels, correct)  # of the test split, which is the last
    facts["intervals"] = {name: list(span) for name, span in spans.items()}
    report({"done": 1.0})
    facts["predictions"] = [
        {
            "index": index,
            "label": workload.labels[int(labels[index])] if task.HAS_CLASSES else np.asarray(labels[index]).tolist(),
            "predicted": answer,
            "confidence": None if sure is None else round(sure, 4),
        }
        for index, (answer, sure) in enumerate(
            task.shown(evidence[:SHOWN_PREDICTIONS], workload.labels, workload.threshold)
        )
    ]
    return facts
