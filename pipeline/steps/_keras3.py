"""Rebuilds a Keras 3 model from legacy Keras layers, since TFMOT works on legacy Keras alone.

Keras 3 reads its own file; its graph is then walked with legacy layers of the same names, which take
over the arguments that they know, and the weights. What a legacy layer understands otherwise, or does
not know, shows in the outputs: both models have to agree on validation samples. Initializers,
regularizers and constraints are left behind.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadModelFile

if TYPE_CHECKING:
    from pipeline.workload import Workload

SAMPLES = 200
TOLERANCE = 1e-4
_LEFT_BEHIND = ("_initializer", "_regularizer", "_constraint")
_WAY_OUT = (
    "build the same network in the workload's build_model() from tf_keras layers and train it there, "
    "or save the model from a program that runs with TF_USE_LEGACY_KERAS=1"
)


def load_keras3(path: Path, workload: Workload) -> Any:
    """Return the legacy model that computes what the file's does. Raises BadModelFile where none can."""
    import numpy as np

    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's own settings say
    import keras as keras3

    original = keras3.saving.load_model(path, compile=False)
    model = _legacy_model(original, path)
    samples = workload.preprocess(workload.load("validation")[0][:SAMPLES])
    difference = np.abs(original.predict(samples, verbose=0) - model.predict(samples, verbose=0)).max()
    if not difference <= TOLERANCE:
        raise _unconvertible(path, f"outputs that differ by up to {difference:.3g}", f"at most {TOLERANCE}")
    return model


def _legacy_model(original: Any, path: Path) -> Any:
    from pipeline.keras_legacy import keras

    graph = getattr(original, "_functional", original)  # a sequential model holds its graph
    if not hasattr(graph, "_run_through_graph"):
        raise _unconvertible(path, f"{original.name}, a {type(original).__name__}", "a sequential or functional model")
    made: dict[int, Any] = {}

    def legacy_layer(layer: Any) -> Any:
        if id(layer) not in made:
            made[id(layer)] = _legacy_layer(layer, path)
        return made[id(layer)]

    inputs = [keras.Input(batch_shape=tensor.shape, name=tensor.name) for tensor in graph.inputs]
    outputs = graph._run_through_graph(inputs, operation_fn=legacy_layer)
    model = keras.Model(inputs, outputs, name=original.name)
    for layer in graph.layers:
        if layer.get_weights():
            made[id(layer)].set_weights(layer.get_weights())
    return model


def _legacy_layer(layer: Any, path: Path) -> Any:
    """Return the untrained legacy layer of the same class and arguments."""
    from pipeline.keras_legacy import keras

    if hasattr(layer, "layers"):
        return _legacy_model(layer, path)
    kind = getattr(keras.layers, type(layer).__name__, None)
    if kind is None or not type(layer).__module__.startswith("keras.src.layers."):
        raise _unconvertible(path, f"{layer.name}, a {type(layer).__name__}", "layers that legacy Keras has as well")
    known = {name for base in kind.__mro__ if base is not object for name in inspect.signature(base).parameters}
    arguments = {
        name: value
        for name, value in layer.get_config().items()
        if name in known and not name.endswith(_LEFT_BEHIND) and name != "dtype"
    }
    return kind.from_config(arguments)


def _unconvertible(path: Path, received: str, expected: str) -> BadModelFile:
    return BadModelFile(
        f"{path} is a Keras 3 model that cannot be rebuilt from legacy Keras layers",
        received=received,
        expected=expected,
        fix=_WAY_OUT,
    )
