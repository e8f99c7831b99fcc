"""Synthetic release folders for tests of what publishes, fetches and checks them: sound, small, of no real model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pipeline.release.manifest import (
    CHECKSUMS,
    MANIFEST,
    SIGNATURE,
    ReleasedFile,
    ReleasedTarget,
    ReleaseManifest,
    Role,
    SampleCheck,
    checksums_text,
)

ZEROS = "0" * 40


def write_release(
    parent: Path,
    version: str = "1.2.0",
    *,
    targets: Mapping[str, bytes] | None = None,
    extra: Mapping[str, bytes] | None = None,
    signature: bytes = b'{"not": "checked"}\n',
) -> Path:
    """Write `parent/<version>/` with a model for each of `targets` and the files of `extra`; return it.

    The hashes agree throughout. The signature is not one unless `signature` holds one.
    """
    folder = parent / version
    folder.mkdir(parents=True)
    rows = []
    for target, content in (targets or {"mobile": b"mobile's bytes", "browser": b"browser's bytes"}).items():
        stem = f"mnist-{target}-{version}"
        files = [
            _file(folder, f"{stem}.tflite", "model", content),
            _file(folder, f"{stem}.labels.txt", "labels", b"no\nyes\n"),
        ]
        rows.append(_target(target, files))
    files = [
        _file(folder, name, "card", content)
        for name, content in ({"MODEL_CARD.md": b"# m\n"} | dict(extra or {})).items()
    ]
    manifest = ReleaseManifest(
        version=version,
        workload="mnist",
        created="2026-01-01T00:00:00Z",
        commit=ZEROS,
        previous=None,
        accepted_inconclusive=False,
        allowed_regression="",
        targets=rows,
        files=files,
        measured_fields=[],
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_checksums(folder)
    (folder / SIGNATURE).write_bytes(signature)
    return folder


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS anew over whatever lies in the folder."""
    paths = [path for path in folder.iterdir() if path.name not in (CHECKSUMS, SIGNATURE)]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    (folder / CHECKSUMS).write_text(checksums_text(hashes), encoding="utf-8")


def _file(folder: Path, name: str, role: Role, content: bytes) -> ReleasedFile:
    (folder / name).write_bytes(content)
    return ReleasedFile(name=name, role=role, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _target(target: str, files: list[ReleasedFile]) -> ReleasedTarget:
    return ReleasedTarget(
        target=target,
        workload="mnist",
        task="classification",
        metric="accuracy",
        model=files[0].name,
        sha256=files[0].sha256,
        size_bytes=files[0].size_bytes,
        scores={"accuracy": 0.5},
        validation_scores={"accuracy": 0.5},
        baseline_scores={"accuracy": 0.5},
        test_samples=2,
        sample_check=SampleCheck(samples=2, scores={"accuracy": 0.5}),
        latency=None,
        measured_on="nothing",
        verdicts=[],
        verdict="pass",
        not_measured_on_device=[],
        changes=[],
        files=files,
    )
