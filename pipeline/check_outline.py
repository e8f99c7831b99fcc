"""The outline of a model for a check: inputs, layers and parameters, read without building what a file describes.

A file's configuration is read as JSON after `steps/_model_file.py` has refused what would run code; of the
weights, shapes alone. TensorFlow is loaded for what is Python to begin with: a function, or a network of the zoo.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import BadModelFile
from pipeline.steps._model_file import SAFE_WAY, fields_of, refuse_unsafe, refused, saved_model_configs
from pipeline.steps._weights import arrays_of

DT_FLOAT = 1  # in TensorFlow's types.proto
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class OutlinedLayer:
    """One layer; those of a model within the model stand for themselves."""

    name: str
    kind: str  # its class
    activation: str | None
    parameters: int | None  # None where the file does not say
    feeds: tuple[str, ...] = ()  # kinds of the layers before it
    within: str = ""  # name of the model within the model that holds it


@dataclass(frozen=True)
class Outline:
    """What a check needs of a Keras model."""

    kind: str  # what was read, in words
    inputs: tuple[Shape, ...]  # the batch first; empty where the file does not say
    outputs: int | None  # count
    parameters: int | None
    layers: tuple[OutlinedLayer, ...]
    notes: tuple[str, ...] = ()


def outline_of_file(path: Path, custom: dict[str, Any]) -> Outline:
    """Return the outline of a .keras, .h5 or SavedModel. Raises BadModelFile for one that is none, or holds code.

    custom: the classes and functions that a workload gives for the file's own.
    """
    from pipeline.steps.load import EXPORTED, keras_version

    refuse_unsafe(path, custom)
    version = keras_version(path)
    generation = "Keras 3" if version.startswith("3") else "legacy Keras"
    try:
        if version == EXPORTED:
            note = "it has operators and no layers: it can be quantized, and what is in it shows once it is converted"
            return Outline("exported SavedModel", (), None, _variables_of(path), (), (note,))
        if path.is_dir():
            config = next(found for found in saved_model_configs(path / "keras_metadata.pb") if "config" in found)
            note = "parameters are those of all variables, an optimizer's included where it was saved"
            return _of_config(f"{generation} SavedModel", config, {}, _variables_of(path), (note,))
        return _of_config(f"{generation} {path.suffix}", _config_of(path), *_parameters_of(path), ())
    except BadModelFile:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, RuntimeError, OSError) as e:
        raise refused(path, f"a configuration that cannot be read: {type(e).__name__} {str(e)[:100]}", SAFE_WAY) from e


def outline_of_model(model: Any, kind: str) -> Outline:
    """Return the outline of a legacy Keras model."""
    outlined = tuple(_outlined(model, ""))
    shapes = tuple(tuple(tensor.shape) for tensor in model.inputs)
    return Outline(kind, shapes, len(model.outputs), model.count_params(), outlined)


def _outlined(model: Any, within: str) -> Iterator[OutlinedLayer]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _outlined(layer, layer.name)
            continue
        yield OutlinedLayer(
            layer.name,
            type(layer).__name__,
            getattr(getattr(layer, "activation", None), "__name__", None),
            layer.count_params(),
            tuple(type(node.layer).__name__ for one in layer._inbound_nodes[:1] for node in one.parent_nodes),
            within,
        )


def _config_of(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    import h5py

    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"])


def _parameters_of(path: Path) -> tuple[dict[str, int], int]:
    """Return {layer: parameters} as far as the file tells, and all of them."""
    import h5py

    with arrays_of(path) as (root, layers):
        each = {name: sum(math.prod(array.shape) for array in arrays) for name, arrays in layers.items()}
        total = 0

        def count(name: str, found: Any) -> None:
            nonlocal total
            other = any(part.startswith(("optimizer", "seed_generator")) for part in name.split("/"))
            if isinstance(found, h5py.Dataset) and not other:
                total += math.prod(found.shape)

        root.visititems(count)
    return each, total


def _variables_of(path: Path) -> int:
    """Return the count of float32 values in a SavedModel's variables, from the shapes in its `saved_model.pb`.

    By the numbers of TensorFlow's saved_model.proto and saved_object_graph.proto: SavedModel.meta_graphs 2,
    MetaGraphDef.object_graph_def 7, nodes 1, SavedObject.variable 7, of which dtype 1, shape 2, dim 2, size 1.
    """
    messages = [path.joinpath("saved_model.pb").read_bytes()]
    for number in (2, 7, 1, 7):
        messages = [inner for message in messages for inner in _parts(message, number)]
    total = 0
    for variable in messages:
        if DT_FLOAT in [value for number, value in fields_of(variable) if number == 1]:
            sizes = [_parts(dim, 1) for shape in _parts(variable, 2) for dim in _parts(shape, 2)]
            total += math.prod(size for found in sizes for size in found)
    return total


def _parts(message: Any, number: int) -> list[Any]:
    return [value for found, value in fields_of(message) if found == number]


def _of_config(kind: str, config: Any, each: dict[str, int], total: int, notes: tuple[str, ...]) -> Outline:
    layers = list(_layers(config))
    kinds = {inner["config"].get("name"): inner["class_name"] for inner, _ in layers}
    top = config["config"]
    outlined = []
    before: tuple[str, ...] = ()
    for layer, within in layers:
        settings = layer["config"]
        named = [kinds[name] for name in _names_in(layer.get("inbound_nodes")) if name in kinds]
        feeds = tuple(named) or before
        name = str(settings.get("name"))
        activation = _name_of(settings.get("activation"))
        if layer["class_name"] == "ReLU" and settings.get("max_value") == 6:
            activation = None  # RELU6, which all have who have RELU
        outlined.append(OutlinedLayer(name, layer["class_name"], activation, each.get(name), feeds, within))
        before = (layer["class_name"],)
    outputs = top.get("output_layers")
    count = None if outputs is None else len(outputs) if outputs and isinstance(outputs[0], list) else 1
    if isinstance(outputs, dict):
        count = len(outputs)
    return Outline(kind, _inputs(top), 1 if "output_layers" not in top else count, total, tuple(outlined), notes)


def _layers(config: Any, within: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the layers of a model's configuration, in order, each with the name of the model within that holds it."""
    for layer in config["config"]["layers"]:
        if isinstance(layer["config"].get("layers"), list):
            yield from _layers(layer, str(layer["config"].get("name")))
        else:
            yield layer, within


