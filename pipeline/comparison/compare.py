"""Techniques side by side: every recipe over one training, all files measured together, one choice.

A technique that cannot be planned, made, loaded or verified is left out by name with its error;
the others go on. What was made lies in the store, so that an interrupted comparison goes on from
there. Everything that chooses reads the validation split.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.bench import BENCHMARK_SAMPLES
from pipeline.comparison.choice import choose
from pipeline.comparison.on_device import FATAL, as_told, file_of, left_out, on_device, timed_by
from pipeline.comparison.rows import Made, row_of, settle, verdicts_on
from pipeline.comparison.techniques import REFERENCE, Candidate, candidates, chosen_names, load_techniques
from pipeline.errors import BadWorkload, PipelineError, RequestError, StepFailed
from pipeline.execute import Expected, execute, forecast, full_disk_named, seconds_in_all, worker_of
from pipeline.files import copy_whole, write_whole
from pipeline.plan import BASELINE, Plan, Stage
from pipeline.project import ARTIFACT, COMPARE_DOCUMENT, COMPARE_FOLDER, Project
from pipeline.target import Target
from pipeline.target_runner import settings_of
from pipeline.verdict import overall, undecided
from pipeline.watch import Watch
from pipeline.workload import Workload

if TYPE_CHECKING:
    from pipeline.benchmark import Measurement
    from pipeline.comparison.document import Exclusion
    from pipeline.documents import CompareDocument, PlanDocument


def refuse_task(workload: Workload) -> None:
    """Raise BadWorkload for samples that are not right or wrong: techniques are compared by those."""
    if not workload.task.HAS_CLASSES:
        raise BadWorkload(
            f"techniques cannot be compared on the workload {workload.name}",
            received=f"a workload of the task {workload.task_name!r}",
            expected="a task of one class for each sample (classification or binary), for McNemar's test",
            fix="build the target with each recipe, and compare the scores in their build.json",
        )


def plan_comparison(
    target: Target, workload: Workload, seed: int, root: Path, *, techniques: str, quick: bool
) -> tuple[list[Candidate], float | None]:
    """Return the candidates, and the seconds that shipped figures give for all of them made cold, if any.

    Raises UnknownName for a technique that is not known, BadWorkload for a task without classes, BadTarget
    for a target or techniques.toml that cannot work.
    """
    refuse_task(workload)
    known = load_techniques(root)
    found = candidates(target, workload, seed, root, known, chosen_names(known, techniques), quick=quick)
    shipped = known.expected_seconds.get(workload.name, {}).get("quick" if quick else "all")
    return found, None if techniques else shipped


def stages_of(found: list[Candidate]) -> dict[str, tuple[str, Stage]]:
    """Return {key: (name for a person, stage)} of all stages, those that several candidates share once."""
    stages: dict[str, tuple[str, Stage]] = {}
    for candidate in found:
        for stage in candidate.plan.stages if isinstance(candidate.plan, Plan) else ():
            stages.setdefault(stage.key, (f"{candidate.name}: {stage.name}", stage))
    return stages


def announced(
    found: list[Candidate], shipped: float | None, project: Project
) -> tuple[list[Expected], float | None, str]:
    """Return what `watch` is told: every stage, the seconds in all where known, and from where."""
    rows = forecast(dict(stages_of(found).values()), project.store)
    seconds = seconds_in_all(rows)
    if seconds is not None:
        return rows, seconds, "as these stages took here before"
    return rows, shipped, "measured on 2 cores with nothing in the store" if shipped else "not made here before"


def compare(
    target: Target,
    workload: Workload,
    seed: int,
    project: Project,
    watch: Watch,
    *,
    techniques: str,
    quick: bool,
    scenarios: bool,
) -> CompareDocument:
    """Make, measure and judge every candidate; write `compare/` with files and documents; return the CompareDocument.

    The documents are there before the scenarios begin. Raises what making the reference raises:
    without it nothing compares.
    """
    from pipeline.comparison.scenarios import add_scenarios, refuse_unusable
    from pipeline.report.comparison_plot import draw_comparison

    found, shipped = plan_comparison(target, workload, seed, project.root, techniques=techniques, quick=quick)
    if scenarios:
        refuse_unusable(workload, seed)
    watch.plan(*announced(found, shipped, project))
    folder = project.folder(workload.name, target.name) / COMPARE_FOLDER
    # Pinned to the end: until the document is written, no gc knows that the stages are in use.
    with full_disk_named(project.store.root), project.store.pinned(list(stages_of(found))):
        made, excluded = make(found, target, workload, project, watch)
        made, figures, refused = on_device(made, target, workload, project, watch)
        excluded += refused
        measured = measure(made, target, workload, project, watch)
        told = as_told(measured, figures, target, project.root)
        rows = [
            row_of(
                *(one, made[0], measured[one.name], told[one.name]),
                *(target, workload, _shown(folder, one.name, project)),
            )
            for one in made
        ]
        settle(rows)
        choice = choose(rows)
        chosen = next((one for one in made if choice and one.name == choice.name), None)
        verdicts = verdicts_on("test", chosen, target, told[chosen.name]) if chosen else []

        _write_files(made, folder)

        def write() -> CompareDocument:
            from pipeline.documents import CompareDocument

            document = CompareDocument(
                target=target.name,
                workload=workload.name,
                seed=seed,
                quick=quick,
                reference=REFERENCE,
                candidates=rows,
                excluded=excluded,
                choice=choice.name if choice else None,
                choice_verdicts=verdicts,
                verdict=overall(verdicts) if choice else "fail",
            )
            _write_documents(document, folder)
            return document

        document = write()
        with full_disk_named(folder):
            draw_comparison(document, folder)  # which shows nothing of the scenarios
        if scenarios:
            add_scenarios(rows, {one.name: file_of(one) for one in made}, target, workload, seed, project.root, watch)
            document = write()
    watch.note(f"written: {folder.relative_to(project.root)}/{COMPARE_DOCUMENT}, .csv, .png, .svg, and every file")
    return document


def _shown(folder: Path, name: str, project: Project) -> str:
    return str((folder / f"{name}.tflite").relative_to(project.root))


def _write_files(made: list[Made], folder: Path) -> None:
    """Copy the candidates' files out; those of an earlier comparison go, which the document does not tell of."""
    with full_disk_named(folder):
        for one in made:
            copy_whole(file_of(one), folder / f"{one.name}.tflite")
        for path in folder.glob("*.tflite"):
            if path.stem not in {one.name for one in made}:
                path.unlink()


