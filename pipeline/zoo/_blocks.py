"""What several networks are built of. The leading underscore keeps this module out of the zoo's names."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import BadWorkload

# Fine-tuning on little data sees few batches: statistics that follow slowly would still be the initial ones.
MOMENTUM = 0.95
LEAST_MAP = 4  # pixels a side: a map as small as this keeps its size, whatever the published stride


class MobileNetOptions(BaseModel):
    """What both MobileNets leave open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: float = Field(1.0, gt=0, le=4, description="Width multiplier: share of the paper's filters, 0 to 4.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of features that training leaves out, 0 to 1.")


def of_pictures(input_shape: tuple[int, ...], network: str, least: int = 8) -> tuple[int, int, int]:
    """Return height, width and channels. Raises BadWorkload for samples that are no such pictures."""
    if len(input_shape) != 3 or min(input_shape[:2]) < least:
        raise BadWorkload(
            f"the network {network} does not take this workload's samples",
            received=f"INPUT_SHAPE {list(input_shape)}",
            expected=f"[height, width, channels] of at least {least}×{least}",
            fix="take another network, such as dense, or give larger samples",
        )
    height, width, channels = input_shape
    return height, width, channels


def stride_for(tensor: Any, published: int) -> int:
    """Return the published stride, or 1 where the map is small already: networks are published for 224 pixels."""
    return published if min(tensor.shape[1:3]) > LEAST_MAP else 1


def divisible(filters: float, divisor: int = 8) -> int:
    """Return the nearest multiple of `divisor` that is no more than a tenth below, as MobileNetV2's code rounds."""
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * filters else rounded


def conv(x: Any, filters: int, kernel: int | tuple[int, int], stride: int, name: str, **more: Any) -> Any:
    """Convolution without bias, to be followed by `norm`; padding is TFLite's own SAME."""
    from pipeline.keras_legacy import keras

    more = {"padding": "same", "use_bias": False} | more
    return keras.layers.Conv2D(filters, kernel, strides=stride, name=name, **more)(x)


def depthwise(x: Any, kernel: int, stride: int, name: str, use_bias: bool = False) -> Any:
    from pipeline.keras_legacy import keras

    return keras.layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=use_bias, name=name)(x)


def norm(x: Any, name: str, activation: float | str | None = None) -> Any:
    """Batch normalization, then a ReLU that ends at the number `activation`, or "relu" that does not end."""
    from pipeline.keras_legacy import keras

    x = keras.layers.BatchNormalization(momentum=MOMENTUM, name=name)(x)
    if activation is None:
        return x
    return keras.layers.ReLU(None if activation == "relu" else activation, name=f"{name}_relu")(x)


def head(x: Any, outputs: int, dropout: float = 0.0, name: str = "logits") -> Any:
    """Global average, dropout, and a dense layer of logits: what a transfer step gives another one of."""
    from pipeline.keras_legacy import keras

    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.layers.Dense(outputs, name=name)(x)


def inverted_residual(
    x: Any, filters: int, expansion: int, kernel: int, stride: int, name: str, activation: float = 6.0
) -> Any:
    """Widen, filter depthwise, narrow without an activation; add what came in where it fits (MobileNetV2)."""
    from pipeline.keras_legacy import keras

    inner, channels, came_in = x, x.shape[-1], x
    stride = stride_for(x, stride)
    if expansion > 1:
        inner = norm(conv(inner, expansion * channels, 1, 1, f"{name}_expand"), f"{name}_expand_BN", activation)
    inner = norm(depthwise(inner, kernel, stride, f"{name}_depthwise"), f"{name}_depthwise_BN", activation)
    inner = norm(conv(inner, filters, 1, 1, f"{name}_project"), f"{name}_project_BN")
    if stride == 1 and channels == filters:
        return keras.layers.Add(name=f"{name}_add")([came_in, inner])
    return inner
