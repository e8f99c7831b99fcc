"""Dense layers for tabular data: what a table's few columns need."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

DESCRIPTION = "Dense layers: rows of a table, one row in, one answer out"
SOURCE = "Rumelhart, Hinton, Williams 1986, doi:10.1038/323533a0"


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    units: int = Field(64, ge=1, le=4096, description="Units of the first hidden layer; each further one has half.")
    layers: int = Field(2, ge=1, le=16, description="Hidden layers.")


def build(input_shape: tuple[int, ...], outputs: int, **options: Any) -> Any:
    """Return the untrained tf_keras model: [batch, *input_shape] in, [batch, outputs] out, no activation last."""
    from pipeline.keras_legacy import keras

    given = Options(**options)
    model = keras.Sequential([keras.Input(input_shape)], name="dense")
    if len(input_shape) > 1:
        model.add(keras.layers.Flatten(name="flatten"))
    for number in range(given.layers):
        units = max(1, given.units // 2**number)
        model.add(keras.layers.Dense(units, activation="relu", name=f"dense{number + 1}"))
    model.add(keras.layers.Dense(outputs, name="logits"))
    return model
