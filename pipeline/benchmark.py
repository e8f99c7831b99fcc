"""Measures a `.tflite`: latency, speed-up over a baseline and memory, each with its interval.

Samples come in blocks. A block is one call of the runner, so one fresh process, in which the
model and its baseline take turns for `ROUNDS` rounds. Blocks are added until the caller has
decided, from 3 to 8 of them. The machine-wide lock belongs to the caller. `intervals.py` says
how sure a number is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from pipeline.files import sha256_of
from pipeline.intervals import CONFIDENCE, Interval, bootstrap_percentiles, interval, median_and_range
from pipeline.noise import Noise, noise_of
from pipeline.runner import Device, Figure, RunResult, Settings

if TYPE_CHECKING:
    import numpy as np

BASELINE = "baseline"  # the name of the file that speed-ups are taken over
ROUNDS = 10  # a block
LEAST_BLOCKS, MOST_BLOCKS = 3, 8
MOST_BLOCKS_ASKED = 200  # where the caller wants so many runs, or so long a time
MEMORY_PAIRS = 5


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Latency(_Strict):
    """How long one invocation of one file takes on one device."""

    runner: str = Field(description="Name of the runner that measured.")
    device: Device = Field(description="What it was measured on.")
    threads: int = Field(description="Interpreter threads.")
    kernels: str = Field(description="Who computed: a delegate or built-in kernels.")
    p50_us: float = Field(description="Median over all invocations, in microseconds.")
    p90_us: float = Field(description="90th percentile over all invocations, in microseconds.")
    p99_us: float = Field(description="99th percentile over all invocations, in microseconds.")
    p50_us_interval: tuple[float, float] = Field(description="Interval of the median, in microseconds.")
    p90_us_interval: tuple[float, float] = Field(description="Interval of the 90th percentile, in microseconds.")
    p99_us_interval: tuple[float, float] = Field(description="Interval of the 99th percentile, in microseconds.")
    confidence: float = Field(CONFIDENCE, description="Share of such intervals that hold the true value.")
    samples: int = Field(description="Times that were taken.")
    invocations_a_time: int = Field(1, description="Invocations that each of the times is the mean or median of.")
    rounds: int = Field(description="Rounds that they were taken in.")


class DeviceCheck(_Strict):
    """The answers of the device to the same samples as the evaluating runner's, and what they are worth."""

    samples: int = Field(description="Validation samples that both answered.")
    differences: int = Field(description="Samples that the device answers otherwise.")
    differences_max: int = Field(description="How many may differ: rounding alone explains them.")
    steps_max: int = Field(description="How many steps of the output rounding alone may move a class.")
    beyond_steps_max: int = Field(description="Of the differences, those where the two classes lie further apart.")
    largest_difference_steps: float = Field(
        description="Largest difference of one output, in steps: the output's scale, or 1e-4 of its range in float."
    )
    first_difference: str = Field("", description="The first operator whose output differs by more than it should.")
    test_samples: int = Field(description="Test samples that both answered.")
    metric: str = Field(description="The workload's metric.")
    score: float = Field(description="The device's score on those.")
    host_score: float = Field(description="The evaluating runner's score on those.")


@dataclass(frozen=True)
class Least:
    """How much a caller wants at least, whatever is decided before."""

    runs: int = 0  # timed invocations of each file
    seconds: float = 0.0  # of timed invocations of each file


