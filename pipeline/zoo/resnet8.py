"""ResNet-8 as in MLPerf Tiny's image classification (Banbury et al. 2021, arXiv:2106.07597).

Residual blocks of He et al. 2015, arXiv:1512.03385: three stacks of one block, 16, 32 and 64 filters.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.zoo._blocks import conv, head, norm, of_pictures

DESCRIPTION = "ResNet-8 of MLPerf Tiny: small pictures on microcontrollers, 78,666 parameters at 32×32×3"
SOURCE = "Banbury et al. 2021, arXiv:2106.07597; He et al. 2015, arXiv:1512.03385"


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: int = Field(16, ge=1, le=512, description="Filters of the first stack; the others have 2 and 4 times.")


def build(input_shape: tuple[int, ...], outputs: int, **options: Any) -> Any:
    """Return the untrained tf_keras model: [batch, height, width, channels] in, [batch, outputs] logits out."""
    from pipeline.keras_legacy import keras

    filters = Options(**options).filters
    inputs = keras.Input(of_pictures(input_shape, "resnet8"))
    x = norm(conv(inputs, filters, 3, 1, "conv1", use_bias=True), "conv1_bn", "relu")
    for stack in (1, 2, 3):
        stride, width = (1, filters) if stack == 1 else (2, filters * 2 ** (stack - 1))
        name = f"stack{stack}"
        inner = norm(conv(x, width, 3, stride, f"{name}_conv1", use_bias=True), f"{name}_conv1_bn", "relu")
        inner = norm(conv(inner, width, 3, 1, f"{name}_conv2", use_bias=True), f"{name}_conv2_bn")
        if stack > 1:
            x = conv(x, width, 1, stride, f"{name}_shortcut", use_bias=True)
        x = keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([x, inner]))
    return keras.Model(inputs, head(x, outputs), name="resnet8")
