"""Writes finished builds to the tools that keep runs. Nothing is trained or measured for it."""

from __future__ import annotations

from pathlib import Path

from pipeline.anatomy.anatomy import anatomy_of
from pipeline.errors import RequestError
from pipeline.project import Project, built_folders, load_build
from pipeline.tracking.document import TrackDocument, TrackedBuild
from pipeline.tracking.facts import BuildFacts, facts_of
from pipeline.watch import Watch

EXPERIMENT = "edge-deployment-pipeline"


def track(
    project: Project,
    watch: Watch,
    *,
    target: str = "",
    workload: str = "",
    tensorboard: str = "",
    mlflow: str = "",
    experiment: str = "",
) -> TrackDocument:
    """Write the finished builds to a TensorBoard folder, an MLflow server, or both.

    target, workload: names that choose among the builds; "" for all.
    Raises RequestError where nothing is asked for, or no such build is there, EnvironmentUnsuited where an extra is
    missing, TrackingFailed where the server does not do its part.
    """
    if not tensorboard and not mlflow:
        raise RequestError(
            "nothing says where to write the builds",
            received="neither --tensorboard nor --mlflow",
            expected="one of them, or both",
            fix="invoke track --tensorboard=artifacts/tensorboard, or --mlflow=http://127.0.0.1:5000",
        )
    if experiment and not mlflow:
        raise RequestError(
            "--experiment goes with --mlflow",
            received=f"--experiment={experiment} without --mlflow",
            expected="the address of an MLflow server",
            fix="--mlflow=http://127.0.0.1:5000, or leave --experiment out",
        )
    folders = _folders(project, target, workload)
    server = None
    if mlflow:  # asked first: anatomy takes seconds, and a wrong address should not cost them
        from pipeline.tracking.mlflow import open_server

        server = open_server(mlflow, experiment or EXPERIMENT, watch)
    tracked = []
    for folder in folders:
        facts = _facts(folder, project, watch)
        if tensorboard:
            from pipeline.tracking.tensorboard import write_run

            place, updated = write_run(facts, Path(tensorboard), project)
            tracked.append(_row(facts, "tensorboard", str(place), updated))
        if server is not None:
            address, updated = server.write_run(facts)
            tracked.append(_row(facts, "mlflow", address, updated))
    return TrackDocument(tracked=tracked)


def _folders(project: Project, target: str, workload: str) -> list[Path]:
    everything = built_folders(project)
    learned = Path(workload).stem
    chosen = [one for one in everything if target in ("", one.name) and learned in ("", one.parent.name)]
    if not chosen:
        given = [f"--{flag}={value}" for flag, value in (("target", target), ("workload", workload)) if value]
        names = ", ".join(f"{one.parent.name}/{one.name}" for one in everything)
        raise RequestError(
            "no finished build to track",
            received=" ".join(given) or "no build.json under artifacts/",
            expected=f"one of {names}" if names else "a build",
            fix=f"invoke build --target={target or 'mobile'}" + (f" --workload={workload}" if workload else ""),
        )
    return chosen


def _facts(folder: Path, project: Project, watch: Watch) -> BuildFacts:
    document = load_build(folder)
    return facts_of(folder, document, anatomy_of(folder, project, watch), project)


def _row(facts: BuildFacts, tool: str, place: str, updated: bool) -> TrackedBuild:
    document = facts.document
    return TrackedBuild(
        target=document.target,
        workload=document.workload,
        sha256=document.sha256,
        tool=tool,
        place=place,
        updated=updated,
    )
