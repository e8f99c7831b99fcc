"""Energy is told where the processor counts it, and never made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.energy import energy_of, read_microjoules
from pipeline.runner import Device, ModelRun, RunResult, Settings


def zone(root: Path, energy: int) -> Path:
    folder = root / "intel-rapl:0"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("name", "package-0"), ("max_energy_range_uj", "9999"), ("energy_uj", str(energy))):
        (folder / name).write_text(f"{value}\n")
    return folder


def counting(root: Path, each: int) -> SimpleNamespace:
    """Return a runner that spends 50 µJ a run and `each` an invocation, of which a round has 2."""

    def run(models, samples, settings):
        folder = root / "intel-rapl:0"
        spent = (int((folder / "energy_uj").read_text()) + 50 + settings.rounds * 2 * each) % 10_000
        (folder / "energy_uj").write_text(str(spent))
        times = np.ones((settings.rounds, 2), np.int64)
        return RunResult(Device(device_class="x", name="x", fingerprint={}), 1, {"model": ModelRun(None, times, "")})

    return SimpleNamespace(run=run)


@pytest.mark.parametrize("start", [0, 9_900])
def test_the_difference_of_two_runs_is_what_an_invocation_takes(tmp_path: Path, start: int) -> None:
    zone(tmp_path, start)
    figure = energy_of(counting(tmp_path, 7), Path("a.tflite"), Settings(), tmp_path)
    assert figure is not None
    assert figure.value == 7
    assert "whole processor package" in figure.note


def test_without_counters_there_is_no_figure(tmp_path: Path) -> None:
    assert read_microjoules(tmp_path) is None
    assert energy_of(counting(tmp_path, 7), Path("a.tflite"), Settings(), tmp_path) is None
    zone(tmp_path, 0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("secret")
    assert read_microjoules(tmp_path) is None
