"""Train, compress, convert and measure TFLite models; the build fails when the file misses its budget.

    from pipeline import build

    document = build("mobile", "mnist")
    print(document.verdict, document.size_bytes, document.accuracy)

What is named here is loaded when it is asked for: to import this package costs nothing.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.version_info[:2] != (3, 11):  # this file and tasks.py are read by older ones as well: keep to their syntax
    raise ImportError(
        f"the pipeline needs Python 3.11, and this is {sys.version_info[0]}.{sys.version_info[1]}: "
        "python3.11 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt -e ."
    )

if TYPE_CHECKING:
    from pipeline.documents import BuildDocument, CompareDocument
    from pipeline.errors import PipelineError, RequestError, StepFailed
    from pipeline.library import build, compare
    from pipeline.target import Budgets, LatencyBudget, Limits, Target, load_target
    from pipeline.watch import Watch
    from pipeline.workload import Training, Workload, load_workload

__all__ = [
    "Budgets",
    "BuildDocument",
    "CompareDocument",
    "LatencyBudget",
    "Limits",
    "PipelineError",
    "RequestError",
    "StepFailed",
    "Target",
    "Training",
    "Watch",
    "Workload",
    "build",
    "compare",
    "load_target",
    "load_workload",
]

# A module of the same name as a function would take its place as soon as it was imported: there is none.
_MODULES = {
    "documents": ("BuildDocument", "CompareDocument"),
    "errors": ("PipelineError", "RequestError", "StepFailed"),
    "library": ("build", "compare"),
    "target": ("Budgets", "LatencyBudget", "Limits", "Target", "load_target"),
    "watch": ("Watch",),
    "workload": ("Training", "Workload", "load_workload"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"pipeline.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
