"""Tasks that build: one step's worth, one target, several, all for a CI system."""

from __future__ import annotations

from invoke import Task, task

from pipeline.task_frame import DEFAULT_WORKLOAD, PLAN_HELP, exits, help_for, planned, show, target_list


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
        quiet=False,
    ):
        from pipeline.build_target import run_up_to

        brought = {"data": data, "model": model, "weights": weights}
        opened = planned(step, target, workload, seed, json, explain, dry_run, force, quiet, **brought)
        if opened is None:
            return 0
        plan, found, learned, number, project, watch = opened
        try:
            document = run_up_to(plan, found, learned, number, project, watch, force=force, copy=step == "convert")
        finally:
            watch.close()
        show(document, json, "print_stages")
        return 0

    body.__name__, body.__doc__ = step, f"{summary}\n\nExample: invoke {step} --target=mobile"
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
    quiet=False,
):
    """Train, compress, convert, verify and measure a target's file; exit 5 if it misses a budget.

    Example: invoke build --target=mobile --explain
    """
    from pipeline.build_target import build as build_file
    from pipeline.verdict import exit_code

    brought = {"data": data, "model": model, "weights": weights}
    if len(names := target_list(target, data or workload)) != 1:
        return _build_several(names, workload, seed, json, explain, dry_run, force, quiet, brought)
    opened = planned(None, names[0], workload, seed, json, explain, dry_run, force, quiet, **brought)
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
    quiet: bool,
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
    opened = [planned(None, name, workload, seed, json, explain, dry_run, force, quiet, **brought) for name in names]
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
        "quiet",
        targets="names of targets, separated by commas, or all",
        junit="file that the verdicts are written to as JUnit XML",
        summary="file that the verdicts, and the changes against main, are written to as Markdown",
        against="folder with main's earlier artifacts/, or with what lies in one",
    )
)
@exits
def ci(context, targets="all", workload="", junit="", summary="", against="", json=False, quiet=False):
    """Build every target, whatever becomes of the others, and write reports; exit with the worst of them.

    Example: invoke ci --targets=mobile,browser --junit=verdicts.xml --summary=summary.md
    """
    from pipeline.ci import ci as run_ci
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.report.terminal import terminal_watch

    root, watch = project_root(), terminal_watch(quiet)
    names, learned = target_list(targets, workload), workload or DEFAULT_WORKLOAD
    reports = {"junit": junit, "summary": summary}
    try:
        document, code = run_ci(names, learned, open_project(root, watch), watch, against=against, **reports)
    finally:
        watch.close()
    show(document, json, "print_summary", "summary")
    return code