def _write_documents(document: CompareDocument, folder: Path) -> None:
    from pipeline.report.comparison import comparison_csv

    with full_disk_named(folder):
        write_whole(folder / COMPARE_DOCUMENT, document.model_dump_json(indent=2) + "\n")
        write_whole(folder / "compare.csv", comparison_csv(document))


def comparison_plan(
    target: Target, workload: Workload, seed: int, project: Project, *, techniques: str, quick: bool
) -> PlanDocument:
    """Return what a comparison would make, each stage once, and how long that should take."""
    from pipeline.documents import PlanDocument, PlannedStage

    found, shipped = plan_comparison(target, workload, seed, project.root, techniques=techniques, quick=quick)
    rows, expected, _ = announced(found, shipped, project)
    stages = [
        PlannedStage(name=name, key=key, state="hit" if hit else "make", expected_seconds=seconds)
        for key, (name, hit, seconds) in zip(stages_of(found), rows, strict=True)
    ]
    return PlanDocument(target=target.name, workload=workload.name, seed=seed, stages=stages, expected_seconds=expected)


def make(
    found: list[Candidate], target: Target, workload: Workload, project: Project, watch: Watch
) -> tuple[list[Made], list[Exclusion]]:
    """Execute every plan in one worker process; return what was made, the reference first, and what was not."""
    made: list[Made] = []
    excluded: list[Exclusion] = []

    with worker_of(target, workload, project.store, project.root) as worker:
        for candidate in found:
            if isinstance(candidate.plan, PipelineError):
                excluded.append(left_out(candidate.name, candidate.plan, watch))
                continue
            watch.note(f"{candidate.name}: {candidate.technique.description}")
            try:
                done = execute(
                    candidate.plan, candidate.target, workload, project.store, project.root, watch, worker=worker
                )
                made.append(Made(candidate, candidate.plan, done))
            except (StepFailed, RequestError) as error:
                if candidate.name == REFERENCE or isinstance(error, FATAL):
                    raise
                excluded.append(left_out(candidate.name, error, watch))
    return made, excluded


def measure(
    made: list[Made], target: Target, workload: Workload, project: Project, watch: Watch
) -> dict[str, Measurement]:
    """Measure all files and the float file, their rounds interleaved in the same processes."""
    from pipeline.benchmark import BASELINE as NAME
    from pipeline.benchmark import measure_together
    from pipeline.machine_lock import benchmarking

    name, runner = timed_by(target, project.root)
    samples = workload.preprocess(workload.load("validation")[0][:BENCHMARK_SAMPLES])
    paths = {**{one.name: file_of(one) for one in made}, NAME: made[0].done[BASELINE].entry.folder / ARTIFACT}
    own = runner if name == target.measured_by else None
    settings = settings_of(target, files=len(paths), outputs=False, runner=own)

    def decided(so_far: dict[str, Measurement]) -> bool:
        return own is None or not any(
            undecided(verdicts_on("validation", one, target, so_far[one.name]), by_rounds=True) for one in made
        )

    watch.stage_started("benchmark", None)
    started = time.perf_counter()
    with benchmarking(watch.note) if runner.MEASURES_TIME else contextlib.nullcontext():
        found = measure_together(runner, name, paths, samples, settings, decided, watch.progress)
    watch.stage_done("benchmark", True, time.perf_counter() - started, {})
    if found[made[0].name].latency is None:
        raise RequestError(
            f"the runner {name!r} gives no times, without which nothing compares",
            received=f"times of no file, EVALUATED_BY = {getattr(runner, 'EVALUATED_BY', 'not set')}",
            expected="times, or a runner module that says whose times stand in for its own",
            fix=f'add EVALUATED_BY = "host" to the module of the runner {target.measured_by!r}',
        )
    return found
