"""Tasks that list what lies in a project and clear it up."""

from __future__ import annotations

from typing import Literal

from invoke import task

from pipeline.task_frame import exits, help_for, show


@task(help=help_for("json"))
@exits
def targets(context, json=False):
    """List the targets with their budgets, last verdicts and last builds.

    Example: invoke targets
    """
    from pipeline.housekeeping import target_rows
    from pipeline.lookup import project_root

    show(target_rows(project_root()), json, "print_targets")


@task(
    help=help_for(
        "json",
        target="name of a target; left out: all of them",
        workload="name of a workload; left out: all of them",
        metric="one metric alone, such as p90_us or memory_bytes; left out: size, score and median latency",
        last="how many measurements of each workload and target",
    )
)
@exits
def history(context, target="", workload="", metric="", last="20", json=False):
    """Show what was measured over time: size, score and latency with sparklines, and the last change.

    Example: invoke history --target=mobile --last=50
    """
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.trends import history_document
    from pipeline.watch import Watch

    options = {"target": target, "workload": workload, "metric": metric, "last": last}
    show(history_document(open_project(project_root(), Watch()), **options), json, "print_history", "history")


@task(
    help=help_for(
        "json",
        before="a target that was built, a build.json, or a folder with one or with artifacts",
        after="the same, of the build that is held against it",
        target="whose build in an artifacts folder; left out: the other build's target, or the only one",
        workload="which workload's build; left out: the only one",
    ),
    positional=["before", "after"],
)
@exits
def diff(context, before, after, target="", workload="", json=False):
    """Compare two builds, each a target, a build.json or an artifacts folder: numbers, recipe, file and answers.

    Example: invoke diff earlier/build.json mobile
    """
    from pipeline.diff_sources import diff_builds
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.watch import Watch

    project = open_project(project_root(), Watch())
    show(diff_builds(before, after, project, target=target, workload=workload), json, "print_diff", "diff")


@task(help=help_for("json"), default=True)
@exits
def store_list(context, json=False):
    """List the store's entries.

    Example: invoke store
    """
    return _store("list", json)


@task(help=help_for("json"))
@exits
def store_verify(context, json=False):
    """Read and hash every entry of the store; list all that are damaged, and exit 4 if any is.

    Example: invoke store.verify
    """
    return _store("verify", json)


@task(help=help_for("json"))
@exits
def store_gc(context, json=False):
    """Remove the entries that neither a finished build nor a running one uses.

    Example: invoke store.gc
    """
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
    """Remove built files and logs; the store stays, so that they come back in a second.

    Example: invoke clean --dry-run
    """
    from pipeline.housekeeping import clean as remove
    from pipeline.lookup import project_root

    show(remove(project_root(), store=store, dry_run=dry_run), json, "print_clean")
