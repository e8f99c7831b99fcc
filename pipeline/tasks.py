"""One thin Invoke task a verb. Nothing heavy is imported above the tasks' bodies: `invoke --list` has to be quick.

What tasks share, exit codes above all, is in task_frame.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from invoke import Collection, Task, task

from pipeline.task_frame import (
    BROUGHT,
    DEFAULT_WORKLOAD,
    PLAN_HELP,
    exits,
    help_for,
    planned,
    request,
    show,
    target_list,
)


def _step_task(step: str, summary: str) -> Task:
    """Return the task that runs a target's plan up to the last stage of `step`."""

    def body(
        context,
        target="mobile",
        workload="",
        data="",
        model="",
        weights="",
        seed="0",
        json=False,
        explain=False,
        dry_run=False,
        force=False,
    ):
        from pipeline.build_target import run_up_to

        brought = {"data": data, "model": model, "weights": weights}
        opened = planned(step, target, workload, seed, json, explain, dry_run, force, **brought)
        if opened is None:
            return 0
        plan, found, learned, number, project, watch = opened
        try:
            document = run_up_to(plan, found, learned, number, project, watch, force=force, copy=step == "convert")
        finally:
            watch.close()
        show(document, json, "print_stages")
        return 0

    body.__name__, body.__doc__ = step, summary
    return task(help=PLAN_HELP)(exits(body))


train = _step_task("train", "Run the target's plan up to the trained float model.")
prune = _step_task("prune", "Run the target's plan up to the pruned and fine-tuned model.")
quantize = _step_task("quantize", "Run the target's plan up to the quantized .tflite.")
convert = _step_task("convert", "Run the target's whole recipe and copy out the verified .tflite, not yet measured.")


@task(help=PLAN_HELP | help_for(target="name of a file in targets/, several with commas, or all"))
@exits
def build(
    context,
    target="mobile",
    workload="",
    data="",
    model="",
    weights="",
    seed="0",
    json=False,
    explain=False,
    dry_run=False,
    force=False,
):
    """Train, compress, convert, verify and measure a target's file; exit 5 if it misses a budget."""
    from pipeline.build_target import build as build_file
    from pipeline.verdict import exit_code

    brought = {"data": data, "model": model, "weights": weights}
    if len(names := target_list(target, data or workload)) != 1:
        return _build_several(names, workload, seed, json, explain, dry_run, force, brought)
    opened = planned(None, names[0], workload, seed, json, explain, dry_run, force, **brought)
    if opened is None:
        return 0
    _, found, learned, number, project, watch = opened
    try:
        document = build_file(found, learned, number, project, watch, force=force)
    finally:
        watch.close()
    show(document, json, "print_build")
    return exit_code(document.verdict)


def _build_several(
    names: list[str],
    workload: str,
    seed: str,
    json: bool,
    explain: bool,
    dry_run: bool,
    force: bool,
    brought: dict[str, str],
):
    from pipeline.build_target import build_several
    from pipeline.errors import RequestError
    from pipeline.verdict import exit_code

    if dry_run and json:
        raise RequestError(
            "--dry-run --json prints one plan",
            received=f"targets {', '.join(names)}",
            expected="one target",
            fix="ask for one target at a time, or leave out --json",
        )
    opened = [planned(None, name, workload, seed, json, explain, dry_run, force, **brought) for name in names]
    plans = [one for one in opened if one is not None]
    if not plans:
        return 0
    _, _, learned, number, project, watch = plans[0]
    try:
        document = build_several([plan[1] for plan in plans], learned, number, project, watch, force=force)
    finally:
        watch.close()
    show(document, json, "print_builds")
    return exit_code(document.verdict)


@task(
    help=help_for(
        "workload",
        "json",
        targets="names of targets, separated by commas, or all",
        junit="file that the verdicts are written to as JUnit XML",
        summary="file that the verdicts, and the changes against main, are written to as Markdown",
        against="folder with main's earlier artifacts/, or with what lies in one",
    )
)
@exits
def ci(context, targets="all", workload="", junit="", summary="", against="", json=False):
    """Build every target, whatever becomes of the others, and write reports; exit with the worst of them."""
    from pipeline.ci import ci as run_ci
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.report.terminal import terminal_watch

    root, watch = project_root(), terminal_watch()
    names, learned = target_list(targets, workload), workload or DEFAULT_WORKLOAD
    reports = {"junit": junit, "summary": summary}
    try:
        document, code = run_ci(names, learned, open_project(root, watch), watch, against=against, **reports)
    finally:
        watch.close()
    show(document, json, "print_summary", "summary")
    return code


