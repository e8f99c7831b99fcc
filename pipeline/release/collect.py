"""One target's build as a release has it: its row of the manifest, and its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ReleaseRefused
from pipeline.files import sha256_of
from pipeline.project import ARTIFACT, BUILD_DOCUMENT, Project, load_build
from pipeline.release.manifest import ReleasedFile, ReleasedTarget, Role, SampleCheck, is_file_name
from pipeline.release.preprocessing import preprocessing
from pipeline.runner import find_runner

if TYPE_CHECKING:
    from pipeline.documents import BuildDocument, CompareDocument
    from pipeline.target import Target
    from pipeline.workload import Workload

CHECKED_SAMPLES = 1_000  # of the test split, which a consumer can ask the file again


@dataclass(frozen=True)
class Collected:
    """One target's part of a release."""

    row: ReleasedTarget
    build: BuildDocument
    contents: dict[str, bytes | Path]  # by file name; a path is copied as it lies


def collect(
    target: Target, workload: Workload, build: BuildDocument, version: str, project: Project, check: SampleCheck
) -> Collected:
    """Return the release's row and files of a build, which `load_build` has held against its file.

    Raises ReleaseRefused for what a device's tools made and is no longer as build.json says.
    """
    folder = project.folder(workload.name, target.name)
    stem = f"{workload.name}-{target.name}-{version}"
    found: dict[str, tuple[Role, bytes | Path]] = {
        f"{stem}.tflite": ("model", folder / ARTIFACT),
        f"{stem}.build.json": ("build", folder / BUILD_DOCUMENT),
        f"{stem}.labels.txt": ("labels", _labels(workload)),
    }
    test_samples, _ = workload.load("test")
    described = preprocessing(workload, folder / ARTIFACT)
    found[f"{stem}.preprocessing.json"] = ("preprocessing", (json.dumps(described) + "\n").encode())
    found |= _device_files(target, workload, build, folder, stem, project)
    for name in found:
        if not is_file_name(name):
            raise ReleaseRefused(
                f"{name!r} cannot be a file of a release",
                received=name,
                expected="letters, digits, '.', '_' and '-', at most 200 of them",
                fix="rename the workload or the target",
            )
    row = ReleasedTarget(
        target=target.name,
        workload=workload.name,
        task=build.task,
        metric=build.metric,
        model=f"{stem}.tflite",
        sha256=build.sha256,
        size_bytes=build.size_bytes,
        scores=build.scores,
        score_intervals=build.score_intervals,
        validation_scores=build.validation_scores,
        baseline_scores=build.baseline_scores,
        test_samples=len(test_samples),
        sample_check=check,
        latency=build.latency,
        measured_on=f"{build.device.device.name} ({build.device.device.device_class})",
        verdicts=build.verdicts,
        verdict=build.verdict,  # a failed one was refused
        not_measured_on_device=not_measured_on_device(build),
        changes=[],
        files=[file_of(name, role, content) for name, (role, content) in found.items()],
    )
    return Collected(row, build, {name: content for name, (_, content) in found.items()})


def not_measured_on_device(build: BuildDocument) -> list[str]:
    """Return the latency budgets that bind on a device class other than the one that was measured."""
    return [
        verdict.metric
        for verdict in build.verdicts
        if verdict.verdict == "not applicable" and verdict.metric.startswith("latency_")
    ]


def sample_checks(targets: Sequence[Target], workload: Workload, project: Project) -> dict[str, SampleCheck]:
    """Return {target: what its built file answers to the first CHECKED_SAMPLES of the test split}.

    Files that run alike share a process.
    """
    from pipeline.data.streaming import answers_of
    from pipeline.target_runner import find_evaluator, settings_of

    samples, labels = workload.load("test")
    samples, labels = samples[:CHECKED_SAMPLES], labels[:CHECKED_SAMPLES]
    alike: dict[Any, list[Target]] = {}
    for target in targets:
        name, _ = find_evaluator(target, project.root)
        alike.setdefault((name, settings_of(target)), []).append(target)
    found = {}
    for (runner, _), group in alike.items():
        files = {target.name: project.folder(workload.name, target.name) / ARTIFACT for target in group}
        settings = settings_of(group[0], files=len(files))
        answers = answers_of(find_runner(runner, project.root), files, samples, workload, settings)
        for name, (_, evidence) in answers.items():
            scores = workload.task.scores(evidence, labels, workload.threshold)
            found[name] = SampleCheck(samples=len(labels), scores={key: float(value) for key, value in scores.items()})
    return found


def comparison_of(build: BuildDocument, project: Project) -> CompareDocument | None:
    """Return the project's comparison of this target, where the very file that is released was a candidate in it."""
    from pydantic import ValidationError

    from pipeline.documents import CompareDocument
    from pipeline.project import COMPARE_DOCUMENT, COMPARE_FOLDER

    path = project.folder(build.workload, build.target) / COMPARE_FOLDER / COMPARE_DOCUMENT
    try:
        document = CompareDocument.model_validate_json(path.read_bytes())
    except (OSError, ValidationError, ValueError):  # there is none, or one of another version
        return None
    return document if any(row.sha256 == build.sha256 for row in document.candidates) else None


def finished_build(target: str, workload: str, project: Project) -> BuildDocument:
    """Return a target's finished build. Raises ReleaseRefused where it is missing or its file is another."""
    from pipeline.errors import BadTarget

    try:
        return load_build(project.folder(workload, target))
    except BadTarget as error:
        raise ReleaseRefused(error.message, received=error.received, expected=error.expected, fix=error.fix) from error


def _labels(workload: Workload) -> bytes:
    if any("\n" in label or "\r" in label for label in workload.labels):
        raise ReleaseRefused(
            f"the labels of {workload.name} cannot be lines of a file",
            received="a label with a line's end in it",
            expected="labels of one line",
            fix="rename it in the workload, and build again",
        )
    return "".join(f"{label}\n" for label in workload.labels).encode()


def _device_files(
    target: Target, workload: Workload, build: BuildDocument, folder: Path, stem: str, project: Project
) -> dict[str, tuple[Role, bytes | Path]]:
    """Return what the device's tools made, and for microcontrollers the C array of what is flashed."""
    from pipeline.runners._c_array import c_array

    for name, expected in build.device.files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != expected:
            raise ReleaseRefused(
                f"{path} is not the file that {BUILD_DOCUMENT} describes",
                received="another SHA-256" if path.is_file() else "no file",
                expected=f"SHA-256 {expected}",
                fix=f"invoke build --target={target.name} --workload={workload.name}",
            )
    found: dict[str, tuple[Role, bytes | Path]] = {}
    flashed = getattr(find_runner(build.device.runner, project.root), "FLASHED", None)
    arrays = {"model.cc", "model.h"} if flashed else set()
    for name in build.device.files:
        if name not in arrays:
            found[f"{stem}.{name}"] = ("device", folder / name)
    if flashed:
        symbol = "".join(char if char.isalnum() else "_" for char in f"g_{workload.name}_{target.name}")
        content = (folder / flashed).read_bytes()
        what = f"{stem}.tflite" if flashed == ARTIFACT else f"{stem}.{flashed}"
        for name, array in c_array(content, stem=stem, symbol=symbol, what=what).items():
            found[name] = ("c_array", array)
    return found


def file_of(name: str, role: Role, content: bytes | Path) -> ReleasedFile:
    """Return the manifest's entry of a file."""
    if isinstance(content, Path):
        return ReleasedFile(name=name, role=role, size_bytes=content.stat().st_size, sha256=sha256_of(content))
    return ReleasedFile(name=name, role=role, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
