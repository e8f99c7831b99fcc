"""Sampling and statistics of the benchmark, with runners that run nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import benchmark
from pipeline.benchmark import Measurement
from pipeline.intervals import RESAMPLES, Interval, bootstrap_percentiles, interval, round_weights
from pipeline.runner import Device, ModelRun, RunResult, Settings
from pipeline.runners import null
from tests.conformance import FLOAT32, INT8, make_samples

times = st.integers(1, 10**9)


class FakeRunner:
    """Gives times from a list of factors, one a process, and remembers what it was asked."""

    def __init__(self, factors: tuple[float, ...] = (1.0,), growths: tuple[int | None, ...] = (100,)):
        self.factors, self.growths = factors, growths
        self.timed: list[tuple[np.ndarray | None, Settings]] = []
        self.loaded = 0

    def run(self, models: dict[str, Path], samples: np.ndarray | None, settings: Settings) -> RunResult:
        device = Device(device_class="fake", name="fake", fingerprint={})
        if not settings.rounds:
            if not models:
                return RunResult(device, 1000)
            growth = self.growths[self.loaded % len(self.growths)]
            self.loaded += 1
            return RunResult(device, None if growth is None else 1000 + growth)
        factor = self.factors[len(self.timed) % len(self.factors)]
        self.timed.append((samples, settings))
        base = np.arange(1000, 1000 + settings.rounds * 7).reshape(settings.rounds, 7)
        runs = {
            name: ModelRun(None, (base * factor * (3 if name == "baseline" else 1)).astype(np.int64), "fake kernels")
            for name in models
        }
        return RunResult(device, 1000, runs)


def measure(
    runner: Any,
    baseline: Path | None = FLOAT32,
    samples: np.ndarray | None = None,
    decided: Callable[[Measurement], bool] = lambda measurement: True,
    report: Callable[[dict], None] = lambda event: None,
) -> Measurement:
    return benchmark.measure(runner, "fake", INT8, baseline, samples, Settings(threads=2), decided, report)


def test_takes_the_least_blocks_when_decided_at_once() -> None:
    runner = FakeRunner()
    measurement = measure(runner)
    assert len(runner.timed) == benchmark.LEAST_BLOCKS
    assert measurement.latency.rounds == 30
    assert measurement.latency.samples == 210


def test_goes_on_until_decided() -> None:
    runner = FakeRunner()
    measurement = measure(runner, decided=lambda measurement: measurement.latency.rounds >= 50)
    assert len(runner.timed) == 5
    assert measurement.latency.rounds == 50


def test_stops_at_the_bound_undecided() -> None:
    runner = FakeRunner()
    assert measure(runner, decided=lambda measurement: False).latency.rounds == 80
    assert len(runner.timed) == benchmark.MOST_BLOCKS


def test_names_file_device_kernels_and_time() -> None:
    measurement = measure(FakeRunner())
    assert measurement.model_sha256 == hashlib.sha256(INT8.read_bytes()).hexdigest()
    assert measurement.baseline_sha256 == hashlib.sha256(FLOAT32.read_bytes()).hexdigest()
    assert measurement.latency.kernels == "fake kernels"
    assert measurement.latency.device.name == "fake"
    assert measurement.latency.runner == "fake"
    assert measurement.latency.threads == 2
    assert datetime.fromisoformat(measurement.measured_at).utcoffset() is not None
    assert Measurement.model_validate_json(measurement.model_dump_json()) == measurement


def test_without_a_baseline() -> None:
    measurement = measure(FakeRunner(), baseline=None)
    assert measurement.baseline_sha256 is measurement.baseline_latency is measurement.speedup is None


def test_memory_is_the_median_growth_with_its_range() -> None:
    measurement = measure(FakeRunner(growths=(100, 140, 90, 120, 110)))
    assert measurement.memory_bytes == Interval(value=110, low=90, high=140)


def test_memory_is_none_where_the_device_does_not_tell() -> None:
    assert measure(FakeRunner(growths=(None,))).memory_bytes is None


def test_speedup_is_paired() -> None:
    """Processes that slow both models alike widen the latency's interval and not the speed-up's."""
    speedup: Any = measure(FakeRunner(factors=(1.0, 1.3, 0.8))).speedup
    latency = measure(FakeRunner(factors=(1.0, 1.3, 0.8))).latency
    assert speedup.value == pytest.approx(3, rel=0.01)
    assert speedup.high / speedup.low < 1.02
    assert latency.p50_us_interval[1] / latency.p50_us_interval[0] > 1.5


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    measure(FakeRunner(), report=lambda event: shares.append(event["done"]))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 5


def test_each_block_gets_other_samples_and_only_a_few() -> None:
    runner = FakeRunner()
    samples = make_samples(25)
    measure(runner, samples=samples)
    given_samples: list[Any] = [block for block, _ in runner.timed]
    assert np.array_equal(given_samples[0], samples[:10])
    assert np.array_equal(given_samples[2], np.concatenate([samples[20:], samples[:5]]))
    assert all(not settings.outputs and settings.threads == 2 for _, settings in runner.timed)


def test_the_null_runner_is_four_times_as_fast_as_its_baseline() -> None:
    measurement = measure(null, samples=make_samples(3))
    assert measurement.speedup == Interval(value=4, low=4, high=4)
    assert measurement.latency.p50_us_interval == (1.0, 1.0)
    assert measurement.memory_bytes == Interval(value=500_000, low=500_000, high=500_000)


def test_several_files_take_turns_in_the_same_processes() -> None:
    runner, done = FakeRunner(growths=(100, 200)), []
    paths = {"one": INT8, "two": FLOAT32, "baseline": FLOAT32}
    found = benchmark.measure_together(
        runner, "fake", paths, None, Settings(), lambda so_far: True, lambda event: done.append(event["done"])
    )
    assert list(found) == ["one", "two"]
    assert len(runner.timed) == benchmark.LEAST_BLOCKS, "all of them in each process"
    for name, measurement in found.items():
        assert measurement.model_sha256 == hashlib.sha256(paths[name].read_bytes()).hexdigest()
        assert measurement.speedup is not None
        assert measurement.speedup.value == pytest.approx(3, rel=1e-3)
    assert done == sorted(done)
    assert done[-1] == 1


def intervals(blocks: list[np.ndarray]) -> list[Interval]:
    found = bootstrap_percentiles(blocks)
    return [interval(*pair, len(blocks)) for pair in zip(*found, strict=True)]


@st.composite
def some_blocks(draw: st.DrawFn) -> list[np.ndarray]:
    """Blocks of equally many rounds; the invocations a round may differ from block to block."""
    count, rounds = draw(st.integers(3, 8)), draw(st.integers(1, 4))
    widths = [draw(st.integers(1, 4)) for _ in range(count)]
    return [
        np.array(draw(st.lists(st.lists(times, min_size=width, max_size=width), min_size=rounds, max_size=rounds)))
        for width in widths
    ]


@settings(max_examples=50, deadline=None)
@given(some_blocks())
def test_percentiles_are_pooled_and_lie_in_their_intervals(blocks: list[np.ndarray]) -> None:
    values, resampled = bootstrap_percentiles(blocks)
    pooled = np.concatenate([block.ravel() for block in blocks])
    assert values == pytest.approx(np.quantile(pooled, [0.5, 0.9, 0.99], method="inverted_cdf"))
    assert (np.diff(values) >= 0).all()
    assert (np.diff(resampled, axis=0) >= 0).all()
    assert np.isin(resampled, pooled).all()
    for found in intervals(blocks):
        assert 0 < found.low <= found.value <= found.high


@settings(max_examples=25, deadline=None)
@given(some_blocks(), st.integers(2, 1000))
def test_the_unit_does_not_matter(blocks: list[np.ndarray], unit: int) -> None:
    for one, other in zip(intervals(blocks), intervals([block * unit for block in blocks]), strict=True):
        assert [one.low * unit, one.value * unit, one.high * unit] == pytest.approx(
            [other.low, other.value, other.high]
        )


@settings(max_examples=25, deadline=None)
@given(times, st.integers(3, 8))
def test_equal_times_are_certain(time: int, blocks: int) -> None:
    for found in intervals([np.full((2, 3), time)] * blocks):
        assert found.low == found.value == found.high == time


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.integers(1, 20))
def test_each_resample_draws_as_many_rounds_as_there_are(blocks: int, rounds: int) -> None:
    weights = round_weights(blocks, rounds)
    assert weights.shape == (RESAMPLES, blocks * rounds)
    assert (weights.sum(axis=1) == blocks * rounds).all()
    assert (weights.reshape(-1, blocks, rounds).sum(axis=2) % rounds == 0).all()  # whole blocks


@pytest.mark.parametrize("blocks", [3, 8])
def test_intervals_hold_the_true_median_when_processes_differ(blocks: int) -> None:
    """95% intervals hold the truth in at least 92 of 100 experiments whose processes differ by 3%."""
    random = np.random.default_rng(blocks)
    held = 0
    for _ in range(100):
        level = np.exp(random.normal(0, 0.03, (blocks, 1, 1)) + random.normal(0, 0.01, (blocks, 10, 1)))
        sampled = 10_000 * level * np.exp(random.normal(0, 0.005, (blocks, 10, 9)))
        found = intervals(list(sampled.astype(np.int64)))[0]
        held += found.low <= 10_000 <= found.high
    assert held >= 92


def test_more_samples_than_the_grid_change_little() -> None:
    random = np.random.default_rng(0)
    blocks = [random.integers(1000, 2000, (10, 500)) for _ in range(3)]
    values, resampled = bootstrap_percentiles(blocks)
    assert values == pytest.approx([1500, 1900, 1990], rel=0.01)
    assert resampled.mean(axis=1) == pytest.approx(values, rel=0.005)
