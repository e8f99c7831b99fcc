"""A build from a target and a workload to a file with a verdict: plan, execute, benchmark, judge, write."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.bench import device_record, latency_record, measured
from pipeline.evaluate import scores_of
from pipeline.execute import (
    BENCHMARK,
    Done,
    Worker,
    benchmark_seconds,
    execute,
    forecast,
    full_disk_named,
    measured_anew,
    seconds_in_all,
    shipped_forecast,
    worker_of,
)
from pipeline.files import copy_whole, write_whole
from pipeline.history import HISTORY, append, line_of
from pipeline.plan import BASELINE, EVALUATE, EVALUATE_BASELINE, Plan, make_plan
from pipeline.project import ARTIFACT, BUILD_DOCUMENT, Project, published_files
from pipeline.runner import find_runner
from pipeline.target import DEVICES, Target
from pipeline.target_runner import settings_of
from pipeline.verdict import Verdict, judge, overall
from pipeline.watch import Watch
from pipeline.workload import Workload

if TYPE_CHECKING:
    from pipeline.benchmark import Measurement
    from pipeline.documents import BuildDocument, BuildsDocument, StageDocument, StageRecord


def announce(
    plan: Plan, target: Target, workload: Workload, project: Project, watch: Watch, *, force: bool = False
) -> None:
    """Tell `watch` what will run and how long it should take, before it runs."""
    stages = forecast({stage.name: stage for stage in plan.stages}, project.store, force=force)
    if measured_anew(plan, stages):
        stages.append((BENCHMARK, False, benchmark_seconds(target, workload, project.store)))
    if (seconds := seconds_in_all(stages)) is not None:
        watch.plan(stages, seconds, "as these stages took here before")
    elif shipped := None if any(hit for _, hit, _ in stages) else shipped_forecast(plan, target, workload):
        watch.plan(stages, shipped, f"from {target.path.name}, measured on 2 cores")
    else:
        watch.plan(stages, None, "not made here before")


def refuse_unreachable(target: Target, project: Project) -> None:
    """Ask for the target's device, which raises what its runner raises: before minutes of training, not after."""
    runner = find_runner(target.measured_by, project.root)
    runner.device(settings_of(target, runner=runner))


@contextmanager
def executed(
    plan: Plan,
    target: Target,
    workload: Workload,
    project: Project,
    watch: Watch,
    *,
    force: bool = False,
    worker: Worker | None = None,
) -> Iterator[dict[str, Done]]:
    """Announce and execute a plan; its keys are pinned against the garbage collection while the context lasts."""
    with full_disk_named(project.store.root), project.store.pinned(stage.key for stage in plan.stages):
        announce(plan, target, workload, project, watch, force=force)
        yield execute(plan, target, workload, project.store, project.root, watch, force=force, worker=worker)


def build_several(
    targets: list[Target], workload: Workload, seed: int, project: Project, watch: Watch, *, force: bool = False
) -> BuildsDocument:
    """Build one target after the other in one worker process; stages that they share are made once.

    Every recipe is looked at before the first stage runs. A failed budget does not keep the others
    from being built; a failed stage does. Raises what `build` raises.
    """
    from pipeline.documents import BuildsDocument

    for target in targets:
        make_plan(target, workload, seed, project.root)
        refuse_unreachable(target, project)
    builds: list[BuildDocument] = []
    with worker_of(targets[0], workload, project.store, project.root) as worker:
        for target in targets:
            watch.note(f"{target.name}: {target.description}")
            builds.append(build(target, workload, seed, project, watch, force=force, worker=worker))
    return BuildsDocument(builds=builds, verdict=overall([one for build in builds for one in build.verdicts]))


def build(
    target: Target,
    workload: Workload,
    seed: int,
    project: Project,
    watch: Watch,
    *,
    force: bool = False,
    worker: Worker | None = None,
) -> BuildDocument:
    """Build, measure and judge; write `model.tflite` and `build.json`; return the BuildDocument.

    Raises StepFailed or RunnerFailed when a stage cannot be made, BadTarget for a recipe that
    cannot work. A failed budget is a verdict in the document, not an exception.
    """
    plan = make_plan(target, workload, seed, project.root)
    refuse_unreachable(target, project)
    with executed(plan, target, workload, project, watch, force=force, worker=worker) as done:
        return _finished(plan, done, target, workload, seed, project, watch, force=force)


