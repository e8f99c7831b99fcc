"""The task that writes finished builds to other people's tools."""

from __future__ import annotations

from invoke import task

from pipeline.task_frame import exits, help_for, show


@task(
    help=help_for(
        "json",
        target="name of a target whose build is written; left out: all",
        workload="name of a workload whose builds are written; left out: all",
        tensorboard="folder that TensorBoard's event files are written to, such as artifacts/tensorboard",
        mlflow="address of an MLflow server, such as http://127.0.0.1:5000",
        experiment="with --mlflow: name of the experiment; left out: edge-deployment-pipeline",
    )
)
@exits
def track(context, target="", workload="", tensorboard="", mlflow="", experiment="", json=False):
    """Write finished builds to TensorBoard or MLflow, each build a run.

    Example: invoke track --tensorboard=artifacts/tensorboard --mlflow=http://127.0.0.1:5000
    """
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.report.terminal import terminal_watch
    from pipeline.tracking.track import track as write_runs

    watch = terminal_watch()
    places = {"tensorboard": tensorboard, "mlflow": mlflow, "experiment": experiment}
    try:
        project = open_project(project_root(), watch)
        document = write_runs(project, watch, target=target, workload=workload, **places)
    finally:
        watch.close()
    show(document, json, "print_tracking", "tracking")
