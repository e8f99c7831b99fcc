"""LeNet-5 as Caffe and Deep Compression (Han, Mao, Dally 2016, arXiv:1510.00149) have it: 20-50-500."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.zoo._blocks import of_pictures

DESCRIPTION = "LeNet-5 (20-50-500): small grey pictures, 431,080 parameters at 28×28×1 with 10 classes"
SOURCE = "LeCun et al. 1998, doi:10.1109/5.726791; widths of Han, Mao, Dally 2016, arXiv:1510.00149"


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    width: float = Field(1.0, gt=0, le=4, description="Share of the published filters and units, 0 to 4.")


def build(input_shape: tuple[int, ...], outputs: int, **options: Any) -> Any:
    """Return the untrained tf_keras model: [batch, height, width, channels] in, [batch, outputs] logits out."""
    from pipeline.keras_legacy import keras

    first, second, units = (max(1, round(count * Options(**options).width)) for count in (20, 50, 500))
    return keras.Sequential(
        [
            keras.Input(of_pictures(input_shape, "lenet5", least=16)),
            keras.layers.Conv2D(first, 5, activation="relu", name="conv1"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(second, 5, activation="relu", name="conv2"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation="relu", name="dense1"),
            keras.layers.Dense(outputs, name="logits"),
        ],
        name="lenet5",
    )
