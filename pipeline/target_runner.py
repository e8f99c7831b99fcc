"""Which runners a target's files go to, and how they are asked.

Apart from runner.py, which steps import: an edit of what targets say must not make them anew.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from pydantic import BaseModel, ValidationError

from pipeline.errors import BadTarget
from pipeline.runner import Settings, find_runner
from pipeline.target import Target
from pipeline.toml_files import first_complaint, invalid


def settings_of(target: Target, *, files: int = 1, outputs: bool = True, runner: ModuleType | None = None) -> Settings:
    """Return how a runner is asked to run so many files of a target, which all lie in one process.

    runner: the module that takes them, whose own settings are the target's [device]; None for
    an evaluating runner, which has none. Raises BadTarget for [device] settings that it does not take.
    """
    limits = target.limits
    return Settings(
        target.threads,
        outputs=outputs,
        resident_megabytes=limits.resident_megabytes * files,
        seconds=limits.seconds,
        config=config_of(runner, target) if runner else None,
    )


def config_of(runner: ModuleType, target: Target) -> BaseModel | None:
    """Return the runner's own settings. Raises BadTarget for a key or value that it does not take."""
    model = getattr(runner, "Config", None)
    if target.measured_by != target.runner or not (model or target.device):
        return None  # a stand-in, which the settings do not concern, or nothing to read
    if model is None:
        path, table = target.place_of(next(iter(target.device)))
        raise BadTarget(
            f"{path}: the runner {target.runner!r} takes no [{table[0]}] settings",
            received=f"device = {target.device}",
            expected="no [device] table, here or in devices.toml",
            fix="take the table out, or name the runner that it is for",
        )
    try:
        return model.model_validate(target.device)
    except ValidationError as error:
        first = first_complaint(error)["loc"]
        path, table = target.place_of(str(first[0]) if first else "")
        raise invalid(path, table, error, model) from error


def is_evaluated_elsewhere(runner: ModuleType) -> bool:
    """Whether another runner evaluates files for this one, whose device is slow to reach or gives no outputs."""
    return hasattr(runner, "EVALUATED_BY")


def leaves_time_to_another(runner: ModuleType) -> bool:
    """Whether a runner's device gives no times that mean something, so that the evaluating one's stand in."""
    return is_evaluated_elsewhere(runner) and not runner.MEASURES_TIME


def find_evaluator(target: Target, root: Path | None = None) -> tuple[str, ModuleType]:
    """Return the name and module of the runner that evaluates and verifies a target's files."""
    runner = find_runner(target.measured_by, root, where=f"{target.path}: runner")
    name = getattr(runner, "EVALUATED_BY", target.measured_by)
    return name, find_runner(name, root)
