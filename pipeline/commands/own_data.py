"""Tasks for your own data and models: a project written, data reported on, a model checked."""

from __future__ import annotations

from pathlib import Path

from invoke import task

from pipeline.task_frame import BROUGHT, exits, help_for, needs, show, target_list


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
@needs("name", "data")
def new(context, name="", data="", model="", weights="", target="mobile", json=False):
    """Write a workload and a target for your own data, commented and yours to edit; overwrite nothing.

    Example: invoke new --name=flowers --data=photos/flowers
    """
    from pipeline.lookup import project_root
    from pipeline.scaffold import new as write_new

    show(write_new(name, data, model, weights, target, project_root()), json, "print_new", "scaffold")


@task(help=help_for("json", path="folder or file of data"), positional=["path"])
@exits
def data(context, path, json=False):
    """Report on data: balance, duplicates, leakage between splits, mean and deviation, a contact sheet.

    Example: invoke data photos/flowers
    """
    from pipeline.data.report import report_on
    from pipeline.documents import DataDocument
    from pipeline.lookup import project_root

    show(DataDocument(**dict(report_on(Path(path), project_root()))), json, "print_data", "data")


@task(
    help=help_for(
        "json",
        model="a model's file of any kind, or a network of the zoo",
        target="names of targets, separated by commas, or all",
        workload="whose samples it must take",
    ),
    positional=["model"],
)
@exits
def check(context, model, target="all", workload="", json=False):
    """Say in seconds what will be in the way of a model, of any kind, for each target; exit 2 if one is impossible.

    Example: invoke check trained.keras --target=microcontroller
    """
    from pipeline.check import check as check_model
    from pipeline.errors import EXIT_REQUEST
    from pipeline.lookup import project_root

    document = check_model(model, target_list(target, workload), workload, project_root())
    show(document, json, "print_check", "check")
    return 0 if document.possible else EXIT_REQUEST
