"""How far each layer's output is off that of the float32 file's, the worst layer first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.anatomy.document import LayerNoise
from pipeline.layer_errors import layer_errors

if TYPE_CHECKING:
    import numpy as np


def layer_noise(baseline: Path, model: Path, samples: np.ndarray, layers: Mapping[int, str]) -> list[LayerNoise]:
    """Return the errors of the operators, that of the most own noise first.

    layers: by position of the model's operators. samples: float32 [n, *input_shape]. Raises StepFailed when the
    files are not of one network.
    """
    rows = [
        LayerNoise(
            layer=layers[error.quantized_operator.position],
            operator=error.quantized_operator.kind,
            noise=error.noise,
            own_noise=error.own_noise,
            sqnr_db=error.sqnr_db,
        )
        for error in layer_errors(baseline, model, samples)
    ]
    return sorted(rows, key=lambda row: -row.own_noise)
