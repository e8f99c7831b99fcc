"""What a comparison asks of the target's own device: whether it takes a file, what it tells, whose times count."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.comparison.rows import Made
from pipeline.comparison.techniques import REFERENCE
from pipeline.errors import DiskFull, PipelineError, RequestError, StepFailed, SystemRefused
from pipeline.project import ARTIFACT, Project
from pipeline.runner import Figure, find_runner
from pipeline.target import Target
from pipeline.target_runner import find_evaluator, is_evaluated_elsewhere, leaves_time_to_another, settings_of
from pipeline.watch import Watch
from pipeline.workload import Workload

if TYPE_CHECKING:
    from pipeline.benchmark import Measurement
    from pipeline.comparison.document import Exclusion

# What says nothing about the technique: the comparison as a whole ends.
FATAL = (DiskFull, SystemRefused)


def file_of(made: Made) -> Path:
    """Return the candidate's file in the store."""
    return made.final.entry.folder / ARTIFACT


def left_out(name: str, error: PipelineError, watch: Watch) -> Exclusion:
    """Say that a technique is left out, and return why."""
    from pipeline.comparison.document import Exclusion

    watch.note(f"{name} is left out: {error.message}")
    return Exclusion(name=name, **error.as_dict())


def on_device(
    made: list[Made], target: Target, workload: Workload, project: Project, watch: Watch
) -> tuple[list[Made], dict[str, dict[str, Figure]], list[Exclusion]]:
    """Take every file to the target's device once: return those that run there, what it tells of each, and the others.

    The float file stays in any case, since the others are compared with it. Where the device is the
    one that evaluates, all of them ran there before.
    """
    runner = find_runner(target.measured_by, project.root)
    if not is_evaluated_elsewhere(runner):
        return made, {one.name: {} for one in made}, []
    samples = workload.preprocess(workload.load("validation")[0][:1])
    settings = settings_of(target, runner=runner)
    kept: list[Made] = []
    excluded: list[Exclusion] = []
    figures: dict[str, dict[str, Figure]] = {}
    for one in made:
        try:
            figures[one.name] = runner.run({"model": file_of(one)}, samples, settings).models["model"].figures
        except (StepFailed, RequestError) as error:
            if isinstance(error, FATAL):
                raise
            if one.name != REFERENCE:
                excluded.append(left_out(one.name, error, watch))
                continue
            figures[one.name] = {}
        kept.append(one)
    return kept, figures, excluded


def as_told(
    measured: dict[str, Measurement], figures: dict[str, dict[str, Figure]], target: Target, root: Path
) -> dict[str, Measurement]:
    """Return what the target's budgets are held against: what its device told, and nothing that stood in for it."""
    name, _ = timed_by(target, root)
    own: dict[str, object] = {}
    if name != target.measured_by:
        runner = find_runner(target.measured_by, root)
        device = runner.device(settings_of(target, runner=runner))
        own = {"device": device, "latency": None, "baseline_latency": None, "speedup": None, "memory_bytes": None}
    return {one: found.model_copy(update={**own, "figures": figures[one]}) for one, found in measured.items()}


def timed_by(target: Target, root: Path) -> tuple[str, ModuleType]:
    """Return name and module of the target's runner, or of the evaluating one where that gives no times."""
    runner = find_runner(target.measured_by, root)
    if leaves_time_to_another(runner):
        return find_evaluator(target, root)
    return target.measured_by, runner