def _inputs(top: dict[str, Any]) -> tuple[Shape, ...]:
    shapes = []
    for layer in top["layers"]:
        settings = layer["config"]
        shape = _sizes(settings.get("batch_shape") or settings.get("batch_input_shape"))
        if shape and layer["class_name"] == "InputLayer":
            shapes.append(shape)
    if not shapes:
        first = top["layers"][0]["config"]
        shape = _sizes(top.get("build_input_shape") or first.get("batch_input_shape") or first.get("batch_shape"))
        shapes = [shape] if shape else []
    return tuple(tuple(None if size is None else int(size) for size in shape) for shape in shapes)


def _sizes(shape: Any) -> Any:
    """Return a shape as a list: a SavedModel has it as {"class_name": "TensorShape", "items": […]}."""
    return shape.get("items") if isinstance(shape, dict) else shape


def _names_in(nodes: Any) -> Iterator[str]:
    """Yield the names of layers in `inbound_nodes`: legacy Keras lists them, Keras 3 has a history in each tensor."""
    if isinstance(nodes, dict):
        history = nodes.get("keras_history")
        if isinstance(history, list) and history:
            yield str(history[0])
        for value in nodes.values():
            yield from _names_in(value)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield nodes[0]
        else:
            for value in nodes:
                yield from _names_in(value)


def _name_of(activation: Any) -> str | None:
    if isinstance(activation, dict):
        inner = activation.get("config")
        activation = inner if isinstance(inner, str) else activation.get("class_name")
    return activation if isinstance(activation, str) else None