class Measurement(_Strict):
    """Everything measured on one file, with the hash of that file."""

    model_sha256: str = Field(description="SHA-256 of the measured file.")
    baseline_sha256: str | None = Field(description="SHA-256 of the file that it is compared with, if any.")
    device: Device = Field(description="What it was measured on.")
    latency: Latency | None = Field(description="Latency of the file; None where the device gives no times.")
    baseline_latency: Latency | None = Field(description="Latency of the baseline, in the same processes.")
    speedup: Interval | None = Field(description="Baseline's median latency over the file's.")
    memory_bytes: Interval | None = Field(
        description="Growth of the process's peak resident size over the same process without a model: median, "
        "smallest and largest of five, or of the timed processes where the device tells just the growth; None where "
        "it does not tell."
    )
    peak_resident_bytes: Interval | None = Field(
        None, description="The process's peak resident size with the model: median, smallest and largest of five."
    )
    first_answer_ms: Interval | None = Field(
        None, description="From the file on disk to its first output: median, smallest and largest of the processes."
    )
    first_inference_ms: Interval | None = Field(
        None, description="The first invocation of the loaded file: median, smallest and largest of the processes."
    )
    noise: Noise | None = Field(None, description="How steady the times were; None without times.")
    figures: dict[str, Figure] = Field({}, description="What else the device tells of the file.")
    files: tuple[str, ...] = Field((), description="Names of what the device's tools made, beside the file.")
    conditions: dict[str, str] = Field({}, description="State of the device while it measured, as far as it tells.")
    device_check: DeviceCheck | None = Field(
        None, description="The device's answers against the evaluating runner's; None where that is the same one."
    )
    measured_at: str = Field(description="When, ISO 8601 in UTC.")
    reused: bool = Field(False, description="Whether this is a stored result of the same file and device.")
    _contents: dict[str, bytes] = PrivateAttr({})

    @property
    def contents(self) -> dict[str, bytes]:
        """What `files` names, by file name."""
        return self._contents


def measure(
    runner: ModuleType,
    runner_name: str,
    model: Path,
    baseline: Path | None,
    samples: np.ndarray | None,
    settings: Settings,
    decided: Callable[[Measurement], bool],
    report: Callable[[dict], None],
    least: Least = Least(),
) -> Measurement:
    """Measure until `decided` says that the intervals are narrow enough, or the bound is reached.

    samples: float32 [n, *input_shape], preprocessed, or None for random ones; `rounds` and
    `outputs` of the settings are chosen here. `report` gets {"done": share from 0 to 1}.
    Raises what the runner raises.
    """
    paths = {"model": model, **({BASELINE: baseline} if baseline else {})}
    found = measure_together(
        runner, runner_name, paths, samples, settings, lambda measured: decided(measured["model"]), report, least
    )
    return found["model"]


def measure_together(
    runner: ModuleType,
    runner_name: str,
    paths: dict[str, Path],
    samples: np.ndarray | None,
    settings: Settings,
    decided: Callable[[dict[str, Measurement]], bool],
    report: Callable[[dict], None],
    least: Least = Least(),
) -> dict[str, Measurement]:
    """Measure several files whose rounds take turns in the same processes, as `measure` does one.

    The path named "baseline", if there is one, is what the others' speed-up is taken over; it
    has no Measurement of its own.
    """
    names = [name for name in paths if name != BASELINE]
    steps = len(names) * MEMORY_PAIRS + MOST_BLOCKS
    memory: dict[str, tuple[Interval, Interval] | None] = {}
    tells_memory = True
    for number, name in enumerate(names):
        pairs: list[tuple[int, int]] = []
        for pair in range(MEMORY_PAIRS if tells_memory else 0):
            pairs += (found := _memory_pair(runner, paths[name], _slice(samples, 0), settings))
            if not found:
                tells_memory = False  # nor will it the next time, and a device can be slow to reach
                break
            report({"done": (number * MEMORY_PAIRS + pair + 1) / steps})
        memory[name] = None
        if pairs:
            memory[name] = (
                median_and_range([grown for grown, _ in pairs]),
                median_and_range([peak for _, peak in pairs]),
            )
    results: list[RunResult] = []
    while True:
        timing = replace(settings, rounds=ROUNDS, outputs=False)
        results.append(runner.run(paths, _slice(samples, len(results)), timing))
        report({"done": (steps - MOST_BLOCKS + len(results)) / steps})
        timed = results[0].models[names[0]].times_ns.size > 0
        if timed and (len(results) < LEAST_BLOCKS or _wants_more(results, names, least)):
            continue
        measured = _measurements(runner_name, paths, results, settings.threads, memory)
        if not timed or len(results) >= MOST_BLOCKS or decided(measured):
            report({"done": 1.0})
            return _with_noise(measured, results) if timed else measured


def _wants_more(results: list[RunResult], names: list[str], least: Least) -> bool:
    """Whether a file has had fewer runs, or less time, than the caller wants."""
    if len(results) >= MOST_BLOCKS_ASKED:
        return False
    times = [[result.models[name].times_ns for result in results] for name in names]
    runs = min(sum(block.size for block in blocks) for blocks in times)
    return runs < least.runs or min(sum(int(block.sum()) for block in blocks) for blocks in times) < least.seconds * 1e9


