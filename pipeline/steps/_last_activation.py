"""What a trained network may end with where later steps, and the task's scores, expect logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.workload import Workload

_OF_TASK = {"classification": "softmax", "binary": "sigmoid", "multi_label": "sigmoid"}


def last_activation(workload: Workload) -> str | None:
    """Return "softmax" or "sigmoid"; None for a task whose network gives its values themselves."""
    return _OF_TASK.get(workload.task_name)
