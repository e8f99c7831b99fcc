"""Two files against each other: how many times as long one takes, with an interval, and the word for it.

Both run in the same fresh processes, taking turns round by round, and each is loaded first in every
other process: what the machine does, and where memory happens to lie, meets both alike. A process gives
one ratio of medians. The processes are the independent samples, so the interval is Student's over the
logarithms of their ratios. Their number is fixed beforehand: whoever stops when it looks decided
finds differences that are not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import RequestError, RunnerFailed
from pipeline.files import sha256_of
from pipeline.history import HISTORY, HistoryLine, append, git_commit
from pipeline.intervals import Interval, student_quantile
from pipeline.project import ARTIFACT, Project, built_folders
from pipeline.runner import find_runner
from pipeline.target import load_target, plain_target
from pipeline.target_runner import leaves_time_to_another, settings_of
from pipeline.watch import Watch

if TYPE_CHECKING:
    import numpy as np

    from pipeline.documents import BenchCompareDocument

PROCESSES = 20
ROUNDS = 8  # a process
# Of the words: a file compared with itself is called different in 1 of 100. The interval that is shown is the same.
CONFIDENCE = 0.99


def compare_files(given: str, target_name: str, project: Project, watch: Watch) -> BenchCompareDocument:
    """Measure the two files that `given` names, A,B, as the target says; return the BenchCompareDocument.

    A name is a path, or a built target (`<target>` or `<workload>/<target>`). Raises RequestError for
    anything else, RunnerFailed where the device gives no times, BadModelFile for a file that is no model.
    """
    from pipeline.documents import BenchCompareDocument
    from pipeline.machine_lock import benchmarking

    target = load_target(target_name, project.root) if target_name else plain_target()
    names = [name.strip() for name in given.split(",")]
    if len(names) != 2 or not all(names):
        raise RequestError(
            "--compare takes two files", received=given, expected="--compare=A,B", fix="give two, with one comma"
        )
    paths = [_file_of(name, project) for name in names]
    runner = find_runner(target.measured_by, project.root)
    if leaves_time_to_another(runner):
        raise _no_times(target.measured_by, "a runner without times")
    settings = replace(settings_of(target, files=2, outputs=False, runner=runner), rounds=ROUNDS)
    medians: list[tuple[float, float]] = []
    with benchmarking(watch.note):
        for number in range(PROCESSES):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            result = runner.run({str(index): paths[index] for index in order}, None, settings)
            medians.append((_median(result.models["0"].times_ns), _median(result.models["1"].times_ns)))
            watch.progress({"done": (number + 1) / PROCESSES})
    if any(math.isnan(value) for pair in medians for value in pair):
        raise _no_times(target.measured_by, "no timed invocation")
    if result.device.emulated:
        raise _no_times(target.measured_by, f"times of {result.device.name}, which decide nothing")
    ratio = ratio_of(medians)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    first, second = (float(sorted(column)[PROCESSES // 2]) / 1e3 for column in zip(*medians, strict=True))
    for path, p50_us in zip(paths, (first, second), strict=True):
        line = HistoryLine(
            kind="compare",
            at=at,
            reused=False,
            target=None,
            workload=None,
            sha256=sha256_of(path),
            size_bytes=path.stat().st_size,
            runner=target.measured_by,
            device=result.device,
            threads=settings.threads,
            p50_us=p50_us,
            git_commit=git_commit(project.root),
        )
        append(project.artifacts / HISTORY, line)
    return BenchCompareDocument(
        first=str(paths[0]),
        second=str(paths[1]),
        first_sha256=sha256_of(paths[0]),
        second_sha256=sha256_of(paths[1]),
        first_p50_us=first,
        second_p50_us=second,
        ratio=ratio,
        confidence=CONFIDENCE,
        processes=PROCESSES,
        word=word(ratio),
        runner=target.measured_by,
        threads=settings.threads,
        device=result.device,
        kernels=(result.models["0"].kernels, result.models["1"].kernels),
    )


def _no_times(runner: str, received: str) -> RunnerFailed:
    return RunnerFailed(
        f"the runner {runner!r} gives no times to compare",
        received=received,
        expected="a device that measures time",
        fix="compare on another target, such as --target=mobile",
    )


def ratio_of(medians: Sequence[tuple[float, float]], confidence: float = CONFIDENCE) -> Interval:
    """Return how many times as long the second takes: geometric mean over processes, with Student's interval.

    medians: of each process (first, second), in one unit, above 0; at least two processes.
    """
    logarithms = [math.log(second / first) for first, second in medians]
    count = len(logarithms)
    mean = sum(logarithms) / count
    deviation = math.sqrt(sum((value - mean) ** 2 for value in logarithms) / (count - 1))
    half = student_quantile(count, confidence) * deviation / math.sqrt(count)
    return Interval(value=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half))


def word(ratio: Interval) -> str:
    """Return what the second file is, against the first: faster, slower, or no difference shown."""
    return "faster" if ratio.high < 1 else "slower" if ratio.low > 1 else "no difference shown"


def _median(times: np.ndarray) -> float:
    import numpy as np

    return max(1.0, float(np.median(times))) if times.size else math.nan


def _file_of(name: str, project: Project) -> Path:
    if Path(name).is_file() or name.endswith(".tflite"):
        from pipeline.runners._files import check_model_file

        check_model_file(Path(name))
        return Path(name)
    names = {folder: (folder.name, f"{folder.parent.name}/{folder.name}") for folder in built_folders(project)}
    found = [folder for folder, known in names.items() if name in known]
    if len(found) == 1:
        return found[0] / ARTIFACT
    if not found and "/" not in name:
        load_target(name, project.root)  # an unknown name says so
    raise RequestError(
        f"--compare does not find one file for {name!r}",
        received=", ".join(f"{folder.parent.name}/{folder.name}" for folder in found) or "no finished build of it",
        expected="a .tflite file, a built target, or <workload>/<target>",
        fix=f"invoke build --target={name}" if not found else f"name one: {found[0].parent.name}/{found[0].name}",
    )
