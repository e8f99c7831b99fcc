"""Noise is named, and a steady measurement is not called unstable."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.noise import drift_of, noise_of

STEADY = {"other_load": "0.01", "steal": "0.00", "governor": "performance"}


def blocks(seed: int = 0, *, outliers: float = 0.0, drift: float = 0.0) -> list[np.ndarray]:
    """Return three blocks of 10 rounds of 200 invocations around 30 µs."""
    random = np.random.default_rng(seed)
    times = 30_000 * np.exp(random.normal(0, 0.02, (30, 200)))
    times *= np.linspace(1, 1 + drift, 30)[:, np.newaxis]
    times[random.random(times.shape) < outliers] *= 3
    return [part.astype(np.int64) for part in np.split(times, 3)]


def test_a_steady_measurement_is_stable() -> None:
    noise = noise_of(blocks(), 0.01, [STEADY] * 3)
    assert noise.unstable == []
    assert (noise.outlier_share, noise.drift, noise.other_load, noise.governor) == (0, 0, 0.01, "performance")


def test_outliers_are_counted() -> None:
    noise = noise_of(blocks(outliers=0.1), 0.01, [STEADY] * 3)
    assert noise.outlier_share == pytest.approx(0.1, abs=0.02)
    assert "took over 1.5 times the median" in noise.unstable[0]


@pytest.mark.parametrize("drift", [0.2, -0.2])
def test_a_drift_is_seen_with_its_sign(drift: float) -> None:
    noise = noise_of(blocks(drift=drift), 0.01, [STEADY] * 3)
    assert noise.drift == pytest.approx(drift, rel=0.25)
    assert any("drift" in reason for reason in noise.unstable)


def test_chance_is_seldom_a_drift() -> None:
    random = np.random.default_rng(3)
    found = [drift_of(list(random.normal(30, 1, 30))) for _ in range(300)]
    assert sum(value != 0 for value in found) < 300 * 0.04
    assert drift_of([1.0, 2.0]) == 0
    assert drift_of([5.0] * 30) == 0


@pytest.mark.parametrize(
    ("condition", "words"),
    [({"other_load": "0.50"}, "other programs used 50% of the cores"), ({"steal": "0.10"}, "hypervisor took 10%")],
)
def test_what_others_took_is_named(condition: dict[str, str], words: str) -> None:
    noise = noise_of(blocks(), 0.01, [STEADY | condition] * 3)
    assert [words in reason for reason in noise.unstable] == [True]


def test_a_wide_interval_is_unstable() -> None:
    assert "interval is 30% wide" in noise_of(blocks(), 0.3, [STEADY] * 3).unstable[0]


def test_what_is_not_told_is_null() -> None:
    noise = noise_of(blocks(), 0.01, [{}] * 3)
    assert (noise.other_load, noise.steal, noise.governor, noise.unstable) == (None, None, None, [])
