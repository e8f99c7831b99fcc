"""Gives a model initial weights from a file, layer by layer, by name and shape.

The file is legacy Keras's or Keras 3's: `.h5` (weights, or a whole model; what keras.applications publishes is
such a file), `.weights.h5` or `.keras`. Arrays are all that is read from it: no configuration is followed and
no code is run. Legacy Keras writes no names into a `.weights.h5`, only kinds in the model's order; such a file
has to fit the whole model, but for its last layer.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import BadModelFile

CONFIG_BYTES_MAX = 64 * 2**20
_EXPECTED = "weights of legacy Keras or Keras 3: .h5, .weights.h5 or .keras"
_FIX = 'save them from their own program with model.save_weights("model.weights.h5")'


def give_weights(model: Any, path: Path) -> dict[str, Any]:
    """Set the weights of every layer that the file has under the same name with the same shapes.

    Return the counts of `layers` and `parameters` that were set, {layer: reason} of those `left` as they were, and
    the names of layers `unused`, which the model does not have. Raises BadModelFile for a file that is none, or
    fits no layer.
    """
    layers = [layer for layer in model._flatten_layers(include_self=False) if _own_weights(layer)]
    with _opened(path) as (root, config):
        found, named = _layers_of(root, config, path)
        if not named:
            found = _by_order(found, model.layers, layers, path)
        given, left = _matching(found, layers, path)
        if not given:
            raise BadModelFile(
                f"{path} fits no layer of the model",
                received=f"weights of {_few(found)}",
                expected="layers that are called as the model's, with the same shapes: "
                + _few(f"{layer.name} {_shapes(layer.weights)}" for layer in layers),
                fix="take the weights of the same network and width, or rename the layers of build_model()",
            )
        for layer, values in given:
            layer.set_weights(values)
    unused = sorted(set(found) - {layer.name for layer in layers})
    parameters = sum(value.size for _, values in given for value in values)
    return {"layers": len(given), "parameters": int(parameters), "left": left, "unused": unused}


@contextmanager
def arrays_of(path: Path) -> Iterator[tuple[Any, dict[str, list[Any]]]]:
    """Give the HDF5 group of all weights, and the arrays of each layer as far as the file tells its name."""
    with _opened(path) as (root, config):
        found, named = _layers_of(root, config, path)
        yield root.get("model_weights", root), found if named else {}


def _own_weights(layer: Any) -> bool:
    return bool(layer.weights) and not hasattr(layer, "layers")


def _matching(
    found: dict[str, list[Any]], layers: list[Any], path: Path
) -> tuple[list[tuple[Any, list[Any]]], dict[str, str]]:
    """Return the layers with the values that they get, and why each other one gets none."""
    import numpy as np

    given, left = [], {}
    for layer in layers:
        wanted = _shapes(layer.weights)
        if layer.name not in found:
            left[layer.name] = f"not in the file; {wanted}"
        elif (shapes := _shapes(found[layer.name])) != wanted:
            left[layer.name] = f"{wanted}, and {shapes} in the file"
        else:  # no array is larger than the model's own
            values = [np.asarray(value[()], np.float32) for value in found[layer.name]]
            if not all(np.isfinite(value).all() for value in values):
                raise _bad(path, f"values of {layer.name} that are not finite")
            given.append((layer, values))
    return given, left


def _by_order(found: dict[str, list[Any]], top: list[Any], layers: list[Any], path: Path) -> dict[str, list[Any]]:
    """Return the weights of a file without names under the model's names, if they are those of such a model."""
    places = dict(_places((type(layer).__name__, layer.name, getattr(layer, "layers", None)) for layer in top))
    renamed = {places[place]: values for place, values in found.items() if place in places}
    missing = [
        layer.name
        for layer in layers[:-1]
        if layer.name not in renamed or _shapes(renamed[layer.name]) != _shapes(layer.weights)
    ]
    if missing:
        raise BadModelFile(
            f"{path} has no names of layers, and does not follow the model's order",
            received=f"other weights in the place of {_few(missing)}",
            expected="the weights of the same network, which may differ in the last layer alone",
            fix='save them with names: model.save_weights("model.h5")',
        )
    return renamed


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Give the HDF5 file of the weights, and the model's configuration where it lies beside them. Nothing is run."""
    import h5py

    try:
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > CONFIG_BYTES_MAX:
                    raise _bad(path, "a config.json that is larger than any network's")
                config = json.loads(archive.read("config.json"))
                with archive.open("model.weights.h5") as stream, h5py.File(stream) as file:
                    yield file, config
        else:
            with h5py.File(path) as file:
                yield file, None
    except BadModelFile:
        raise
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise _bad(path, f"{type(error).__name__}: {str(error)[:200]}") from error


