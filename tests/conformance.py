"""What every runner must do. A runner's test subclasses `RunnerConformance` and names its module:

class TestMine(RunnerConformance):
    runner = mine
"""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pipeline.errors import BadModelFile
from pipeline.runner import Device, Settings

DATA = Path(__file__).parent / "data"
INT8, FLOAT32 = DATA / "tiny_int8.tflite", DATA / "tiny_float32.tflite"
BOTH = {"model": INT8, "baseline": FLOAT32}


def make_samples(count: int) -> np.ndarray:
    """Return samples that fit the tiny models, float32 [count, 28, 28, 1] in 0..1."""
    return np.random.default_rng(1).random((count, 28, 28, 1), dtype=np.float32)


class RunnerConformance:
    """Needs a runner that takes the tiny models of `tests/data`."""

    runner: ModuleType
    model = INT8  # another one of the tiny models where the device takes no int8
    loads_models = True  # false for a runner that looks no further than a file's first bytes
    gives_outputs = True
    gives_times = True

    def settings(self, **changes: Any) -> Settings:
        """Return the settings that reach the device under test."""
        return Settings(**changes)

    def both(self) -> dict[str, Path]:
        return {"model": self.model, "baseline": FLOAT32}

    def test_says_what_it_is(self) -> None:
        assert self.runner.DESCRIPTION
        assert "\n" not in self.runner.DESCRIPTION
        assert isinstance(self.runner.VERSION, str)
        assert self.runner.VERSION
        assert isinstance(self.runner.MEASURES_TIME, bool)

    def test_device_is_filled_and_stable(self) -> None:
        device = self.runner.device(self.settings())
        assert isinstance(device, Device)
        assert device.device_class
        assert device.name
        assert device.fingerprint
        assert (
            self.runner.run({}, make_samples(1), self.settings()).device
            == device
            == self.runner.device(self.settings())
        )

    def test_outputs_are_float32_and_one_a_sample(self) -> None:
        result = self.runner.run(self.both(), make_samples(3), self.settings())
        assert list(result.models) == ["model", "baseline"]
        for run in result.models.values():
            if self.gives_outputs:
                assert run.outputs.shape == (3, 10)
                assert run.outputs.dtype == np.float32
            else:
                assert run.outputs is None
            assert run.times_ns.size == 0
            assert run.kernels

    def test_outputs_are_left_out_on_request(self) -> None:
        result = self.runner.run(self.both(), make_samples(3), self.settings(outputs=False))
        assert result.models["model"].outputs is None

    def test_rounds_of_several_models_are_rectangles_of_positive_times(self) -> None:
        result = self.runner.run(
            {"model": self.model, "baseline": FLOAT32}, make_samples(2), self.settings(rounds=3, outputs=False)
        )
        for run in result.models.values():
            assert run.times_ns.dtype == np.int64
            if not self.gives_times:
                assert run.times_ns.size == 0
                continue
            assert run.times_ns.ndim == 2
            assert len(run.times_ns) == 3
            assert run.times_ns.shape[1] > 0
            assert (run.times_ns > 0).all()

    def test_a_model_takes_memory_over_none(self) -> None:
        bare = self.runner.run({}, make_samples(2), self.settings())
        loaded = self.runner.run({"model": self.model}, make_samples(2), self.settings())
        assert bare.models == {}
        if bare.peak_resident_bytes is not None:
            assert 0 < bare.peak_resident_bytes < loaded.peak_resident_bytes

    def test_runs_without_samples(self) -> None:
        results = [self.runner.run({"model": self.model}, None, self.settings()) for _ in range(2)]
        outputs, again = (result.models["model"].outputs for result in results)
        if not self.gives_outputs:
            assert outputs is None
            return
        assert len(outputs) >= 1
        assert np.array_equal(outputs, again)

    @pytest.mark.parametrize(
        ("content", "needs_loading"),
        [
            (None, False),
            (b"", False),
            (random.Random(1).randbytes(3000), False),
            (INT8.read_bytes()[:6], False),
            (INT8.read_bytes()[:1500], True),
            (b"\x1c\0\0\0TFL3" + random.Random(2).randbytes(3000), True),
        ],
        ids=["missing", "empty", "random", "cut in the header", "cut in half", "random after the header"],
    )
    def test_bad_file_is_named(self, tmp_path: Path, content: bytes | None, needs_loading: bool) -> None:
        if needs_loading and not self.loads_models:
            return
        path = tmp_path / "bad.tflite"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadModelFile) as caught:
            self.runner.run({"baseline": FLOAT32, "model": path}, make_samples(1), self.settings())
        assert str(path) in caught.value.message
        assert caught.value.received
        assert caught.value.expected
        assert caught.value.fix
