"""What a record's file is held against: bytes, zipped bytes, integers alone, accuracy on two interpreters."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Z_95 = 1.959964


def zipped_bytes(path: Path) -> int:
    """Return the size of a zip archive with this file alone in it, deflated at level 9."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as opened:
        opened.writestr(zipfile.ZipInfo("model.tflite"), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return len(archive.getvalue())


def wilson_interval(correct: int, samples: int) -> tuple[float, float]:
    """Return the 95% interval of a share (Wilson 1927)."""
    share, z2 = correct / samples, Z_95**2
    centre = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = Z_95 / (1 + z2 / samples) * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2))
    return round(centre - half, 6), round(centre + half, 6)


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
