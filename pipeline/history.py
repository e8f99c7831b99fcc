"""`artifacts/history.jsonl`: one line a measurement, only ever appended.

A line is written with one call and flushed to the disk, under a lock, so that two builds do not mix and
a crash leaves at most its own line cut. A cut line is closed by the next one and skipped by readers.
Nothing is decided by this file; it can be deleted.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.intervals import Interval
from pipeline.runner import Device, Figure
from pipeline.verdict import Verdict

if TYPE_CHECKING:
    from pipeline.documents import BenchResult, BuildDocument

HISTORY = "history.jsonl"
GIT_SECONDS = 5.0


class HistoryLine(BaseModel):
    """One measurement."""

    model_config = ConfigDict(extra="forbid")

    format: int = Field(1, description="Raised when a reader of older lines would break.")
    kind: Literal["build", "bench", "compare"] = Field(description="The command that measured.")
    at: str = Field(description="When it was measured, in UTC; of a reused measurement, when it was made.")
    reused: bool = Field(description="Whether a stored measurement was taken.")
    target: str | None = Field(description="Target; null for any other file.")
    workload: str | None = Field(description="Workload; null for any other file.")
    sha256: str = Field(description="SHA-256 of the measured file.")
    size_bytes: int = Field(description="Size of the file.")
    accuracy: float | None = Field(None, description="Test accuracy, 0 to 1; null where there is none.")
    scores: dict[str, float] = Field({}, description="The file's metrics on the test split, where it was evaluated.")
    runner: str = Field(description="Name of the runner.")
    device: Device = Field(description="What it was measured on.")
    threads: int | None = Field(None, description="Interpreter threads; null without times.")
    p50_us: float | None = Field(None, description="Median latency in microseconds; null without times.")
    p90_us: float | None = Field(None, description="90th percentile in microseconds; null without times.")
    p50_us_interval: tuple[float, float] | None = Field(None, description="95% interval of the median.")
    p90_us_interval: tuple[float, float] | None = Field(None, description="95% interval of the 90th percentile.")
    memory_bytes: Interval | None = Field(None, description="Growth of the process; null where it is not told.")
    figures: dict[str, Figure] = Field({}, description="What else the device told, each measured or an estimate.")
    verdicts: list[Verdict] = Field([], description="The budgets' verdicts.")
    git_commit: str | None = Field(None, description="Commit of the project's checkout, with + where it was altered.")


def line_of(document: BuildDocument | BenchResult, root: Path) -> HistoryLine:
    """Return the line for a build or for one file of a benchmark."""
    scores = getattr(document, "scores", {})
    latency, device = document.latency, document.device
    times = (
        {}
        if latency is None
        else {
            name: getattr(latency, name)
            for name in ("threads", "p50_us", "p90_us", "p50_us_interval", "p90_us_interval")
        }
    )
    return HistoryLine(
        kind="build" if scores else "bench",
        at=device.measured_at,
        reused=device.reused,
        target=document.target,
        workload=document.workload,
        sha256=document.sha256,
        size_bytes=document.size_bytes,
        accuracy=scores.get("accuracy"),
        scores=scores,
        runner=device.runner,
        device=device.device,
        memory_bytes=device.memory_bytes,
        figures=device.figures,
        verdicts=document.verdicts,
        git_commit=git_commit(root),
        **times,
    )


def append(path: Path, line: HistoryLine) -> None:
    """Add a line; it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # gone with the descriptor, also when this process dies
        size = os.fstat(descriptor).st_size
        cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        content = b"\n" * cut + line.model_dump_json().encode() + b"\n"
        if os.write(descriptor, content) < len(content):  # the disk is full: the next line closes this one
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> tuple[list[HistoryLine], int]:
    """Return the lines in the order of writing, and how many cannot be read: cut by a crash, or of another format."""
    if not path.is_file():
        return [], 0
    found, unreadable = [], 0
    for line in path.read_bytes().splitlines():
        if not line.strip():
            continue
        try:
            found.append(HistoryLine.model_validate(json.loads(line)))
        except (ValueError, ValidationError):
            unreadable += 1
    return found, unreadable


def git_commit(root: Path) -> str | None:
    """Return the checkout's commit, followed by + where files that git knows were altered; None without one."""
    command: list[Any] = ["git", "-C", root, "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if done.returncode or commit == "(initial)":
        return None
    return commit + ("+" if any(not line.startswith("#") for line in lines) else "")
