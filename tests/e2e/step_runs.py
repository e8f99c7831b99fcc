"""One step at a time, in this process, on the small workload with some of its parts replaced."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.workload import Workload, load_workload

SMALL = Path(__file__).parent / "project" / "workloads" / "small.py"


def varied(**parts: Any) -> Workload:
    """Return the small workload with other parts: `load=…`, `LABELS=…`, `build_student=…`."""
    original = load_workload(str(SMALL))
    module = ModuleType("varied")
    module.__dict__.update({**vars(original.module), **parts})
    return Workload("varied", module)


def digits(first: int, last: int, train: int, validation: int = 200, **parts: Any) -> Workload:
    """Return the small workload with so many samples of the digits first to last, labelled from 0."""
    small, samples = load_workload(str(SMALL)).module, {"train": train, "validation": validation}

    def load(split: str) -> tuple[np.ndarray, np.ndarray]:
        images, labels = small.load(split)
        chosen = np.flatnonzero((labels >= first) & (labels <= last))[: samples[split]]
        return images[chosen], labels[chosen] - first

    return varied(load=load, LABELS=tuple(str(digit) for digit in range(first, last + 1)), **parts)


def of_task(task: str, **parts: Any) -> Workload:
    """Return the small workload as another task: whether a digit is 5 or higher, as the task has its labels."""
    small = load_workload(str(SMALL)).module

    def load(split: str) -> tuple[np.ndarray, np.ndarray]:
        images, digits = small.load(split)
        high = (digits >= 5).astype(np.float32 if task == "regression" else np.int64)
        return images, high if task == "binary" else high[:, None]

    return varied(TASK=task, load=load, LABELS=("low", "high") if task == "binary" else ("high",), **parts)


def run_step(step: ModuleType, source: Path | None, out: Path, workload: Workload, **config: Any) -> dict[str, Any]:
    """Run a step into the new folder `out` and return its facts."""
    out.mkdir()
    return step.run(source, workload, step.Config.model_validate(config), out, lambda progress: None)


def saved(model: Any, folder: Path) -> Path:
    """Save a model as a stage does; return its folder."""
    from pipeline.steps._fit import save_model

    folder.mkdir()
    save_model(model, folder)
    return folder