@task(
    help=help_for(
        "target",
        "workload",
        "json",
        model="any .tflite file, measured without budgets",
        compare="two files or built targets, A,B: how many times as long the second takes, and the word for it",
        profile="estimate the time of each operator as well",
        threads="numbers of interpreter threads, such as 1,2,4; left out: the target's",
        runs="timed invocations of each file at least",
        min_time="seconds of timed invocations of each file at least",
        against="an earlier build.json or bench.json: exit 5 if a metric is worse beyond its interval",
    )
)
@exits
def bench(
    context,
    target="",
    workload="",
    model="",
    compare="",
    profile=False,
    threads="",
    runs="",
    min_time="",
    against="",
    json=False,
):
    """Measure built files anew: all of them, one target's, or any file with --model=FILE.tflite."""
    from pipeline.bench_compare import compare_files
    from pipeline.bench_files import bench as bench_files
    from pipeline.bench_options import bench_options, refuse_beside_compare
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.report.terminal import terminal_watch
    from pipeline.verdict import exit_code

    flags = {"profile": profile, "threads": threads, "runs": runs, "min_time": min_time, "against": against}
    if compare:
        refuse_beside_compare(workload=workload, model=model, **flags)
    options = bench_options(**flags)
    root, watch = project_root(), terminal_watch()
    project = open_project(root, watch)
    document: Any
    try:
        if compare:
            document = compare_files(compare, target, project, watch)
        else:
            document = bench_files(project, watch, target=target, workload=workload, model=model, options=options)
    finally:
        watch.close()
    show(document, json, "print_bench_compare" if compare else "print_bench", "bench")
    return 0 if compare else exit_code(document.verdict)


@task(
    help=help_for(
        "target",
        "workload",
        *BROUGHT,
        "seed",
        "json",
        "dry_run",
        techniques="names from techniques.toml, separated by commas; left out: all of them",
        quick="shorten every training as techniques.toml says",
        scenarios="also measure on corrupted test pictures, after a cold start and without a pause",
    )
)
@exits
def compare(
    context,
    target="mobile",
    workload="",
    data="",
    model="",
    weights="",
    techniques="",
    seed="0",
    quick=False,
    scenarios=False,
    dry_run=False,
    json=False,
):
    """Try techniques side by side over one training, measure their files together, and choose for the target."""
    from pipeline.comparison.compare import compare as compare_techniques
    from pipeline.comparison.compare import comparison_plan
    from pipeline.verdict import exit_code

    found, learned, number, project, watch = request(target, workload, seed, data=data, model=model, weights=weights)
    options = {"techniques": techniques, "quick": quick}
    if dry_run:
        show(comparison_plan(found, learned, number, project, **options), json, "print_plan")
        return 0
    try:
        document = compare_techniques(found, learned, number, project, watch, scenarios=scenarios, **options)
    finally:
        watch.close()
    show(document, json, "print_comparison", "comparison")
    return exit_code(document.verdict)


@task(help=help_for("target", "workload", "json", image="a picture of any size and mode", invert="swap dark and light"))
@exits
def predict(context, image, target="mobile", workload="mnist", invert=False, json=False):
    """Classify a picture with a target's built file: the class and how sure the file is."""
    from pipeline.documents import PredictDocument
    from pipeline.predict import predict as classify
    from pipeline.project import ARTIFACT, load_build

    found, learned, _, project, _ = request(target, workload, "0")
    folder = project.folder(learned.name, found.name)
    built = load_build(folder)
    answer = classify(folder / ARTIFACT, Path(image), found, learned, inverted=invert)
    document = PredictDocument(image=image, model=str(folder / ARTIFACT), sha256=built.sha256, **answer)
    for note in document.notes:
        print(f"note: {note}", file=sys.stderr)
    show(document, json, "print_prediction")


@task(help=help_for("json"), positional=["file"])
@exits
def inspect(context, file, json=False):
    """Show what any .tflite holds: operators, dtypes, sizes, zeros, float leftovers."""
    from pipeline.documents import InspectDocument
    from pipeline.inspect import float_leftovers
    from pipeline.untrusted import inspect_untrusted

    found = inspect_untrusted(Path(file))
    document = InspectDocument(path=file, inspection=found, float_leftovers=float_leftovers(found, False))
    show(document, json, "print_inspection")


