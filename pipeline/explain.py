"""What a build would do, and why each stage is made: the fields of its key that changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.execute import BENCHMARK, benchmark_seconds, forecast, measured_anew, seconds_in_all, shipped_forecast
from pipeline.plan import Plan, Stage
from pipeline.project import BUILD_DOCUMENT, Project
from pipeline.store import Store, canonical_json
from pipeline.target import Target
from pipeline.workload import Workload

if TYPE_CHECKING:
    from pipeline.documents import PlanDocument


def plan_document(
    plan: Plan, target: Target, workload: Workload, seed: int, project: Project, *, force: bool = False
) -> PlanDocument:
    """Return what a build would do, stage by stage, and why: the PlanDocument."""
    from pipeline.documents import PlanDocument, PlannedStage

    previous = previous_keys(project.folder(workload.name, target.name) / BUILD_DOCUMENT)
    planned = forecast({stage.name: stage for stage in plan.stages}, project.store, force=force)
    stages = []
    for stage, (_, hit, seconds) in zip(plan.stages, planned, strict=True):
        reason, changes = ("", []) if hit else explain(stage, previous.get(stage.name), project.store, force=force)
        stages.append(
            PlannedStage(
                name=stage.name,
                key=stage.key,
                state="hit" if hit else "make",
                follows=stage.follows,
                expected_seconds=seconds,
                reason=reason,
                changes=changes,
            )
        )
    benchmark = (BENCHMARK, False, benchmark_seconds(target, workload, project.store))
    total = seconds_in_all([*planned, *([benchmark] if measured_anew(plan, planned) else [])])
    if total is None and not any(hit for _, hit, _ in planned):
        total = shipped_forecast(plan, target, workload)
    return PlanDocument(target=target.name, workload=workload.name, seed=seed, stages=stages, expected_seconds=total)


def previous_keys(build_document: Path) -> dict[str, str]:
    """Return {stage name: key} of the last finished build, empty where there is none."""
    try:
        stages = json.loads(build_document.read_text(encoding="utf-8"))["stages"]
        return {stage["name"]: stage["key"] for stage in stages}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def explain(
    stage: Stage, previous_key: str | None, store: Store, *, force: bool = False
) -> tuple[str, list[dict[str, Any]]]:
    """Return the reason in words, and the changed fields: {field, before, after} each."""
    if force:
        return "--force makes everything anew", []
    if previous_key == stage.key:
        return "its output is gone from the store", []
    before = store.peek(previous_key) if previous_key else None
    record = before["record"] if before else _newest_alike(stage, store)
    if record is None:
        return "it was never made here", []
    changes = differences(record, stage.record)
    own = [change for change in changes if change["field"] != "follows"]
    if not own:
        return f"the stage that it follows changed: {stage.follows}", changes
    return "changed: " + ", ".join(change["field"] for change in own), changes


def differences(before: Any, after: Any, field: str = "") -> list[dict[str, Any]]:
    """Return the leaves in which two records, and so their keys, differ: by dotted field, None where it is missing."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for name in sorted({*before, *after}):
            path = f"{field}.{name}" if field else str(name)
            if name in before and name in after:
                found += differences(before[name], after[name], path)
            else:
                found.append({"field": path, "before": before.get(name), "after": after.get(name)})
        return found
    if canonical_json(before) == canonical_json(after):
        return []
    return [{"field": field, "before": before, "after": after}]


def _newest_alike(stage: Stage, store: Store) -> dict[str, Any] | None:
    """Return the record of the newest stored output of the same step and workload."""
    for document in reversed(store.history()):
        if all(document["record"].get(name) == stage.record[name] for name in ("step", "workload")):
            return document["record"]
    return None
