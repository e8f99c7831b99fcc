"""`invoke bench`: which files are measured, with how many threads, and against which earlier measurement."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.bench import device_record, latency_record, measured
from pipeline.bench_options import BenchOptions
from pipeline.errors import RequestError
from pipeline.files import write_whole
from pipeline.history import HISTORY, append, line_of
from pipeline.project import ARTIFACT, BENCH_DOCUMENT, Project, built_folders, load_build, workload_of
from pipeline.regression import changes, load_earlier
from pipeline.runner import find_runner
from pipeline.target import Target, load_target, plain_target
from pipeline.target_runner import settings_of
from pipeline.verdict import Verdict, judge, overall
from pipeline.watch import Watch
from pipeline.workload import load_workload

if TYPE_CHECKING:
    from pipeline.benchmark import Measurement
    from pipeline.documents import BenchDocument, BenchResult, BuildDocument, DeviceRecord
    from pipeline.operator_times import OperatorTimes


def bench(
    project: Project, watch: Watch, *, target: str, workload: str, model: str, options: BenchOptions
) -> BenchDocument:
    """Measure `model`, or the built files of `target` and `workload` (all where these are empty).

    Nothing stored is reused; each measurement goes into the history. A metric that is worse than that of
    `options.against` fails the whole. Raises RequestError when there is nothing to measure or to compare
    with, BadModelFile for a file that is no model.
    """
    from pipeline.documents import BenchDocument

    earlier = load_earlier(options.against) if options.against else None
    results: list[BenchResult] = []
    if model:
        results += _bench_file(Path(model), target, project, watch, options)
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
        unusable = []
        for folder in folders:
            try:
                results += _bench_built(folder, workload, project, watch, options)
            except RequestError as error:  # the other files are measured all the same
                unusable.append(error)
                if len(folders) > 1:
                    watch.note(f"{folder.relative_to(project.artifacts)} is left out: {error.message}")
        if unusable and not results:
            raise unusable[0]
    for result in results:
        append(project.artifacts / HISTORY, line_of(result, project.root))
    worst = overall([verdict for result in results for verdict in result.verdicts])
    if not model and unusable and worst == "pass":
        worst = "inconclusive"
    if earlier:
        worst = _gate(results, earlier, options.against, project, worst)
    return BenchDocument(results=results, verdict=worst)


def _gate(
    results: list[BenchResult], earlier: BuildDocument | BenchResult, path: Path | None, project: Project, worst: str
) -> Literal["pass", "fail", "inconclusive"]:
    """Fill in the changes of the one result that the earlier measurement is of; return the worst verdict."""
    same = [result for result in results if (result.target, result.workload) == (earlier.target, earlier.workload)]
    if not same:
        raise RequestError(
            f"--against: {path} is of something else than what was measured",
            received=f"target {earlier.target}, workload {earlier.workload}",
            expected=", ".join(f"target {result.target}, workload {result.workload}" for result in results),
            fix=f"invoke bench --target={earlier.target} --against={path}",
        )
    for result in same:
        scores = None
        if result.target and result.workload:
            built = load_build(project.folder(result.workload, result.target))
            evaluation = next(stage.facts for stage in built.stages if stage.name == "evaluate")
            scores = built.scores, evaluation["test"]["samples"]
        result.changes = changes(result, earlier, scores)
        if any(change.outcome == "worse" for change in result.changes):
            result.verdict = "fail"
    outcomes = {change.outcome for result in same for change in result.changes}
    return "fail" if "worse" in outcomes else worst  # type: ignore[return-value]


def _bench_file(model: Path, target: str, project: Project, watch: Watch, options: BenchOptions) -> list[BenchResult]:
    """Measure any file: with the target's runner and threads where one is named, without budgets."""
    from pipeline.documents import BenchResult
    from pipeline.runners._files import check_model_file

    check_model_file(model)
    results = []
    for settings in _with_threads(load_target(target, project.root) if target else plain_target(), options):
        found = measured(
            settings,
            None,
            model,
            None,
            project,
            watch,
            verdicts=lambda found: [],
            reuse=False,
            least=options.least,
        )
        results.append(
            BenchResult(
                model=str(model),
                sha256=found.model_sha256,
                target=None,
                workload=None,
                size_bytes=model.stat().st_size,
                latency=latency_record(found),
                device=with_energy(found, settings, model, project),
                verdicts=[],
                verdict="pass",
                profile=timed_operators(settings, model, project, watch) if options.profile else None,
            )
        )
    return results


def _bench_built(
    folder: Path, workload: str, project: Project, watch: Watch, options: BenchOptions
) -> list[BenchResult]:
    """Measure a built file and its float32 file, if the store still has it, against the target's budgets.

    The budgets bind with the target's own threads; other numbers of threads are measured without them.
    """
    from pipeline.documents import BenchResult

    built = load_build(folder)
    own = load_target(folder.name, project.root)
    given = workload if workload.endswith(".py") else ""
    learned = load_workload(given or workload_of(built, project.root), project.root)
    key = next(stage.key for stage in built.stages if stage.name == "baseline")
    entry = project.store.get(key)
    if entry is None:
        watch.note("the store no longer has the float32 file, so no speed-up is measured: build again")

    def verdicts(measurement: Measurement) -> list[Verdict]:
        return judge(
            own.budgets,
            size_bytes=built.size_bytes,
            scores=built.scores,
            baseline_scores=built.baseline_scores,
            measurement=measurement,
        )

    model = folder / ARTIFACT
    results = []
    for target in _with_threads(own, options):
        judging = verdicts if target.threads == own.threads else lambda measurement: []
        found = measured(
            target,
            learned,
            model,
            entry.folder / ARTIFACT if entry else None,
            project,
            watch,
            verdicts=judging,
            reuse=False,
            least=options.least,
        )
        judged = judging(found)
        result = BenchResult(
            model=str(model.relative_to(project.root)),
            sha256=built.sha256,
            target=target.name,
            workload=learned.name,
            size_bytes=built.size_bytes,
            latency=latency_record(found),
            device=with_energy(found, target, model, project),
            verdicts=judged,
            verdict=overall(judged),
            profile=timed_operators(target, model, project, watch) if options.profile else None,
        )
        if target.threads == own.threads:
            write_whole(folder / BENCH_DOCUMENT, result.model_dump_json(indent=2) + "\n")
        results.append(result)
    return results


def _with_threads(target: Target, options: BenchOptions) -> list[Target]:
    """Return the target with each number of threads that was asked for; its own where none was."""
    return [target.model_copy(update={"threads": count}) for count in options.threads] or [target]


def with_energy(found: Measurement, target: Target, model: Path, project: Project) -> DeviceRecord:
    """Return the device's record, with the energy of an invocation where this machine measured and counts it."""
    from pipeline.energy import energy_of

    if target.measured_by == "host":
        energy = energy_of(find_runner("host", project.root), model, settings_of(target))
        if energy:
            found = found.model_copy(update={"figures": found.figures | {"energy_uj": energy}})
    return device_record(found, target.measured_by)


def timed_operators(target: Target, model: Path, project: Project, watch: Watch) -> OperatorTimes | None:
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
