"""The dense autoencoder of MLPerf Tiny's anomaly detection (Banbury et al. 2021, arXiv:2106.07597).

Four dense layers of 128 down to 8 values, and four back. It repeats its input: for the task `anomaly`.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

DESCRIPTION = "Autoencoder of MLPerf Tiny: anomalies in vectors or spectra, 269,992 parameters at 640 values"
SOURCE = "Banbury et al. 2021, arXiv:2106.07597; Koizumi et al. 2020, arXiv:2006.05822 (DCASE task 2's baseline)"


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    units: int = Field(128, ge=1, le=4096, description="Units of each dense layer.")
    layers: int = Field(4, ge=1, le=16, description="Dense layers on the way down, and as many on the way up.")
    code: int = Field(8, ge=1, le=4096, description="Values in the middle, through which everything has to go.")


def build(input_shape: tuple[int, ...], outputs: int, **options: Any) -> Any:
    """Return the untrained tf_keras model: [batch, *input_shape] in and out. `outputs` changes nothing."""
    from pipeline.keras_legacy import keras

    given, layers = Options(**options), keras.layers
    model = keras.Sequential([keras.Input(input_shape)], name="autoencoder")
    if len(input_shape) > 1:
        model.add(layers.Flatten(name="flatten"))
    widths = [given.units] * given.layers + [given.code] + [given.units] * given.layers
    for number, units in enumerate(widths, 1):
        model.add(layers.Dense(units, name=f"dense{number}"))
        model.add(layers.BatchNormalization(momentum=0.95, name=f"dense{number}_bn"))
        model.add(layers.ReLU(name=f"dense{number}_relu"))
    model.add(layers.Dense(math.prod(input_shape), name="reconstruction"))
    if len(input_shape) > 1:
        model.add(layers.Reshape(input_shape, name="reshape"))
    return model
