"""Batch normalization folded into the kernels before it, and channels brought to equal ranges.

Both leave what the network computes as it is. Equalization is that of Nagel et al. 2019, "Data-Free
Quantization" (arXiv:1906.04721): ReLU and pooling let a positive factor through, so that an output
channel may be divided by one that the next layer's weights take over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

KERNEL_LAYERS = ("Conv2D", "Dense")
_HOMOGENEOUS = ("ReLU", "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D")
_TRANSPARENT = (*_HOMOGENEOUS, "Flatten", "Dropout", "InputLayer")
EQUALIZATION_SWEEPS = 20


def folded(model: Any, replace: Callable[[Any], Any] | None = None) -> Any:
    """Return the model with every batch normalization that follows a kernel directly folded into it.

    The kernels' layers have a bias then, and a linear activation stands where the normalization was.
    `replace` gives another layer for one that has a kernel, from its configuration; it has its weights.
    """
    from pipeline.keras_legacy import keras

    normalized = _normalized(model)
    folds = {layer.name: name for name, layer in normalized.items()}

    def clone(layer: Any) -> Any:
        if layer.name in folds:
            return keras.layers.Activation("linear", name=layer.name)
        config = layer.get_config()
        if layer.name in normalized:
            config["use_bias"] = True
        fresh = type(layer).from_config(config)
        return replace(fresh) if replace and kind(layer) in KERNEL_LAYERS else fresh

    result = keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        if layer.name in folds or not layer.weights:
            continue
        weights = layer.get_weights()
        if layer.name in normalized:
            weights = list(fold(weights, normalized[layer.name]))
        target = result.get_layer(layer.name)
        for variable, value in zip(target.weights, weights, strict=False):  # a replaced layer may have more
            variable.assign(value)
    return result


def fold(weights: list[np.ndarray], normalization: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias that compute what kernel (and bias) and batch normalization did."""
    import numpy as np

    found = {variable.name.split("/")[-1].split(":")[0]: variable.numpy() for variable in normalization.weights}
    factor = found.get("gamma", 1.0) / np.sqrt(found["moving_variance"] + normalization.epsilon)
    bias = weights[1] if len(weights) > 1 else 0.0
    return weights[0] * factor, (bias - found["moving_mean"]) * factor + found.get("beta", 0.0)


def _normalized(model: Any) -> dict[str, Any]:
    """Return {name of a kernel's layer: the batch normalization that alone reads its output}."""
    found = {}
    for layer in model.layers:
        readers = following(layer)
        linear = getattr(layer, "activation", None) is None or layer.activation.__name__ == "linear"
        if not (_used_once(layer) and linear and len(readers) == 1 and kind(readers[0]) == "BatchNormalization"):
            continue
        last = len(readers[0].output_shape) - 1
        if kind(layer) in KERNEL_LAYERS and list(readers[0].axis) == [last] and len(readers[0].inbound_nodes) == 1:
            found[layer.name] = readers[0]
    return found


def equalize(model: Any) -> None:
    """Bring the channels between two kernels to equal ranges of weights; `model` is folded, with biases."""
    pairs = [(layer, reader) for layer in model.layers for reader in [_next_kernel(layer)] if reader is not None]
    for _ in range(EQUALIZATION_SWEEPS):
        for layer, reader in pairs:
            first, bias = layer.get_weights()[:2]
            second = reader.get_weights()
            first, bias, second[0] = equalized(first, bias, second[0])
            layer.set_weights([first, bias, *layer.get_weights()[2:]])
            reader.set_weights(second)


def equalized(first: np.ndarray, bias: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both kernels and the first's bias with the ranges of each channel's weights made equal.

    first: [..., channels]; second: [..., channels, outputs], or [positions · channels, outputs] of a dense
    layer behind a flattened picture. A channel without weights stays as it is.
    """
    import numpy as np

    channels = first.shape[-1]
    view = second.reshape(-1, channels, second.shape[-1])
    leaving = np.abs(first.reshape(-1, channels)).max(axis=0)
    entering = np.abs(view).max(axis=(0, 2))
    usable = (leaving > 0) & (entering > 0)
    factor = np.where(usable, np.sqrt(leaving / np.where(usable, entering, 1)), 1).astype(first.dtype)
    return first / factor, bias / factor, (view * factor[:, None]).reshape(second.shape)


def _next_kernel(layer: Any) -> Any:
    """Return the layer whose kernel alone reads `layer`'s channels, each by a positive factor, or None."""
    if kind(layer) not in KERNEL_LAYERS or not layer.use_bias or not _used_once(layer):
        return None
    if layer.activation.__name__ not in ("linear", "relu"):
        return None
    while True:
        readers = following(layer)
        if len(readers) != 1:
            return None
        layer = readers[0]
        if kind(layer) in KERNEL_LAYERS:
            return layer if _used_once(layer) else None
        if len(layer.inbound_nodes) != 1:
            return None
        unlimited = kind(layer) != "ReLU" or (layer.max_value is None and not layer.threshold)
        linear = kind(layer) == "Activation" and layer.activation.__name__ in ("linear", "relu")
        if not (linear or (kind(layer) in _TRANSPARENT and unlimited)):
            return None


def _used_once(layer: Any) -> bool:
    """Whether the layer reads one tensor, whole: no other part of the network, and no group of channels apart."""
    return len(layer.inbound_nodes) == 1 and getattr(layer, "groups", 1) == 1


def following(layer: Any) -> list[Any]:
    """Return the layers that read `layer`'s output."""
    return [node.layer for node in layer.outbound_nodes]


def kind(layer: Any) -> str:
    """Return the name of the layer's class, of the stock one where it is replaced."""
    return str(getattr(layer, "stands_for", type(layer).__name__))
