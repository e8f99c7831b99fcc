"""Holds a file that was only written anew against its source: the same outputs, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StepFailed

if TYPE_CHECKING:
    from pipeline.workload import Workload


def refuse_other_outputs(before: Path, after: Path, workload: Workload, count: int, runner: str, step: str) -> None:
    """Raise StepFailed when an output on the first `count` validation samples differs in a single bit."""
    from pipeline.runner import Settings, find_runner

    samples = workload.preprocess(workload.load("validation")[0][:count])
    result = find_runner(runner).run({"before": before, "after": after}, samples, Settings())
    outputs = {name: model.outputs for name, model in result.models.items()}
    different = int((outputs["before"] != outputs["after"]).any(axis=1).sum())
    if different:
        raise StepFailed(
            f"the file of the {step} step does not compute what its source computes",
            received=f"{different} of {count} outputs differ",
            expected="outputs that are equal bit by bit",
            fix=f"take the {step} step out of the recipe, and report the model",
        )
