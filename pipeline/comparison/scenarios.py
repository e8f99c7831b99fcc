"""Candidates outside the clean test set: corrupted pictures, the first answer, and no pause.

Corrupted accuracy is what `invoke compare --scenarios` adds: it warns where the choice loses more
than the float file does, and changes no choice, since it is measured on test pictures.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.comparison.document import ColdStart
from pipeline.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from pipeline.intervals import median_and_range
from pipeline.runner import Settings
from pipeline.target import Target
from pipeline.target_runner import find_evaluator, settings_of
from pipeline.watch import Watch
from pipeline.workload import Workload

if TYPE_CHECKING:
    import numpy as np

    from pipeline.comparison.document import CandidateRow

SAMPLES = 1000  # test pictures for each corruption and severity
COLD_STARTS = 5
SUSTAINED_SECONDS = 5.0
SUSTAINED_ROUNDS_LEAST = 8
NOTABLE_LOSS = 0.01  # share of the pictures that a file may lose more than the float file
SURE = 3.2  # standard errors: of 40 comparisons without a difference one in twenty shows more (Bonferroni)


def add_scenarios(
    rows: list[CandidateRow],
    files: dict[str, Path],
    target: Target,
    workload: Workload,
    seed: int,
    root: Path,
    watch: Watch,
) -> None:
    """Fill in `corrupted` and `cold_start` of every row. Raises what the runner or `corrupt` raises."""
    from pipeline.machine_lock import benchmarking

    _, runner = find_evaluator(target, root)
    settings = settings_of(target, files=len(files))
    watch.stage_started("corrupted pictures", None)
    started = time.perf_counter()
    for row, accuracies in zip(rows, corrupted(runner, files, workload, settings, seed, watch), strict=True):
        row.corrupted = accuracies
    watch.stage_done("corrupted pictures", True, time.perf_counter() - started, {})
    if not runner.MEASURES_TIME:
        return
    watch.stage_started("cold start and sustained run", None)
    started = time.perf_counter()
    samples = workload.preprocess(workload.load("validation")[0][:10])
    with benchmarking(watch.note):
        for number, row in enumerate(rows):
            row.cold_start = under_load(runner, files[row.name], samples, settings)
            watch.progress({"done": (number + 1) / len(rows)})
    watch.stage_done("cold start and sustained run", True, time.perf_counter() - started, {})


def refuse_unusable(workload: Workload, seed: int) -> None:
    """Raise what `corrupt` raises for pictures that it cannot corrupt: before anything is made for it."""
    corrupt(workload.load("test")[0][:1], CORRUPTIONS[0], SEVERITIES[0], seed)


def corrupted(
    runner: ModuleType, files: dict[str, Path], workload: Workload, settings: Settings, seed: int, watch: Watch
) -> list[dict[str, list[float]]]:
    """Return for each file {corruption: accuracy, 0 to 1, at severities 1 to 5}, on the first test samples."""
    raw, labels = workload.load("test")
    raw, labels = raw[:SAMPLES], labels[:SAMPLES]
    task = workload.task
    found: dict[str, dict[str, list[float]]] = {name: {} for name in files}
    for number, corruption in enumerate(CORRUPTIONS):
        for severity in SEVERITIES:
            samples = workload.preprocess(corrupt(raw, corruption, severity, seed))
            result = runner.run(files, samples, settings)
            for name, model in result.models.items():
                right = task.scores(task.evidence(model.outputs, samples), labels, workload.threshold)["accuracy"]
                found[name].setdefault(corruption, []).append(round(right, 6))
        watch.progress({"done": (number + 1) / len(CORRUPTIONS)})
    return list(found.values())


def under_load(runner: ModuleType, model: Path, samples: np.ndarray, settings: Settings) -> ColdStart | None:
    """Return the first answer's time over fresh processes, and the pace of a run without a pause.

    None where the runner does not tell when the first answer came.
    """
    import numpy as np

    once = replace(settings, rounds=0, outputs=False)
    first = [
        runner.run({"model": model}, samples[:1], once).models["model"].first_answer_ns for _ in range(COLD_STARTS)
    ]
    if None in first:
        return None
    # How many rounds fill the time is not known before: a few tell.
    trial = replace(settings, rounds=SUSTAINED_ROUNDS_LEAST, outputs=False)
    a_round = float(runner.run({"model": model}, samples, trial).models["model"].times_ns.sum(axis=1).mean()) / 1e9
    rounds = max(SUSTAINED_ROUNDS_LEAST, round(SUSTAINED_SECONDS / a_round))
    times = runner.run({"model": model}, samples, replace(trial, rounds=rounds)).models["model"].times_ns
    seconds = float(times.sum()) / 1e9
    quarter = max(1, len(times) // 4)
    milliseconds = [nanoseconds / 1e6 for nanoseconds in first if nanoseconds is not None]
    return ColdStart(
        first_answer_ms=median_and_range(milliseconds),
        sustained_seconds=round(seconds, 2),
        sustained_p50_us=(float(np.median(times[:quarter])) / 1e3, float(np.median(times[-quarter:])) / 1e3),
    )


def mean_corrupted(row: CandidateRow) -> float | None:
    """Return the mean accuracy over all corruptions and severities, 0 to 1."""
    values = [value for several in (row.corrupted or {}).values() for value in several]
    return sum(values) / len(values) if values else None


def warnings(row: CandidateRow, reference: CandidateRow) -> list[str]:
    """Return where the file loses more accuracy on corrupted pictures than the float file does."""
    if row.corrupted is None or reference.corrupted is None:
        return []
    found = []
    for corruption, ours in row.corrupted.items():
        losses = [theirs - mine for theirs, mine in zip(reference.corrupted[corruption], ours, strict=True)]
        worst = max(range(len(losses)), key=losses.__getitem__)
        shares = (ours[worst], reference.corrupted[corruption][worst])
        error = math.sqrt(sum(share * (1 - share) for share in shares) / SAMPLES)
        if losses[worst] > max(NOTABLE_LOSS, SURE * error):
            found.append(
                f"{corruption}, severity {SEVERITIES[worst]}: {ours[worst]:.1%}, where {reference.name} has "
                f"{reference.corrupted[corruption][worst]:.1%}"
            )
    return found
