"""One thin Invoke task a verb. Errors become exits here and nowhere else.

Data goes to stdout, everything else to stderr; with `--json` stdout is exactly one document.
Exit codes: 0 all budgets that bind pass, 1 Invoke's own parser and defects, 2 the request is
wrong, 3 inconclusive, 4 a step or runner failed, 5 a budget fails, 130 interrupted.
Nothing heavy is imported above the tasks' bodies: `invoke --list` has to be quick.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from invoke import Collection, Context, Exit, Task, task

_HELP = {
    "target": "name of a file in targets/, such as mobile",
    "workload": "name of a workload, or the path of a .py file that is one",
    "seed": "seed of weights, order, augmentation and calibration, 0 to 2147483647",
    "json": "print exactly one JSON document on stdout",
    "explain": "say which field of its key caused each stage to be made",
    "dry_run": "print what would run and how long it takes, and stop",
    "force": "make every stage anew, whatever the store holds",
}


def _help(*names: str, **more: str) -> dict[str, str]:
    return {name.replace("_", "-"): text for name, text in _HELP.items() if name in names} | more


_PLAN_HELP = _help("target", "workload", "seed", "json", "explain", "dry_run", "force")


def _exits(body: Callable[..., int | None]) -> Callable[..., None]:
    """Give a task's body the exit codes, and the error document where `--json` was asked for."""

    @functools.wraps(body)
    def run(context: Context, *arguments: Any, **options: Any) -> None:
        try:
            from pipeline.errors import DiskFull, Interrupted, PipelineError, SystemRefused, is_disk_full

            with contextlib.redirect_stdout(sys.stderr):  # what a project's own modules print is no data
                code = body(context, *arguments, **options)
        except PipelineError as error:
            raise _exit(error, options) from None
        except KeyboardInterrupt:
            message = "interrupted: what was finished is in the store; the same command goes on from there"
            raise _exit(Interrupted(message), options) from None
        except OSError as error:
            if is_disk_full(error):
                raise _exit(DiskFull.at(Path(error.filename or "the project's folder")), options) from None
            raise _exit(SystemRefused.of(error), options) from None
        except Exit:
            raise
        except Exception as error:
            if options.get("json"):
                _print_error({"code": "defect", "message": repr(error)})
            raise  # a defect shows its traceback, and Invoke's exit code 1
        if code:
            raise Exit(code=code)

    return run


def _exit(error: Any, options: dict[str, Any]) -> Exit:
    if options.get("json"):
        _print_error(error.as_dict())
    return Exit(str(error) if error.code == "interrupted" else f"error: {error}", error.exit_code)


def _print_error(described: dict[str, str]) -> None:
    from pipeline.documents import ErrorDetail, ErrorDocument

    detail = {"received": "", "expected": "an answer", "fix": "report it with the traceback on stderr"} | described
    _write(lambda: print(ErrorDocument(error=ErrorDetail(**detail)).model_dump_json(indent=2)))


def _write(printing: Callable[[], None]) -> None:
    """Print on the real stdout, whatever its encoding and whether or not somebody reads it."""
    stdout = sys.__stdout__
    if stdout is None:  # closed by the caller
        return
    stdout.reconfigure(errors="replace")
    try:
        with contextlib.redirect_stdout(stdout):
            printing()
            stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has seen enough; the exit code stays


def _show(document: Any, json: bool, table: str) -> None:
    """Print a document on stdout: as JSON, or through the named function of report/tables.py."""
    if json:
        _write(lambda: print(document.model_dump_json(indent=2)))
    else:
        from pipeline.report import tables

        _write(lambda: getattr(tables, table)(document))


