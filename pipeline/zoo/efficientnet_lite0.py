"""EfficientNet-Lite0: EfficientNet (Tan, Le 2019, arXiv:1905.11946) without what edge accelerators lack.

No squeeze-and-excitation, ReLU6 for swish, stem and head of fixed width: google's tpu repository,
models/official/efficientnet/lite. The architecture alone; its published weights are in another format.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.zoo._blocks import conv, head, inverted_residual, norm, of_pictures, stride_for

DESCRIPTION = "EfficientNet-Lite0: larger pictures, where accuracy is worth 4 MB"
SOURCE = "Tan, Le 2019, arXiv:1905.11946; lite variant of google's tpu repository"
# Repeats, kernel, first stride, expansion, filters.
STAGES = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dropout: float = Field(0.2, ge=0, lt=1, description="Share of features that training leaves out, 0 to 1.")


def build(input_shape: tuple[int, ...], outputs: int, **options: Any) -> Any:
    """Return the untrained tf_keras model: [batch, height, width, channels] in, [batch, outputs] logits out."""
    from pipeline.keras_legacy import keras

    given = Options(**options)
    inputs = keras.Input(of_pictures(input_shape, "efficientnet_lite0"))
    x = norm(conv(inputs, 32, 3, stride_for(inputs, 2), "stem"), "stem_BN", 6.0)
    number = 0
    for repeats, kernel, first_stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            x = inverted_residual(x, filters, expansion, kernel, stride, f"block_{number}")
            number += 1
    x = norm(conv(x, 1280, 1, 1, "top"), "top_BN", 6.0)
    return keras.Model(inputs, head(x, outputs, given.dropout), name="efficientnet_lite0")
