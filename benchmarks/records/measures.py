"""What a record's file is held against: bytes, zipped bytes, integers alone, accuracy on two interpreters."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Limits of records that a target's budgets have no words for.
ZIPPED_BYTES_MAX = {"guide_zipped": 5200}
LENET5_SPEEDUP_MIN = {"mnist_fast": 6.0}


def choose(record: str, tried: list[dict[str, Any]], size_bytes_max: int | None) -> dict[str, Any]:
    """Return the best on validation of the seeds whose file keeps to the size, of all where none does.

    tried: for each seed `size_bytes`, `zipped_bytes` and `validation_correct`; the first of equals is taken.
    """
    zipped_max = ZIPPED_BYTES_MAX.get(record, math.inf)
    size_max = math.inf if size_bytes_max is None else size_bytes_max
    fitting = [seed for seed in tried if seed["size_bytes"] <= size_max and seed["zipped_bytes"] <= zipped_max]
    return max(fitting or tried, key=lambda seed: seed["validation_correct"])


def verdict(record: str, of_the_budgets: str, zipped: int, speedup: float) -> str:
    """Return "pass" where the budgets' verdict and the record's other limits say so."""
    kept = zipped <= ZIPPED_BYTES_MAX.get(record, math.inf) and speedup >= LENET5_SPEEDUP_MIN.get(record, 0)
    return of_the_budgets if kept else "fail"


def zipped_bytes(path: Path) -> int:
    """Return the size of a zip archive with this file alone in it, deflated at level 9."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as opened:
        opened.writestr(zipfile.ZipInfo("model.tflite"), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return len(archive.getvalue())


def wilson_interval(correct: int, samples: int) -> tuple[float, float]:
    """Return the 95% interval of a share (Wilson 1927), to the six digits that the logs have."""
    from pipeline.score_intervals import wilson_interval as exact

    low, high = exact(correct, samples)
    return round(low, 6), round(high, 6)


def correct_in_litert(path: Path, samples: np.ndarray, labels: np.ndarray) -> int:
    """Return how many samples, float32 preprocessed, LiteRT with its default kernels classifies correctly."""
    from pipeline.runner import Settings, find_runner

    outputs = find_runner("host").run({"model": path}, samples, Settings()).models["model"].outputs
    return int((outputs.argmax(axis=1) == labels).sum())


def correct_in_micro(path: Path, samples: np.ndarray, labels: np.ndarray) -> int:
    """Return how many samples, float32 preprocessed, TFLite Micro with its reference kernels classifies correctly."""
    import numpy as np
    from tflite_micro.python.tflite_micro import runtime

    from pipeline.inspect import inspect_file

    tensor = inspect_file(path).inputs[0]
    quantized = np.clip(np.round(samples / tensor.scale) + tensor.zero_point, -128, 127).astype(np.int8)
    interpreter = runtime.Interpreter.from_file(str(path))
    correct = 0
    for sample, label in zip(quantized, labels, strict=True):
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        correct += int(interpreter.get_output(0).argmax() == label)
    return correct