def _with_noise(measured: dict[str, Measurement], results: list[RunResult]) -> dict[str, Measurement]:
    found = {}
    conditions = [result.conditions for result in results]
    for name, measurement in measured.items():
        latency = measurement.latency
        if latency is None:
            return measured
        width = (latency.p50_us_interval[1] - latency.p50_us_interval[0]) / latency.p50_us
        blocks = [result.models[name].times_ns for result in results]
        found[name] = measurement.model_copy(update={"noise": noise_of(blocks, width, conditions)})
    return found


def _memory_pair(
    runner: ModuleType, model: Path, samples: np.ndarray | None, settings: Settings
) -> list[tuple[int, int]]:
    """Return by how many bytes the model lets the process grow, and to how many; empty where the device is silent."""
    once = replace(settings, rounds=0, outputs=False)
    bare = runner.run({}, samples, once).peak_resident_bytes
    if bare is None:
        return []
    loaded = runner.run({"model": model}, samples, once).peak_resident_bytes
    return [] if loaded is None else [(loaded - bare, loaded)]


def _slice(samples: np.ndarray | None, block: int) -> np.ndarray | None:
    """Return other samples for each block, one a round, counted round and round."""
    if samples is None:
        return None
    return samples[[index % len(samples) for index in range(block * ROUNDS, (block + 1) * ROUNDS)]]


def _measurements(
    runner_name: str,
    paths: dict[str, Path],
    results: Sequence[RunResult],
    threads: int,
    memory: dict[str, tuple[Interval, Interval] | None],
) -> dict[str, Measurement]:
    blocks = {name: [result.models[name].times_ns for result in results] for name in paths}
    percentiles = {name: bootstrap_percentiles(blocks[name]) for name in paths if blocks[name][0].size}

    def latency(name: str) -> Latency | None:
        if name not in percentiles:
            return None
        p50, p90, p99 = (interval(*pair, len(results)) for pair in zip(*percentiles[name], strict=True))
        return Latency(
            runner=runner_name,
            device=results[-1].device,
            threads=threads,
            kernels=results[-1].models[name].kernels,
            p50_us=p50.value / 1e3,
            p90_us=p90.value / 1e3,
            p99_us=p99.value / 1e3,
            p50_us_interval=(p50.low / 1e3, p50.high / 1e3),
            p90_us_interval=(p90.low / 1e3, p90.high / 1e3),
            p99_us_interval=(p99.low / 1e3, p99.high / 1e3),
            samples=sum(times.size for times in blocks[name]),
            invocations_a_time=results[-1].models[name].invocations_a_time,
            rounds=sum(len(times) for times in blocks[name]),
        )

    def speedup(name: str) -> Interval:
        # Resample for resample, both medians come from the same blocks and rounds.
        theirs, ours = percentiles[BASELINE], percentiles[name]
        return interval(theirs.values[0] / ours.values[0], theirs.resampled[0] / ours.resampled[0], len(results))

    has_baseline = BASELINE in percentiles
    measured_at = datetime.now(UTC).isoformat(timespec="seconds")
    found = {
        name: Measurement(
            model_sha256=sha256_of(paths[name]),
            baseline_sha256=sha256_of(paths[BASELINE]) if has_baseline else None,
            device=results[-1].device,
            latency=latency(name),
            baseline_latency=latency(BASELINE) if has_baseline else None,
            speedup=speedup(name) if has_baseline else None,
            memory_bytes=pair[0] if pair else _of_blocks([result.models[name].memory_bytes for result in results]),
            peak_resident_bytes=pair[1] if pair else None,
            first_answer_ms=_of_blocks([result.models[name].first_answer_ns for result in results], 1e6),
            first_inference_ms=_of_blocks([result.models[name].first_inference_ns for result in results], 1e6),
            figures=results[-1].models[name].figures,
            files=tuple(sorted(results[-1].models[name].files)),
            conditions=results[-1].conditions,
            measured_at=measured_at,
        )
        for name, pair in memory.items()
    }
    for name, measurement in found.items():
        measurement._contents = dict(results[-1].models[name].files)
    return found


def _of_blocks(values: Sequence[int | None], unit: float = 1) -> Interval | None:
    """Return median and range over the blocks, in so many of the values' own units; None where nothing was told."""
    told = [value / unit for value in values if value is not None]
    return median_and_range(told) if told else None
