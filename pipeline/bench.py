"""Files on their runner, measured anew or taken from a stored measurement that still holds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files import sha256_of
from pipeline.project import BENCHMARK, Project
from pipeline.runner import find_runner
from pipeline.store import key_of
from pipeline.target import Target
from pipeline.target_runner import find_evaluator, is_evaluated_elsewhere, settings_of
from pipeline.verdict import Verdict, undecided
from pipeline.watch import Watch
from pipeline.workload import Workload

if TYPE_CHECKING:
    from pipeline.benchmark import Least, Measurement
    from pipeline.documents import DeviceRecord, LatencyRecord

BENCHMARK_SAMPLES = 64


def measured(
    target: Target,
    workload: Workload | None,
    model: Path,
    baseline: Path | None,
    project: Project,
    watch: Watch,
    *,
    verdicts: Callable[[Measurement], list[Verdict]],
    reuse: bool,
    least: Least | None = None,
) -> Measurement:
    """Return the Measurement of `model`: a stored one that still decides, or a new one.

    A stored one counts only for the same files, settings, runner version and device, and
    never when it leaves a verdict open. An undecided measurement is not stored.
    """
    from pipeline.benchmark import Least, Measurement, measure
    from pipeline.machine_lock import benchmarking

    runner = find_runner(target.measured_by, project.root)
    if not getattr(runner, "TAKES_BASELINE", True):
        baseline = None
    settings = settings_of(target, outputs=False, runner=runner)
    record = {
        "format": 3,
        "step": BENCHMARK,
        "workload": workload.name if workload else None,
        "model": sha256_of(model),
        "baseline": sha256_of(baseline) if baseline else None,
        "settings": {"threads": settings.threads, **target.limits.model_dump()},
        "runner": {"name": target.measured_by, "version": runner.VERSION},
        "device": runner.device(settings).model_dump(),
        "device_settings": settings.config.model_dump(mode="json") if settings.config else None,
    }
    key = key_of(record)
    if reuse and (entry := project.store.get(key)):
        stored = Measurement.model_validate(entry.facts).model_copy(update={"reused": True})
        stored._contents = {name: (entry.folder / name).read_bytes() for name in stored.files}
        if not undecided(verdicts(stored)):
            watch.stage_done("benchmark", False, entry.seconds, {})
            return stored
    watch.stage_started("benchmark", None)
    started = time.perf_counter()
    samples = None
    if workload:
        samples = workload.preprocess(workload.load("validation")[0][:BENCHMARK_SAMPLES])
    lock = benchmarking(watch.note) if runner.MEASURES_TIME else contextlib.nullcontext()
    with lock:
        found = measure(
            runner,
            target.measured_by,
            model,
            baseline,
            samples,
            settings,
            lambda so_far: not undecided(verdicts(so_far), by_rounds=True),
            watch.progress,
            least or Least(),
        )
    if workload and is_evaluated_elsewhere(runner):
        from pipeline.device_check import check_device

        _, evaluator = find_evaluator(target, project.root)
        asked, host = replace(settings, outputs=True), settings_of(target)
        check = check_device(runner, asked, evaluator, host, model, workload)
        found = found.model_copy(update={"device_check": check})
    seconds = time.perf_counter() - started
    watch.stage_done("benchmark", True, seconds, {})
    if workload and not undecided(verdicts(found)):
        with project.store.making(key), project.store.working_folder(key) as folder:
            for name, content in found.contents.items():
                (folder / name).write_bytes(content)
            project.store.put(key, record, folder, found.model_dump(mode="json"), seconds)
    return found


def device_record(measurement: Measurement, runner: str) -> DeviceRecord:
    """Return what the device told besides times, as it stands in the documents."""
    from pipeline.documents import DeviceRecord

    shared = set(DeviceRecord.model_fields) - {"runner", "files"}
    return DeviceRecord(
        **{name: getattr(measurement, name) for name in shared},
        runner=runner,
        files={name: sha256(content).hexdigest() for name, content in measurement.contents.items()},
    )


def latency_record(measurement: Measurement) -> LatencyRecord | None:
    """Return the latency as it stands in the documents; None where the device gives no times."""
    from pipeline.documents import LatencyRecord

    if measurement.latency is None:
        return None
    baseline = measurement.baseline_latency
    return LatencyRecord(
        **measurement.latency.model_dump(),
        baseline_p50_us=baseline.p50_us if baseline else None,
        speedup=measurement.speedup,
        memory_bytes=measurement.memory_bytes,
        first_answer_ms=measurement.first_answer_ms,
        first_inference_ms=measurement.first_inference_ms,
        noise=measurement.noise,
        measured_at=measurement.measured_at,
        reused=measurement.reused,
    )
