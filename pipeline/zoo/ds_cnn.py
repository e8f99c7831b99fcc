"""DS-CNN, the depthwise separable network for keyword spotting (Zhang et al. 2017, arXiv:1711.07128).

As MLPerf Tiny has it (Banbury et al. 2021, arXiv:2106.07597): one convolution over time and frequency, four
separable ones of 64 filters.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.zoo._blocks import conv, depthwise, head, norm, of_pictures

DESCRIPTION = (
    "DS-CNN of MLPerf Tiny: spoken keywords as [frames, frequencies, 1], on microcontrollers, 24,908 parameters"
)
SOURCE = "Zhang et al. 2017, arXiv:1711.07128; Banbury et al. 2021, arXiv:2106.07597"


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: int = Field(64, ge=1, le=512, description="Filters of every convolution.")
    blocks: int = Field(4, ge=1, le=16, description="Separable convolutions after the first one.")
    dropout: float = Field(0.4, ge=0, lt=1, description="Share of features that training leaves out, 0 to 1.")


def build(input_shape: tuple[int, ...], outputs: int, **options: Any) -> Any:
    """Return the untrained tf_keras model: [batch, frames, frequencies, 1] in, [batch, outputs] logits out."""
    from pipeline.keras_legacy import keras

    given = Options(**options)
    inputs = keras.Input(of_pictures(input_shape, "ds_cnn"))
    # The published kernel spans 10 frames and 4 of 10 frequencies.
    x = norm(conv(inputs, given.filters, (10, 4), 2, "conv1", use_bias=True), "conv1_bn", "relu")
    for number in range(1, given.blocks + 1):
        x = norm(depthwise(x, 3, 1, f"conv_dw_{number}", use_bias=True), f"conv_dw_{number}_bn", "relu")
        x = norm(conv(x, given.filters, 1, 1, f"conv_pw_{number}", use_bias=True), f"conv_pw_{number}_bn", "relu")
    return keras.Model(inputs, head(x, outputs, given.dropout), name="ds_cnn")