def _layers_of(root: Any, config: Any, path: Path) -> tuple[dict[str, list[Any]], bool]:
    """Return the arrays of each layer, and whether they go by the layers' names, or by their kinds in order."""
    if "model_weights" in root or any(_names_of(group) is not None for group in root.values()):
        return _in_groups(root.get("model_weights", root), path), True
    if "layers" not in root:
        raise _bad(path, f"an HDF5 file with {_few(root)}")
    stored = dict(_in_places(root, "", path, root.file.filename, set()))
    names = {place: name for place, (name, _) in stored.items() if name}
    if config is not None and not names:
        names = dict(_places(_configured(config)))
    if not names:
        return {place: values for place, (_, values) in stored.items()}, False
    return {names[place]: values for place, (_, values) in stored.items() if place in names}, True


def _in_groups(root: Any, path: Path) -> dict[str, list[Any]]:
    """Return the arrays by layer in the format of Keras 2: a group a layer, which names its weights in order."""
    found: dict[str, list[Any]] = {}
    for name, group in root.items():
        within: dict[str, list[Any]] = {}  # a model within the model has a group of its own: each of its layers counts
        for weight in _names_of(group) or ():
            array = _array(group, weight, path, root.file.filename)
            found.setdefault(name, []).append(array)
            parts = weight.split("/")
            if len(parts) > 1 and parts[-2] != name:
                within.setdefault(parts[-2], []).append(array)
        for inner, arrays in within.items():
            found.setdefault(inner, arrays)
    return found


def _names_of(group: Any) -> list[str] | None:
    """Return the names of a group's weights; those of many are spread over several attributes."""
    if "weight_names" in group.attrs:
        names = list(group.attrs["weight_names"])
    elif "weight_names0" in group.attrs:
        chunks = (f"weight_names{number}" for number in range(len(group.attrs)))
        names = [name for chunk in chunks if chunk in group.attrs for name in group.attrs[chunk]]
    else:
        return None
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _in_places(
    group: Any, place: str, path: Path, home: str, seen: set[int]
) -> Iterator[tuple[str, tuple[str, list[Any]]]]:
    """Yield (place, (name or "", arrays)) in the format of Keras 3: layers/conv2d_1/vars/0."""
    import h5py

    for key, layer in group["layers"].items() if "layers" in group else ():
        if (address := h5py.h5o.get_info(layer.id).addr) in seen:  # groups may hold one another
            continue
        seen.add(address)
        here = f"{place}layers/{key}"
        if "vars" in layer and len(layer["vars"]):
            own = layer["vars"]
            arrays = [_array(own, str(number), path, home) for number in range(len(own))]
            yield here, (str(own.attrs.get("name", "")), arrays)
        yield from _in_places(layer, f"{here}/", path, home, seen)


def _array(group: Any, name: str, path: Path, home: str) -> Any:
    """Return a data set that lies in the very file `home`. Raises BadModelFile for one that leads elsewhere."""
    import h5py

    found = group[name]
    if not isinstance(found, h5py.Dataset):
        raise _bad(path, f"{name[:100]}, which is no array")
    if found.external or found.is_virtual or found.file.filename != home:
        raise _bad(path, f"weights in another file, by the name {name[:100]}")
    return found


def _configured(config: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield (class, name, layers or None) of a configuration's layers."""
    for layer in config["config"]["layers"]:
        inner = layer["config"]
        nested = _configured(layer) if "layers" in inner else None
        yield layer["class_name"], inner.get("name", ""), nested


def _places(layers: Iterable[tuple[str, str, Any]], place: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place in the file, name) of each layer: its class in snake case, numbered from the second on."""
    seen: Counter[str] = Counter()
    for kind, name, nested in layers:
        key = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)).lower()
        here = f"{place}layers/{key}" + (f"_{seen[key]}" if seen[key] else "")
        seen[key] += 1
        yield here, name
        if nested is not None:
            inner = (part if isinstance(part, tuple) else _described(part) for part in nested)
            yield from _places(inner, f"{here}/")


def _described(layer: Any) -> tuple[str, str, Any]:
    return type(layer).__name__, layer.name, getattr(layer, "layers", None)


def _shapes(weights: Iterable[Any]) -> str:
    return ", ".join("×".join(map(str, weight.shape)) or "scalar" for weight in weights)


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "") or "nothing"


def _bad(path: Path, received: str) -> BadModelFile:
    return BadModelFile(f"{path} is no file of weights", received=received, expected=_EXPECTED, fix=_FIX)
