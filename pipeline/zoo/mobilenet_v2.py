"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381): inverted residuals with linear bottlenecks."""

from __future__ import annotations

from typing import Any

from pipeline.zoo._blocks import MobileNetOptions as Options
from pipeline.zoo._blocks import conv, divisible, head, inverted_residual, norm, of_pictures, stride_for

DESCRIPTION = "MobileNetV2: pictures of any size, as wide as you like; the usual start for a phone"
SOURCE = "Sandler et al. 2018, arXiv:1801.04381; layers named as in keras.applications"
# Expansion, filters, repeats and first stride, the paper's table 2.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def build(input_shape: tuple[int, ...], outputs: int, **options: Any) -> Any:
    """Return the untrained tf_keras model; its first layers take the weights of keras.applications.MobileNetV2."""
    from pipeline.keras_legacy import keras

    given = Options(**options)
    inputs = keras.Input(of_pictures(input_shape, "mobilenet_v2"))
    x = norm(conv(inputs, divisible(32 * given.width), 3, stride_for(inputs, 2), "Conv1"), "bn_Conv1", 6.0)
    number = 0
    for expansion, filters, repeats, first_stride in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            name = f"block_{number}" if number else "expanded_conv"
            x = inverted_residual(x, divisible(filters * given.width), expansion, 3, stride, name)
            number += 1
    # The last layer is not narrowed below the paper's: it is what a small network tells classes apart by.
    x = norm(conv(x, divisible(1280 * max(1.0, given.width)), 1, 1, "Conv_1"), "Conv_1_bn", 6.0)
    return keras.Model(inputs, head(x, outputs, given.dropout), name="mobilenet_v2")
