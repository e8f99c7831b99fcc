"""The null runner: constant numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.runner import Settings
from pipeline.runners import null
from tests.conformance import BOTH, RunnerConformance, make_samples


class TestNull(RunnerConformance):
    runner = null
    loads_models = False


def test_numbers_are_constant() -> None:
    result: Any = null.run(BOTH, make_samples(4), Settings(rounds=2))
    assert (result.models["model"].times_ns == 1000).all()
    assert (result.models["baseline"].times_ns == 4000).all()
    assert (result.models["model"].outputs.argmax(axis=1) == 0).all()
    assert result.peak_resident_bytes == 1_500_000
    assert null.run({}, make_samples(4), Settings()).peak_resident_bytes == 1_000_000
    assert result.device.device_class == "null"
    assert not null.MEASURES_TIME
    assert result.models["model"].outputs.dtype == np.float32
