"""Files on their runner, measured anew or taken from a stored measurement that still holds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import RequestError
from pipeline.files import sha256_of, write_whole
from pipeline.project import ARTIFACT, BENCH_DOCUMENT, Project, built_folders, load_build
from pipeline.runner import find_runner
from pipeline.store import key_of
from pipeline.target import Target, load_target
from pipeline.target_runner import find_evaluator, settings_of
from pipeline.verdict import Verdict, judge, overall, undecided
from pipeline.watch import Watch
from pipeline.workload import Workload, load_workload

if TYPE_CHECKING:
    from pipeline.benchmark import Measurement
    from pipeline.documents import BenchDocument, BenchResult, DeviceRecord, LatencyRecord
    from pipeline.operator_times import OperatorTimes

BENCHMARK_SAMPLES = 64


def measured(
    target: Target,
    workload: Workload | None,
    model: Path,
    baseline: Path | None,
    project: Project,
    watch: Watch,
    *,
    verdicts: Callable[[Measurement], list[Verdict]],
    reuse: bool,
) -> Measurement:
    """Return the Measurement of `model`: a stored one that still decides, or a new one.

    A stored one counts only for the same files, settings, runner version and device, and
    never when it leaves a verdict open. An undecided measurement is not stored.
    """
    from pipeline.benchmark import Measurement, measure
    from pipeline.machine_lock import benchmarking

    runner = find_runner(target.measured_by, project.root)
    if not getattr(runner, "TAKES_BASELINE", True):
        baseline = None
    settings = settings_of(target, outputs=False, runner=runner)
    record = {
        "format": 2,
        "step": "benchmark",
        "workload": workload.name if workload else None,
        "model": sha256_of(model),
        "baseline": sha256_of(baseline) if baseline else None,
        "settings": {"threads": settings.threads, **target.limits.model_dump()},
        "runner": {"name": target.measured_by, "version": runner.VERSION},
        "device": runner.device(settings).model_dump(),
        "device_settings": settings.config.model_dump(mode="json") if settings.config else None,
    }
    key = key_of(record)
    if reuse and (entry := project.store.get(key)):
        stored = Measurement.model_validate(entry.facts).model_copy(update={"reused": True})
        stored._contents = {name: (entry.folder / name).read_bytes() for name in stored.files}
        if not undecided(verdicts(stored)):
            watch.stage_done("benchmark", False, entry.seconds, {})
            return stored
    watch.stage_started("benchmark", None)
    started = time.perf_counter()
    samples = None
    if workload:
        samples = workload.preprocess(workload.load("validation")[0][:BENCHMARK_SAMPLES])
    lock = benchmarking(watch.note) if runner.MEASURES_TIME else contextlib.nullcontext()
    with lock:
        found = measure(
            runner,
            target.measured_by,
            model,
            baseline,
            samples,
            settings,
            lambda so_far: not undecided(verdicts(so_far), by_rounds=True),
            watch.progress,
        )
    if workload and hasattr(runner, "EVALUATED_BY"):
        from pipeline.device_check import check_device

        _, evaluator = find_evaluator(target, project.root)
        asked, host = replace(settings, outputs=True), settings_of(target)
        check = check_device(runner, asked, evaluator, host, model, workload)
        found = found.model_copy(update={"device_check": check})
    seconds = time.perf_counter() - started
    watch.stage_done("benchmark", True, seconds, {})
    if workload and not undecided(verdicts(found)):
        with project.store.making(key), project.store.working_folder(key) as folder:
            for name, content in found.contents.items():
                (folder / name).write_bytes(content)
            project.store.put(key, record, folder, found.model_dump(mode="json"), seconds)
    return found


def device_record(measurement: Measurement, runner: str) -> DeviceRecord:
    """Return what the device told besides times, as it stands in the documents."""
    from pipeline.documents import DeviceRecord

    shared = set(DeviceRecord.model_fields) - {"runner", "files"}
    return DeviceRecord(
        **{name: getattr(measurement, name) for name in shared},
        runner=runner,
        files={name: sha256(content).hexdigest() for name, content in measurement.contents.items()},
    )


def latency_record(measurement: Measurement) -> LatencyRecord | None:
    """Return the latency as it stands in the documents; None where the device gives no times."""
    from pipeline.documents import LatencyRecord

    if measurement.latency is None:
        return None
    baseline = measurement.baseline_latency
    return LatencyRecord(
        **measurement.latency.model_dump(),
        baseline_p50_us=baseline.p50_us if baseline else None,
        speedup=measurement.speedup,
        memory_bytes=measurement.memory_bytes,
        measured_at=measurement.measured_at,
        reused=measurement.reused,
    )


def bench(
    project: Project, watch: Watch, *, target: str, workload: str, model: str, profile: bool = False
) -> BenchDocument:
    """Measure `model`, or the built files of `target` and `workload` (all where these are empty).

    With `profile`, each operator is timed as well. Nothing stored is reused. Raises RequestError when
    there is nothing to measure, BadModelFile for a file that is no model.
    """
    from pipeline.documents import BenchDocument

    if model:
        results = [_bench_file(Path(model), target, project, watch, profile=profile)]
    else:
        folders = [
            folder
            for folder in built_folders(project)
            if target in ("", folder.name) and (not workload or folder.parent.name == Path(workload).stem)
        ]
        if not folders:
            if target:
                load_target(target, project.root)  # an unknown name says so
            raise RequestError(
                "there is no built file to measure",
                received=f"target {target or 'any'}, workload {workload or 'any'}",
                expected=f"a finished build under {project.artifacts}",
                fix=f"invoke build --target={target or 'mobile'}, or give any file with --model=FILE.tflite",
            )
        results, unusable = [], []
        for folder in folders:
            try:
                results.append(_bench_built(folder, workload, project, watch, profile=profile))
            except RequestError as error:  # the other files are measured all the same
                unusable.append(error)
                if len(folders) > 1:
                    watch.note(f"{folder.relative_to(project.artifacts)} is left out: {error.message}")
        if unusable and not results:
            raise unusable[0]
    worst = overall([verdict for result in results for verdict in result.verdicts])
    left_out = not model and len(results) < len(folders)
    return BenchDocument(results=results, verdict="inconclusive" if left_out and worst == "pass" else worst)


def _bench_file(model: Path, target: str, project: Project, watch: Watch, *, profile: bool) -> BenchResult:
    """Measure any file: with the target's runner and threads where one is named, without budgets."""
    from pipeline.documents import BenchResult
    from pipeline.runners._files import check_model_file

    check_model_file(model)
    settings = load_target(target, project.root) if target else _plain_target()
    found = measured(settings, None, model, None, project, watch, verdicts=lambda found: [], reuse=False)
    return BenchResult(
        model=str(model),
        sha256=found.model_sha256,
        target=None,
        workload=None,
        size_bytes=model.stat().st_size,
        latency=latency_record(found),
        device=device_record(found, settings.measured_by),
        verdicts=[],
        verdict="pass",
        profile=_operator_times(settings, model, project, watch) if profile else None,
    )