@task(
    help=help_for(
        "target",
        "workload",
        *BROUGHT,
        "seed",
        "json",
        mend="build the mended recipe as well, and show its errors",
        calibration_sizes="numbers of calibration samples to build the file with, such as 10,50,100,500",
    )
)
@exits
def sensitivity(
    context,
    target="mobile",
    workload="",
    data="",
    model="",
    weights="",
    seed="0",
    mend=False,
    calibration_sizes="",
    json=False,
):
    """Rank the layers by the error that quantization adds, and write the recipe that mends the worst."""
    from pipeline.report.sensitivity_plot import draw
    from pipeline.sensitivity import sensitivity as analyse
    from pipeline.sensitivity import sizes_of

    sizes = sizes_of(calibration_sizes)
    found, learned, number, project, watch = request(target, workload, seed, data=data, model=model, weights=weights)
    try:
        document = analyse(found, learned, number, project, watch, mend=mend, calibration_sizes=sizes)
    finally:
        watch.close()
    draw(document, project.root / document.folder)
    show(document, json, "print_sensitivity")


@task(
    help=help_for(
        "target",
        *BROUGHT,
        "json",
        name="name of the workload and of the target: letters, digits and _",
        model="network such as mobilenet_v2:width=0.35, trained model's file, or file.py:function",
        weights="file of weights that the training begins with",
        data="folder or file of your own data",
    )
)
@exits
def new(context, name, data, model="", weights="", target="mobile", json=False):
    """Write a workload and a target for your own data, commented and yours to edit; overwrite nothing."""
    from pipeline.lookup import project_root
    from pipeline.scaffold import new as write_new

    show(write_new(name, data, model, weights, target, project_root()), json, "print_new", "scaffold")


@task(help=help_for("json"), positional=["path"])
@exits
def data(context, path, json=False):
    """Report on data: balance, duplicates, leakage between splits, mean and deviation, a contact sheet."""
    from pipeline.data.report import report_on
    from pipeline.documents import DataDocument
    from pipeline.lookup import project_root

    show(DataDocument(**dict(report_on(Path(path), project_root()))), json, "print_data", "data")


@task(
    help=help_for(
        "json", target="names of targets, separated by commas, or all", workload="whose samples it must take"
    ),
    positional=["model"],
)
@exits
def check(context, model, target="all", workload="", json=False):
    """Say in seconds what will be in the way of a model, of any kind, for each target; exit 2 if one is impossible."""
    from pipeline.check import check as check_model
    from pipeline.errors import EXIT_REQUEST
    from pipeline.lookup import project_root

    document = check_model(model, target_list(target, workload), workload, project_root())
    show(document, json, "print_check", "check")
    return 0 if document.possible else EXIT_REQUEST


@task(
    help=help_for(
        "workload",
        "json",
        version="MAJOR.MINOR.PATCH, which CHANGELOG.md has and no tag of another commit",
        targets="names of built targets, separated by commas; left out: all that are built",
        to="folder, fsspec URL, s3://, gs://, oci://, github://OWNER/REPO or hf-layout://DIR; left out: nowhere",
        key="file of the private key; left out: the PEM in the environment's RELEASE_SIGNING_KEY",
        accept_inconclusive="release what was measured and not decided; the manifest says so",
        allow_regression="why a target may be worse than in the previous release; the manifest says so",
        timeout="seconds that the destination is waited for, each time",
    )
)
@exits
def release(
    context,
    version,
    targets="",
    workload="mnist",
    to="",
    key="",
    accept_inconclusive=False,
    allow_regression="",
    timeout="30",
    json=False,
):
    """Turn passing builds into a signed release of byte-identical files, and publish it with --to."""
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.release.make_release import ReleaseOptions, make_release
    from pipeline.release.patience import patience
    from pipeline.report.terminal import terminal_watch

    watch = terminal_watch()
    options = ReleaseOptions(
        version=version,
        targets=target_list(targets, workload) if targets else (),
        workload=workload,
        to=to,
        key=key,
        accept_inconclusive=accept_inconclusive,
        allow_regression=allow_regression,
        patience=patience(timeout),
    )
    try:
        document = make_release(options, open_project(project_root(), watch), watch)
    finally:
        watch.close()
    show(document, json, "print_release", "release")