def _request(target: str, workload: str, seed: str) -> tuple[Any, Any, int, Any, Any]:
    """Return target, workload, seed, project and watch; raise RequestError for what is not known."""
    from pipeline.errors import RequestError
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.report.terminal import terminal_watch
    from pipeline.target import load_target
    from pipeline.workload import load_workload

    if not (seed.isascii() and seed.isdigit() and len(seed) <= 10 and int(seed) < 2**31):
        raise RequestError(
            "--seed is not a seed", received=seed, expected="a whole number, 0 to 2147483647", fix="--seed=0"
        )
    root, watch = project_root(), terminal_watch()
    return load_target(target, root), load_workload(workload, root), int(seed), open_project(root, watch), watch


def _planned(
    step: str | None, target: str, workload: str, seed: str, json: bool, explain: bool, dry_run: bool, force: bool
) -> tuple[Any, ...] | None:
    """Open the request and its plan up to `step`; print it and return None for `--dry-run`."""
    from pipeline.explain import plan_document
    from pipeline.plan import make_plan

    found, learned, number, project, watch = _request(target, workload, seed)
    plan = make_plan(found, learned, number, project.root)
    if step:
        plan = plan.recipe_only() if step == "convert" else plan.up_to(step)
    if explain or dry_run:
        document = plan_document(plan, found, learned, number, project, force=force)
        if dry_run:
            _show(document, json, "print_plan")
            return None
        from rich.console import Console

        from pipeline.report.tables import print_plan

        print_plan(document, Console(stderr=True))
    return plan, found, learned, number, project, watch


def _step_task(step: str, summary: str) -> Task:
    """Return the task that runs a target's plan up to the last stage of `step`."""

    def body(
        context, target="mobile", workload="mnist", seed="0", json=False, explain=False, dry_run=False, force=False
    ):
        from pipeline.build import run_up_to

        opened = _planned(step, target, workload, seed, json, explain, dry_run, force)
        if opened is None:
            return 0
        plan, found, learned, number, project, watch = opened
        try:
            document = run_up_to(plan, found, learned, number, project, watch, force=force, copy=step == "convert")
        finally:
            watch.close()
        _show(document, json, "print_stages")
        return 0

    body.__name__, body.__doc__ = step, summary
    return task(help=_PLAN_HELP)(_exits(body))


train = _step_task("train", "Run the target's plan up to the trained float model.")
prune = _step_task("prune", "Run the target's plan up to the pruned and fine-tuned model.")
quantize = _step_task("quantize", "Run the target's plan up to the quantized .tflite.")
convert = _step_task("convert", "Run the target's whole recipe and copy out the verified .tflite, not yet measured.")


@task(help=_PLAN_HELP)
@_exits
def build(context, target="mobile", workload="mnist", seed="0", json=False, explain=False, dry_run=False, force=False):
    """Train, compress, convert, verify and measure a target's file; exit 5 if it misses a budget."""
    from pipeline.build import build as build_file
    from pipeline.verdict import exit_code

    opened = _planned(None, target, workload, seed, json, explain, dry_run, force)
    if opened is None:
        return 0
    _, found, learned, number, project, watch = opened
    try:
        document = build_file(found, learned, number, project, watch, force=force)
    finally:
        watch.close()
    _show(document, json, "print_build")
    return exit_code(document.verdict)


@task(help=_help("target", "workload", "json", model="any .tflite file, measured without budgets"))
@_exits
def bench(context, target="", workload="", model="", json=False):
    """Measure built files anew: all of them, one target's, or any file with --model=FILE.tflite."""
    from pipeline.bench import bench as bench_files
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.report.terminal import terminal_watch
    from pipeline.verdict import exit_code

    root, watch = project_root(), terminal_watch()
    try:
        document = bench_files(open_project(root, watch), watch, target=target, workload=workload, model=model)
    finally:
        watch.close()
    _show(document, json, "print_bench")
    return exit_code(document.verdict)


