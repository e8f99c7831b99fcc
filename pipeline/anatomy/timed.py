"""How long each operator takes: as `invoke bench --profile` found it, kept from an earlier time, or estimated now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.anatomy.document import Anatomy
from pipeline.errors import PipelineError
from pipeline.project import ARTIFACT, BENCH_DOCUMENT, OPERATOR_TIMES, Project
from pipeline.runner import find_runner
from pipeline.store import key_of
from pipeline.target import load_target
from pipeline.target_runner import settings_of
from pipeline.watch import Watch

if TYPE_CHECKING:
    from pipeline.documents import BenchResult, BuildDocument
    from pipeline.operator_times import OperatorTimes


def measured_only(folder: Path) -> Anatomy | None:
    """Return what a folder without a finished build still has: its last measurement; None without one."""
    result = _benched(folder)
    if result is None:
        return None
    parts = Anatomy.model_fields.keys() - {"sha256", "missing", "notes", "operator_times"}
    missing = dict.fromkeys(sorted(parts), f"there is no finished build in {folder.name}, only a measurement")
    if not result.profile:
        missing["operator_times"] = "measured without --profile"
    return Anatomy(sha256=result.sha256, operator_times=result.profile, missing=missing)


def operator_times_of(
    folder: Path, document: BuildDocument, project: Project, watch: Watch, *, measure: bool
) -> tuple[OperatorTimes | None, str]:
    """Return the estimates for the build's file, or None and why there are none."""
    result = _benched(folder)
    if result and result.profile and result.sha256 == document.sha256:
        return result.profile, ""
    if not measure:
        kept = _kept(document, project)
        return kept, "" if kept else "not measured: `invoke report --times` or `invoke bench --profile` estimates them"
    try:
        found = _kept_or_measured(folder / ARTIFACT, document, project, watch)
    except PipelineError as error:
        return None, error.message
    return found, "" if found else "the target's runner gives no times"


def _kept(document: BuildDocument, project: Project) -> OperatorTimes | None:
    """Return the last estimate on the device that the build was measured on. No device is asked: it may be far."""
    from pydantic import ValidationError

    from pipeline.operator_times import OperatorTimes

    wanted = {
        "step": OPERATOR_TIMES,
        "workload": document.workload,
        "model": document.sha256,
        "device": document.device.device.model_dump(),
    }
    stored = filter(None, map(project.store.peek, project.store.entries()))
    found = [entry for entry in stored if wanted.items() <= entry["record"].items()]
    try:
        return OperatorTimes.model_validate(max(found, key=lambda entry: entry["made_at"])["facts"]) if found else None
    except ValidationError:  # of an earlier format
        return None


def _kept_or_measured(model: Path, document: BuildDocument, project: Project, watch: Watch) -> OperatorTimes | None:
    from pipeline.bench_files import timed_operators
    from pipeline.operator_times import OperatorTimes

    target = load_target(document.target, project.root)
    runner = find_runner(target.measured_by, project.root)
    if not runner.MEASURES_TIME:
        return None
    settings = settings_of(target, runner=runner)
    record = {
        "format": 1,
        "step": OPERATOR_TIMES,
        "workload": document.workload,
        "model": document.sha256,
        "settings": {"threads": settings.threads, **target.limits.model_dump()},
        "runner": {"name": target.measured_by, "version": runner.VERSION},
        "device": runner.device(settings).model_dump(),
        "device_settings": settings.config.model_dump(mode="json") if settings.config else None,
    }
    key = key_of(record)
    if entry := project.store.get(key):
        return OperatorTimes.model_validate(entry.facts)
    found = timed_operators(target, model, project, watch)
    if found:
        with project.store.making(key), project.store.working_folder(key) as out:
            project.store.put(key, record, out, found.model_dump(mode="json"), 0.0)
    return found


def _benched(folder: Path) -> BenchResult | None:
    """Return the folder's last measurement; None where there is none that can be read."""
    from pydantic import ValidationError

    from pipeline.documents import BenchResult

    try:
        return BenchResult.model_validate_json((folder / BENCH_DOCUMENT).read_bytes())
    except (OSError, ValidationError):
        return None
