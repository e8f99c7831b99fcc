"""Rebuilds a Keras 3 model from legacy Keras layers, since TFMOT works on legacy Keras alone.

Keras 3 reads its own file; its graph is then walked with legacy layers of the same names, which take
over the arguments that they know, and the weights. What a legacy layer understands otherwise, or does
not know, shows in the outputs: both models have to agree on validation samples. Initializers,
regularizers and constraints are left behind. A model that cannot be rebuilt is returned as it is, with
the layer that is in the way.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadModelFile

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload

SAMPLES = 100
TOLERANCE = 1e-5  # of the outputs' largest size, or of 1 where that is less
_LEFT_BEHIND = ("_initializer", "_regularizer", "_constraint")
# Arguments that legacy Keras calls otherwise.
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}


class _NoSuchLayer(Exception):
    """Legacy Keras has no layer for this one."""


def load_keras3(path: Path, workload: Workload, custom: dict[str, Any]) -> tuple[Any, str | None]:
    """Return the legacy model that computes what the file's does, and None.

    Where there is none, return the Keras 3 model itself, and what is in the way: "name, a kind of layer".
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's own settings say
    import keras as keras3

    original = keras3.saving.load_model(path, custom_objects=custom, compile=False)
    if not getattr(original, "inputs", None):
        raise BadModelFile(
            f"{path} does not say what it takes",
            received=f"{original.name}, a {type(original).__name__} without inputs of known shapes",
            expected="a sequential or functional model",
            fix="wrap it before it is saved: keras.Model(inputs, model(inputs))",
        )
    samples = workload.load("validation")[0][:SAMPLES]
    fits = len(original.inputs) == len(original.outputs) == 1 and original.inputs[0].shape[1:] == workload.input_shape
    try:
        model, pairs = _legacy_model(original)
        if fits:  # the caller says what does not
            _refuse_other_outputs(pairs, original, model, workload.preprocess(samples))
    except _NoSuchLayer as error:
        return original, str(error)
    return model, None


def rebuild(original: Any) -> Any:
    """Return the legacy model that computes what an untrained Keras 3 model does, on random inputs of 0 to 1.

    Raises BadModelFile, which names the layer in the way.
    """
    import numpy as np

    random = np.random.default_rng(0)
    samples = random.random((SAMPLES // 10, *original.inputs[0].shape[1:]), dtype=np.float32)
    try:
        model, pairs = _legacy_model(original)
        _refuse_other_outputs(pairs, original, model, samples)
    except _NoSuchLayer as error:
        raise BadModelFile(
            f"the Keras 3 model {original.name} cannot be rebuilt from legacy layers, which training needs",
            received=str(error),
            expected="layers that legacy Keras has as well",
            fix="build it with `from pipeline.keras_legacy import keras`, or give a trained .keras file",
        ) from error
    return model


def _refuse_other_outputs(pairs: list[tuple[Any, Any]], original: Any, model: Any, samples: np.ndarray) -> None:
    """Raise _NoSuchLayer with the first layer whose outputs differ, if the models' do."""
    difference = _difference(original, model, samples)
    if difference <= TOLERANCE:
        return
    import keras as keras3

    from pipeline.keras_legacy import keras

    where = original.name
    for layer, rebuilt in pairs:
        output = layer._inbound_nodes[0].output_tensors[0]  # `layer.output` fails where a layer is used twice
        parts = keras3.Model(original.inputs, output), keras.Model(model.inputs, rebuilt.get_output_at(0))
        if not _difference(*parts, samples) <= TOLERANCE:
            where = f"{layer.name}, a {type(layer).__name__}"
            break
    raise _NoSuchLayer(f"{where}, of which legacy Keras makes outputs that differ by up to {difference:.3g}")


def _difference(original: Any, model: Any, samples: np.ndarray) -> float:
    return relative_difference(original.predict(samples, verbose=0), model.predict(samples, verbose=0))


def relative_difference(wanted: np.ndarray, found: np.ndarray) -> float:
    """Return the largest difference, as a share of the largest size of what is wanted, or of 1 where that is less."""
    import numpy as np

    difference = np.abs(wanted - found).max() / max(1.0, np.abs(wanted).max())
    return float(difference) if np.isfinite(difference) else float("inf")


def _legacy_model(original: Any) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return the model of legacy layers with the original's weights, and (layer, legacy layer) of each."""
    from pipeline.keras_legacy import keras

    graph = getattr(original, "_functional", None) or original  # a sequential model holds its graph
    if not hasattr(graph, "_run_through_graph"):
        raise _NoSuchLayer(f"{original.name}, a {type(original).__name__}")
    made: dict[int, Any] = {}

    def legacy_layer(layer: Any) -> Any:
        if id(layer) not in made:
            made[id(layer)] = _legacy_layer(layer)
        return lambda *given, **named: made[id(layer)](*given, **_as_called(named))

    inputs = [keras.Input(batch_shape=tensor.shape, name=tensor.name) for tensor in graph.inputs]
    try:
        outputs = graph._run_through_graph(inputs, operation_fn=legacy_layer)
    except (TypeError, ValueError) as error:  # legacy Keras calls the layer with other arguments
        last = graph.get_layer(next(reversed(made.values())).name) if made else original
        raise _NoSuchLayer(f"{last.name}, a {type(last).__name__}: {str(error).splitlines()[0][:200]}") from error
    model = keras.Model(inputs, outputs, name=original.name)
    layers = [layer for layer in graph.layers if id(layer) in made]
    for layer in layers:
        weights, shapes = layer.get_weights(), [weight.shape for weight in made[id(layer)].get_weights()]
        if [weight.shape for weight in weights] != shapes:
            raise _NoSuchLayer(f"{layer.name}, a {type(layer).__name__} with other weights")
        if weights:
            made[id(layer)].set_weights(weights)
    return model, [(layer, made[id(layer)]) for layer in layers]


def _as_called(named: dict[str, Any]) -> dict[str, Any]:
    """Return a call's arguments without training=True, which Keras 3 notes for RandomFlip and its like by default.

    It heeds what the whole model is called with; legacy Keras would go on to augment when it predicts.
    """
    return {name: value for name, value in named.items() if not (name == "training" and value)}


def _legacy_layer(layer: Any) -> Any:
    """Return the untrained legacy layer of the same class and arguments."""
    if hasattr(layer, "layers"):
        return _legacy_model(layer)[0]
    if not type(layer).__module__.startswith("keras.src.layers."):
        raise _NoSuchLayer(f"{layer.name}, a {type(layer).__name__}")
    return _rebuilt(type(layer).__name__, layer.get_config())


def _rebuilt(name: str, config: dict[str, Any]) -> Any:
    from pipeline.keras_legacy import keras

    kind = getattr(keras.layers, name, None)
    if kind is None:
        raise _NoSuchLayer(f"{config.get('name')}, a {name}")
    known = {name for base in kind.__mro__ if base is not object for name in inspect.signature(base).parameters}
    arguments = {}
    for argument, value in config.items():
        argument = _RENAMED.get((name, argument), argument)
        if argument not in known or argument.endswith(_LEFT_BEHIND) or argument == "dtype":
            continue
        if isinstance(value, dict) and value.get("module") == "keras.layers":  # a layer within the layer
            value = _rebuilt(value["class_name"], value["config"])
        arguments[argument] = value
    try:
        return kind(**arguments)
    except (TypeError, ValueError, AttributeError) as error:
        raise _NoSuchLayer(f"{config.get('name')}, a {name}: {str(error).strip().splitlines()[0][:200]}") from error
