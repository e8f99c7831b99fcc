"""What tools that keep runs want to know of a build: parameters, figures, curves and tags, as plain data."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.history import git_commit
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.anatomy.document import Anatomy
    from pipeline.documents import BuildDocument
    from pipeline.intervals import Interval

Parameter = str | int | float | bool
VERDICT_NUMBERS = {"pass": 1.0, "fail": 0.0}  # the other outcomes are no number


@dataclass(frozen=True)
class BuildFacts:
    """One build; equal builds give equal facts."""

    name: str  # workload and target, fit for the name of a run
    folder: Path  # where the file and build.json lie
    document: BuildDocument
    anatomy: Anatomy
    parameters: Mapping[str, Parameter]
    figures: Mapping[str, float]  # in the units that their names say, else shares from 0 to 1
    tags: Mapping[str, str]
    measured_at: float  # seconds since 1970


def facts_of(folder: Path, document: BuildDocument, anatomy: Anatomy, project: Project) -> BuildFacts:
    """Return the facts of the build in `folder`. Parameters of stages that the store has lost are left out."""
    commit = git_commit(project.root)
    tags = {
        "sha256": document.sha256,
        "target": document.target,
        "workload": document.workload,
        "seed": str(document.seed),
        "verdict": document.verdict,
        **{f"budget.{verdict.metric}": verdict.verdict for verdict in document.verdicts},
        **({"git_commit": commit} if commit else {}),
    }
    return BuildFacts(
        name=f"{document.workload}/{document.target}",
        folder=folder,
        document=document,
        anatomy=anatomy,
        parameters=_parameters(document, project),
        figures=dict(_figures(document)),
        tags=tags,
        measured_at=datetime.datetime.fromisoformat(document.device.measured_at).timestamp(),
    )


def _parameters(document: BuildDocument, project: Project) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {
        "target": document.target,
        "workload": document.workload,
        "seed": document.seed,
        "task": document.task,
        "runner": document.device.runner,
        "device": document.device.device.name,
        "recipe": " ".join(stage.name for stage in document.stages),
    }
    for stage in document.stages:
        stored = project.store.peek(stage.key)
        config = stored["record"].get("config") if stored else None
        for name, value in (config if isinstance(config, dict) else {}).items():
            found[f"{stage.name}.{name}"] = value if isinstance(value, Parameter) else str(value)
    return found | {f"version.{name}": version for name, version in document.versions.items()}


def _figures(document: BuildDocument) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = [
        ("size_bytes", document.size_bytes),
        ("deflated_bytes", document.deflated_bytes),
        *((f"test_{name}", value) for name, value in document.scores.items()),
        *((f"test_{name}_low", low) for name, (low, _) in document.score_intervals.items()),
        *((f"test_{name}_high", high) for name, (_, high) in document.score_intervals.items()),
        *((f"validation_{name}", value) for name, value in document.validation_scores.items()),
        *((f"float32_test_{name}", value) for name, value in document.baseline_scores.items()),
        *((name, figure.value) for name, figure in document.device.figures.items()),
    ]
    found += _interval("memory_bytes", document.device.memory_bytes)
    latency = document.latency
    if latency is not None:
        for name in ("p50_us", "p90_us", "p99_us"):
            low, high = getattr(latency, f"{name}_interval")
            found += [(name, getattr(latency, name)), (f"{name}_low", low), (f"{name}_high", high)]
        found += _interval("speedup", latency.speedup)
        found += _interval("first_answer_ms", latency.first_answer_ms)
    for verdict in document.verdicts:
        found.append((f"budget.{verdict.metric}.limit", verdict.limit))
        if verdict.verdict in VERDICT_NUMBERS:
            found.append((f"budget.{verdict.metric}.pass", VERDICT_NUMBERS[verdict.verdict]))
    if document.verdict in VERDICT_NUMBERS:
        found.append(("pass", VERDICT_NUMBERS[document.verdict]))
    return found


def _interval(name: str, interval: Interval | None) -> list[tuple[str, float]]:
    if interval is None:
        return []
    return [(name, interval.value), (f"{name}_low", interval.low), (f"{name}_high", interval.high)]