@task(
    name="verify-release",
    help=help_for(
        "json",
        **{"from": "where it was published, or a release's own folder"},
        key="the publisher's public key in PEM; left out: release.pub in the project's root",
        version="the version, or latest",
        quick="leave out running the files over the test split again",
        timeout="seconds that the other side is waited for, each time",
    ),
)
@exits
def verify_release(context, from_, key="", version="latest", quick=False, timeout="30", json=False):
    """Check hashes, signature, provenance and BOM of a release, and run its files; exit 5 if one scores otherwise."""
    from pipeline.lookup import project_root
    from pipeline.release.patience import patience
    from pipeline.release.verify_release import VerifyOptions
    from pipeline.release.verify_release import verify_release as verify
    from pipeline.report.terminal import terminal_watch
    from pipeline.verdict import exit_code

    options = VerifyOptions(source=from_, key=key, version=version, quick=quick, patience=patience(timeout))
    watch = terminal_watch()
    try:
        document = verify(options, project_root(), watch)
    finally:
        watch.close()
    show(document, json, "print_verified", "release")
    return exit_code(document.verdict)


@task(
    help=help_for(
        "json",
        **{"from": "where it was published"},
        target="name of a target of the release",
        version="the version, or latest",
        to="folder that gets <version>/ with the files",
        key="the publisher's public key in PEM; left out: release.pub in the project's root",
        allow_rollback="take a latest release that is older than one seen before",
        timeout="seconds that the other side is waited for, each time",
    )
)
@exits
def fetch(context, from_, target, version="latest", to=".", key="", allow_rollback=False, timeout="30", json=False):
    """Fetch a target's files of a published release, each verified before it appears."""
    from pipeline.lookup import project_root
    from pipeline.release.fetch import FetchOptions
    from pipeline.release.fetch import fetch as fetch_files
    from pipeline.release.patience import patience
    from pipeline.report.terminal import terminal_watch

    options = FetchOptions(
        source=from_,
        target=target,
        version=version,
        to=to,
        key=key,
        allow_rollback=allow_rollback,
        patience=patience(timeout),
    )
    watch = terminal_watch()
    try:
        document = fetch_files(options, project_root(), watch)
    finally:
        watch.close()
    show(document, json, "print_fetched", "release")


@task(help=help_for("json"))
@exits
def targets(context, json=False):
    """List the targets with their budgets and last verdicts."""
    from pipeline.housekeeping import target_rows
    from pipeline.lookup import project_root

    show(target_rows(project_root()), json, "print_targets")


@task(help=help_for("json"), default=True)
@exits
def store_list(context, json=False):
    """List the store's entries."""
    return _store("list", json)


@task(help=help_for("json"))
@exits
def store_verify(context, json=False):
    """Read and hash every entry of the store; list all that are damaged, and exit 4 if any is."""
    return _store("verify", json)


@task(help=help_for("json"))
@exits
def store_gc(context, json=False):
    """Remove the entries that neither a finished build nor a running one uses."""
    return _store("gc", json)


def _store(action: Literal["list", "verify", "gc"], json: bool) -> int:
    from pipeline.errors import EXIT_STEP
    from pipeline.housekeeping import store_document
    from pipeline.lookup import project_root

    document = store_document(project_root(), action)
    show(document, json, "print_store")
    return EXIT_STEP if any(entry.damage for entry in document.entries) else 0


@task(help=help_for("json", "dry_run", store="remove the store as well: everything is made anew afterwards"))
@exits
def clean(context, store=False, dry_run=False, json=False):
    """Remove built files and logs; the store stays, so that they come back in a second."""
    from pipeline.housekeeping import clean as remove
    from pipeline.lookup import project_root

    show(remove(project_root(), store=store, dry_run=dry_run), json, "print_clean")


def _collection() -> Collection:
    building = (train, prune, quantize, convert, build, ci, bench, compare, sensitivity, predict)
    collection = Collection(*building, inspect, check, new, data, targets, clean, release, verify_release, fetch)
    store = Collection("store")
    store.add_task(store_list, name="list", default=True)
    store.add_task(store_verify, name="verify")
    store.add_task(store_gc, name="gc")
    collection.add_collection(store)
    return collection


namespace = _collection()