@task(help=_help("target", "workload", "json", image="a picture of any size and mode", invert="swap dark and light"))
@_exits
def predict(context, image, target="mobile", workload="mnist", invert=False, json=False):
    """Classify a picture with a target's built file: the class and how sure the file is."""
    from pipeline.documents import PredictDocument
    from pipeline.predict import predict as classify
    from pipeline.project import ARTIFACT, load_build

    found, learned, _, project, _ = _request(target, workload, "0")
    folder = project.folder(learned.name, found.name)
    built = load_build(folder)
    answer = classify(folder / ARTIFACT, Path(image), found, learned, inverted=invert)
    document = PredictDocument(image=image, model=str(folder / ARTIFACT), sha256=built.sha256, **answer)
    for note in document.notes:
        print(f"note: {note}", file=sys.stderr)
    _show(document, json, "print_prediction")


@task(help=_help("json"), positional=["file"])
@_exits
def inspect(context, file, json=False):
    """Show what any .tflite holds: operators, dtypes, sizes, zeros, float leftovers."""
    from pipeline.documents import InspectDocument
    from pipeline.inspect import float_leftovers, inspect_file

    found = inspect_file(Path(file))
    document = InspectDocument(path=file, inspection=found, float_leftovers=float_leftovers(found, False))
    _show(document, json, "print_inspection")


@task(
    help=_help(
        "target",
        "workload",
        "seed",
        "json",
        mend="build the mended recipe as well, and show its errors",
        calibration_sizes="numbers of calibration samples to build the file with, such as 10,50,100,500",
    )
)
@_exits
def sensitivity(context, target="mobile", workload="mnist", seed="0", mend=False, calibration_sizes="", json=False):
    """Rank the layers by the error that quantization adds, and write the recipe that mends the worst."""
    from pipeline.errors import EnvironmentUnsuited
    from pipeline.sensitivity import sensitivity as analyse
    from pipeline.sensitivity import sizes_of

    sizes = sizes_of(calibration_sizes)
    found, learned, number, project, watch = _request(target, workload, seed)
    try:
        document = analyse(found, learned, number, project, watch, mend=mend, calibration_sizes=sizes)
    finally:
        watch.close()
    try:
        from pipeline.report.sensitivity_plot import draw

        draw(document, project.root / document.folder)
    except EnvironmentUnsuited as error:
        print(f"no plot: {error}", file=sys.stderr)
    _show(document, json, "print_sensitivity")


@task(help=_help("json"))
@_exits
def targets(context, json=False):
    """List the targets with their budgets and last verdicts."""
    from pipeline.housekeeping import target_rows
    from pipeline.lookup import project_root

    _show(target_rows(project_root()), json, "print_targets")


@task(help=_help("json"), default=True)
@_exits
def store_list(context, json=False):
    """List the store's entries."""
    return _store("list", json)


@task(help=_help("json"))
@_exits
def store_verify(context, json=False):
    """Read and hash every entry of the store; list all that are damaged, and exit 4 if any is."""
    return _store("verify", json)


@task(help=_help("json"))
@_exits
def store_gc(context, json=False):
    """Remove the entries that neither a finished build nor a running one uses."""
    return _store("gc", json)


def _store(action: Literal["list", "verify", "gc"], json: bool) -> int:
    from pipeline.errors import EXIT_STEP
    from pipeline.housekeeping import store_document
    from pipeline.lookup import project_root

    document = store_document(project_root(), action)
    _show(document, json, "print_store")
    return EXIT_STEP if any(entry.damage for entry in document.entries) else 0


@task(help=_help("json", "dry_run", store="remove the store as well: everything is made anew afterwards"))
@_exits
def clean(context, store=False, dry_run=False, json=False):
    """Remove built files and logs; the store stays, so that they come back in a second."""
    from pipeline.housekeeping import clean as remove
    from pipeline.lookup import project_root

    _show(remove(project_root(), store=store, dry_run=dry_run), json, "print_clean")


def _collection() -> Collection:
    collection = Collection(
        train, prune, quantize, convert, build, bench, predict, inspect, sensitivity, targets, clean
    )
    store = Collection("store")
    store.add_task(store_list, name="list", default=True)
    store.add_task(store_verify, name="verify")
    store.add_task(store_gc, name="gc")
    collection.add_collection(store)
    return collection


namespace = _collection()
