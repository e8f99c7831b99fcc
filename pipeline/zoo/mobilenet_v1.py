"""MobileNetV1 (Howard et al. 2017, arXiv:1704.04861): depthwise separable convolutions, 13 of them."""

from __future__ import annotations

from typing import Any

from pipeline.zoo._blocks import MobileNetOptions as Options
from pipeline.zoo._blocks import conv, depthwise, head, norm, of_pictures, stride_for

DESCRIPTION = "MobileNetV1: pictures of any size, as wide as you like; the visual wake words network at width 0.25"
SOURCE = "Howard et al. 2017, arXiv:1704.04861; layers named as in keras.applications"
# Filters and stride of each separable convolution, the paper's table 1.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def build(input_shape: tuple[int, ...], outputs: int, **options: Any) -> Any:
    """Return the untrained tf_keras model; its first layers take the weights of keras.applications.MobileNet."""
    from pipeline.keras_legacy import keras

    given = Options(**options)
    inputs = keras.Input(of_pictures(input_shape, "mobilenet_v1"))
    x = conv(inputs, max(1, int(32 * given.width)), 3, stride_for(inputs, 2), "conv1")
    x = norm(x, "conv1_bn", 6.0)
    for number, (filters, stride) in enumerate(BLOCKS, 1):
        x = norm(depthwise(x, 3, stride_for(x, stride), f"conv_dw_{number}"), f"conv_dw_{number}_bn", 6.0)
        x = norm(conv(x, max(1, int(filters * given.width)), 1, 1, f"conv_pw_{number}"), f"conv_pw_{number}_bn", 6.0)
    return keras.Model(inputs, head(x, outputs, given.dropout), name="mobilenet_v1")
