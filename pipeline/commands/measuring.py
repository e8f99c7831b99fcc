"""Tasks that measure, compare and look into files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from invoke import task

from pipeline.task_frame import BROUGHT, exits, help_for, request, show


@task(
    help=help_for(
        "target",
        "workload",
        "json",
        "quiet",
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
    quiet=False,
):
    """Measure built files anew: all of them, one target's, or any file with --model=FILE.tflite.

    Example: invoke bench --target=mobile --profile
    """
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
    root, watch = project_root(), terminal_watch(quiet)
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
        "quiet",
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
    quiet=False,
):
    """Try techniques side by side over one training, measure their files together, and choose for the target.

    Example: invoke compare --target=mobile --techniques=int8,pqat --quick
    """
    from pipeline.comparison.compare import compare as compare_techniques
    from pipeline.comparison.compare import comparison_plan
    from pipeline.verdict import exit_code

    found, learned, number, project, watch = request(
        target, workload, seed, data=data, model=model, weights=weights, quiet=quiet
    )
    options = {"techniques": techniques, "quick": quick}
    if dry_run:
        show(comparison_plan(found, learned, number, project, **options), json, "print_plan", "plan_tree")
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
    """Classify a picture with a target's built file: the class and how sure the file is.

    Example: invoke predict --image=digit.png --target=mobile
    """
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


@task(
    help=help_for(
        "json", file="any .tflite file", open="show the graph in Netron, in this machine's browser, until Ctrl-C"
    ),
    positional=["file"],
)
@exits
def inspect(context, file, open=False, json=False):
    """Show what any .tflite holds: operators, dtypes, sizes, zeros, float leftovers; its graph with --open.

    Example: invoke inspect artifacts/mnist/mobile/model.tflite
    """
    from pipeline.documents import InspectDocument
    from pipeline.inspect import float_leftovers
    from pipeline.untrusted import inspect_untrusted

    found = inspect_untrusted(Path(file))
    document = InspectDocument(path=file, inspection=found, float_leftovers=float_leftovers(found, False))
    show(document, json, "print_inspection")
    if open:
        from pipeline.netron_view import show_in_netron

        show_in_netron(Path(file), lambda text: print(text, file=sys.stderr, flush=True))


@task(
    help=help_for(
        "target",
        "workload",
        *BROUGHT,
        "seed",
        "json",
        "quiet",
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
    quiet=False,
):
    """Rank the layers by the error that quantization adds, and write the recipe that mends the worst.

    Example: invoke sensitivity --target=mobile --mend
    """
    from pipeline.report.sensitivity_plot import draw
    from pipeline.sensitivity import sensitivity as analyse
    from pipeline.sensitivity import sizes_of

    sizes = sizes_of(calibration_sizes)
    found, learned, number, project, watch = request(
        target, workload, seed, data=data, model=model, weights=weights, quiet=quiet
    )
    try:
        document = analyse(found, learned, number, project, watch, mend=mend, calibration_sizes=sizes)
    finally:
        watch.close()
    draw(document, project.root / document.folder)
    show(document, json, "print_sensitivity")