def _finished(
    plan: Plan,
    done: dict[str, Done],
    target: Target,
    workload: Workload,
    seed: int,
    project: Project,
    watch: Watch,
    *,
    force: bool,
) -> BuildDocument:
    """Measure and judge what was executed; write the file and its document."""
    from pipeline.documents import BuildDocument, Calibration

    final, facts = done[plan.final], done[plan.final].facts["file"]
    evaluation, baseline = done[EVALUATE].facts, done[EVALUATE_BASELINE].facts

    def verdicts(measurement: Measurement) -> list[Verdict]:
        return judge(
            target.budgets,
            size_bytes=facts["size_bytes"],
            scores=scores_of(evaluation, "test"),
            baseline_scores=scores_of(baseline, "test"),
            measurement=measurement,
        )

    measurement = measured(
        target,
        workload,
        final.entry.folder / ARTIFACT,
        done[BASELINE].entry.folder / ARTIFACT,
        project,
        watch,
        verdicts=verdicts,
        reuse=not force,
    )
    judged = verdicts(measurement)
    calibration = next((stage.facts["calibration"] for stage in done.values() if "calibration" in stage.facts), None)
    libraries = {name: version for stage in plan.stages for name, version in stage.record["libraries"].items()}
    folder = project.folder(workload.name, target.name)
    document = BuildDocument(
        target=target.name,
        workload=workload.name,
        workload_file=_workload_file(workload, project.root),
        seed=seed,
        artifact=str((folder / ARTIFACT).relative_to(project.root)),
        sha256=facts["sha256"],
        size_bytes=facts["size_bytes"],
        deflated_bytes=facts["deflated_bytes"],
        accuracy=evaluation["test"].get("accuracy"),
        validation_accuracy=evaluation["validation"].get("accuracy"),
        baseline_accuracy=baseline["test"].get("accuracy"),
        task=workload.task_name,
        metric=workload.metric,
        scores=scores_of(evaluation, "test"),
        score_intervals=evaluation["intervals"],
        validation_scores=scores_of(evaluation, "validation"),
        baseline_scores=scores_of(baseline, "test"),
        latency=latency_record(measurement),
        device=device_record(measurement, target.measured_by),
        stages=stage_records(done),
        calibration=Calibration(**calibration) if calibration else None,
        versions={"python": platform.python_version(), **dict(sorted(libraries.items()))},
        verdicts=judged,
        verdict=overall(judged),
    )
    if judged and all(verdict.verdict == "not applicable" for verdict in judged):
        watch.note("no budget of this target binds on the device that was measured")
    if target.measured_by != target.runner:
        watch.note(
            f"no device is configured: measured by {target.measured_by}; put a [{target.name}] table for "
            f"{target.runner} into {DEVICES}"
        )
    # The two belong together: another build of the same target must not write one of them in between.
    with full_disk_named(folder), project.store.making(f"{workload.name}-{target.name}"):
        with project.store.making(final.stage.key):  # a forced build may be replacing the entry just now
            copy_whole(final.entry.folder / ARTIFACT, folder / ARTIFACT)
        _publish(measurement.contents, folder)
        write_whole(folder / BUILD_DOCUMENT, document.model_dump_json(indent=2) + "\n")
    append(project.artifacts / HISTORY, line_of(document, project.root))
    return document


def _workload_file(workload: Workload, root: Path) -> str | None:
    """Return the path of a workload that was given by it; without this machine's folders where it is the project's."""
    if not workload.given_by_path:
        return None
    source = workload.source.resolve()
    return source.relative_to(root).as_posix() if source.is_relative_to(root) else str(source)


def _publish(contents: dict[str, bytes], folder: Path) -> None:
    """Write what the device's tools made beside the file; what an earlier build had there and this one has not goes."""
    for name in set(published_files(folder)) - set(contents):
        (folder / name).unlink(missing_ok=True)
    for name, content in contents.items():
        write_whole(folder / name, content)


def run_up_to(
    plan: Plan,
    target: Target,
    workload: Workload,
    seed: int,
    project: Project,
    watch: Watch,
    *,
    force: bool,
    copy: bool,
) -> StageDocument:
    """Run a part of a plan; return its StageDocument.

    With `copy` the verified file goes to `converted/model.tflite`, beside the built one and not
    over it: that one belongs to the numbers in its `build.json`. Returns the ConvertDocument.
    """
    from pipeline.documents import ConvertDocument, StageDocument

    with executed(plan, target, workload, project, watch, force=force) as done:
        path = project.folder(workload.name, target.name) / "converted" / ARTIFACT
        if copy:
            copy_whole(done[plan.final].entry.folder / ARTIFACT, path)
    final = done[plan.final]
    common = {
        "target": target.name,
        "workload": workload.name,
        "seed": seed,
        "output": str(final.entry.folder.relative_to(project.root)),
        "stages": stage_records(done),
    }
    if not copy:
        return StageDocument(**common)
    file = final.facts["file"]
    return ConvertDocument(
        **common,
        artifact=str(path.relative_to(project.root)),
        sha256=file["sha256"],
        size_bytes=file["size_bytes"],
    )


def stage_records(done: dict[str, Done]) -> list[StageRecord]:
    """Return the stages as they stand in the documents."""
    from pipeline.documents import StageRecord

    return [
        StageRecord(
            name=name,
            key=stage.stage.key,
            state="made" if stage.made else "hit",
            seconds=stage.entry.seconds,
            facts=stage.facts,
        )
        for name, stage in done.items()
    ]
