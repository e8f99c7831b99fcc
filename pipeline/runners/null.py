"""A runner that runs nothing: constant numbers, so that a whole build can be tested in seconds.

Every sample is of class 0; the model named "baseline" takes four times as long as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.runner import Device, ModelRun, RunResult, Settings
from pipeline.runners._files import check_model_file

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "runs nothing and gives constant numbers, for tests"
VERSION = "1"
MEASURES_TIME = False

CLASSES = 10
INVOCATIONS = 5  # a round
TIME_NS = 1_000
BASELINE_TIME_NS = 4_000
BARE_BYTES = 1_000_000
LOADED_BYTES = 1_500_000


def device(settings: Settings) -> Device:
    """Return the device that is none."""
    return Device(device_class="null", name="null", fingerprint={"runner": f"null {VERSION}"})


def run(models: Mapping[str, Path], samples: np.ndarray | None, settings: Settings) -> RunResult:
    """Return outputs float32 [n, 10], highest at class 0, and equal times in nanoseconds.

    Raises BadModelFile for a file that does not start as a `.tflite` does.
    """
    import numpy as np

    for path in models.values():
        check_model_file(path)
    outputs = np.zeros((1 if samples is None else len(samples), CLASSES), np.float32)
    outputs[:, 0] = 1
    runs = {
        name: ModelRun(
            outputs=outputs if settings.outputs else None,
            times_ns=np.full(
                (settings.rounds, INVOCATIONS if settings.rounds else 0),
                BASELINE_TIME_NS if name == "baseline" else TIME_NS,
                np.int64,
            ),
            kernels="none",
        )
        for name in models
    }
    return RunResult(device(settings), LOADED_BYTES if models else BARE_BYTES, runs)
