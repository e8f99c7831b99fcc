"""One step at a time, in this process, on the small workload with some of its parts replaced."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.workload import Workload, load_workload

SMALL = Path(__file__).parent / "project" / "workloads" / "small.py"


def varied(**parts: Any) -> Workload:
    """Return the small workload with other parts: `load=…`, `LABELS=…`, `build_student=…`."""
    original = load_workload(str(SMALL))
    module = ModuleType("varied")
    module.__dict__.update({**vars(original.module), **parts})
    return Workload("varied", module)


def run_step(step: ModuleType, source: Path | None, out: Path, workload: Workload, **config: Any) -> dict[str, Any]:
    """Run a step into the new folder `out` and return its facts."""
    out.mkdir()
    return step.run(source, workload, step.Config.model_validate(config), out, lambda progress: None)