def _bench_built(folder: Path, workload: str, project: Project, watch: Watch, *, profile: bool) -> BenchResult:
    """Measure a built file and its float32 file, if the store still has it, against the target's budgets."""
    from pipeline.documents import BenchResult

    built = load_build(folder)
    target = load_target(folder.name, project.root)
    given = workload if workload.endswith(".py") else ""
    learned = load_workload(given or built.workload_file or folder.parent.name, project.root)
    key = next(stage.key for stage in built.stages if stage.name == "baseline")
    entry = project.store.get(key)
    if entry is None:
        watch.note("the store no longer has the float32 file, so no speed-up is measured: build again")

    def verdicts(measurement: Measurement) -> list[Verdict]:
        return judge(
            target.budgets,
            size_bytes=built.size_bytes,
            accuracy=built.accuracy,
            baseline_accuracy=built.baseline_accuracy,
            measurement=measurement,
        )

    model = folder / ARTIFACT
    found = measured(
        target,
        learned,
        model,
        entry.folder / ARTIFACT if entry else None,
        project,
        watch,
        verdicts=verdicts,
        reuse=False,
    )
    judged = verdicts(found)
    result = BenchResult(
        model=str(model.relative_to(project.root)),
        sha256=built.sha256,
        target=target.name,
        workload=learned.name,
        size_bytes=built.size_bytes,
        latency=latency_record(found),
        device=device_record(found, target.measured_by),
        verdicts=judged,
        verdict=overall(judged),
        profile=_operator_times(target, model, project, watch) if profile else None,
    )
    write_whole(folder / BENCH_DOCUMENT, result.model_dump_json(indent=2) + "\n")
    return result


def _operator_times(target: Target, model: Path, project: Project, watch: Watch) -> OperatorTimes | None:
    """Return the estimated time of each operator; None, with a note, where the device gives no times."""
    from pipeline.machine_lock import benchmarking
    from pipeline.operator_times import operator_times

    runner = find_runner(target.measured_by, project.root)
    if not runner.MEASURES_TIME:
        watch.note(f"the runner {target.measured_by!r} gives no times, so its operators are not timed")
        return None
    watch.stage_started("operators", None)
    started = time.perf_counter()
    with benchmarking(watch.note):
        settings = settings_of(target, runner=runner)
        found = operator_times(runner, model, settings, watch.progress, on_host=target.measured_by == "host")
    watch.stage_done("operators", True, time.perf_counter() - started, {})
    return found


def _plain_target() -> Target:
    return Target(description="any file", recipe=({"step": "none"},))
