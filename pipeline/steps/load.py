"""Begin a recipe with a trained model from a file: legacy Keras (`.h5`, `.keras`, SavedModel) or Keras 3.

The model of another workload's stage is such a file as well: `model.h5` in the stage's folder of the
store. The file's content is a part of the stage's key, wherever it lies. A softmax at the end is taken
off, since every later step expects logits, and of a binary or multi-label task the sigmoid: no answer
changes by it. Keras 3 files are rebuilt from legacy layers (`_keras3.py`). What has none (layers that are
new in Keras 3, layers of the workload's `custom_objects()`, a SavedModel that was exported for serving)
is kept as a frozen graph (`_frozen.py`): quantize and quantize_edge take it, other steps refuse it.

Code in a model file is never run: `_model_file.py` refuses it before Keras sees the file.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import BadModelFile
from pipeline.steps._given_file import GivenFile
from pipeline.steps._last_activation import last_activation
from pipeline.steps._model_file import refuse_unsafe, without_code

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES: str | None = None
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "keras", "numpy")

SAMPLES_SEEN = 100  # of validation, whose values are looked at
EXPORTED = "exported"  # in place of a version: a SavedModel without Keras in it
_WAY_OUT = 'save it from its own program with model.save("model.keras") or model.save("model.h5")'


class Config(BaseModel):
    """Which file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: GivenFile = Field(
        description="Trained model: .h5, .keras, or the folder of a SavedModel; relative to the project's root."
    )


def run(source: Path | None, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the model, logits out, as `model.h5` or `model.pb` into `out`; return where it came from.

    `only_quantized` names what keeps other steps than the quantizing ones from working on it, None where nothing does.
    `validation_accuracy` is None when the model has more or fewer classes than the workload, which a
    transfer step mends. Raises BadModelFile for a file that holds no such model.
    """
    from pipeline.keras_legacy import make_repeatable

    make_repeatable(0)
    custom = _custom_objects(workload)
    refuse_unsafe(config.path, custom)
    written_by = keras_version(config.path)
    model, obstacle = _read(config.path, written_by, workload, custom)
    return {"keras_version": written_by, **kept(model, obstacle, config.path, workload, out)}


def kept(model: Any, obstacle: str | None, path: Path, workload: Workload, out: Path) -> dict[str, Any]:
    """Write the model that was read from `path`, logits out, into `out`; return what is known of it.

    obstacle: what keeps it from being legacy Keras layers; None where it is. Raises BadModelFile for a model
    that does not take the workload's samples.
    """
    from pipeline.steps._fit import save_model, validation_score
    from pipeline.steps._frozen import REASON_FILE, load_frozen, save_frozen

    inputs, outputs = ([list(tensor.shape) for tensor in tensors] for tensors in (model.inputs, model.outputs))
    wanted = list(workload.output_shape)
    if [shape[1:] for shape in inputs] != [list(workload.input_shape)] or [len(s) - 1 for s in outputs] != [
        len(wanted)
    ]:
        raise BadModelFile(
            f"{path} does not take what the workload {workload.name} gives, or gives something else",
            received=f"inputs {inputs}, outputs {outputs}",
            expected=f"one input {[None, *workload.input_shape]}, one output {[None, *wanted]}",
            fix="take another file, or a workload whose INPUT_SHAPE is the model's",
        )
    _refuse_values(model, path, workload)
    activation, parameters = last_activation(workload), model.count_params()
    if obstacle:
        removed = save_frozen(model, activation and activation.capitalize(), out)
        (out / REASON_FILE).write_text(obstacle, encoding="utf-8")
        model = load_frozen(out)
    else:
        model, removed = without_activation(model, activation)
        save_model(model, out)
    known = outputs[0][1:] == wanted
    return {
        "parameters": parameters,
        "classes": outputs[0][-1],
        "activation_removed": activation if removed else None,
        "only_quantized": obstacle,
        f"validation_{workload.metric}": validation_score(model, workload) if known else None,
    }


def _refuse_values(model: Any, path: Path, workload: Workload) -> None:
    """Raise BadModelFile for weights that are not finite, and for whole-number inputs that would cut the samples."""
    import numpy as np

    from pipeline.keras_legacy import tf

    weights = model.get_weights() if hasattr(model, "get_weights") else []
    if not all(np.isfinite(weight).all() for weight in weights if np.issubdtype(weight.dtype, np.floating)):
        raise BadModelFile(
            f"{path} computes nothing",
            received="weights that are not finite",
            expected="finite weights",
            fix="train it again with a lower learning rate, and save it while its loss is a number",
        )
    dtype = tf.as_dtype(model.inputs[0].dtype)
    if not dtype.is_integer:
        return
    samples = workload.preprocess(workload.load("validation")[0][:SAMPLES_SEEN])
    if not np.array_equal(np.asarray(samples).astype(dtype.as_numpy_dtype), samples):
        raise BadModelFile(
            f"{path} does not take what the workload {workload.name} gives",
            received=f"an input of {dtype.name}",
            expected=f"float32: preprocess() gives {samples.min():.3g} to {samples.max():.3g}, not whole {dtype.name}",
            fix=f"let preprocess() give whole numbers of {dtype.name}, or save the model with a float32 input",
        )


def _custom_objects(workload: Workload) -> dict[str, Any]:
    """Return {name: class or function} of the workload's own layers; empty where it gives none.

    What register_keras_serializable() named goes by that name as well, such as Custom>Twice.
    """
    given = getattr(workload.module, "custom_objects", None)
    named = dict(given()) if given else {}
    registries = [sys.modules[library].saving for library in ("keras", "tf_keras") if named and library in sys.modules]
    return {registry.get_registered_name(one): one for registry in registries for one in named.values()} | named


def keras_version(path: Path) -> str:
    """Return the version of Keras that wrote the model, "2" for a SavedModel. Raises BadModelFile."""
    import h5py

    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "2" if (path / "keras_metadata.pb").is_file() else EXPORTED
        raise _bad(path, "a folder without saved_model.pb")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                raise _bad(path, "an HDF5 file without a model in it; weights alone do not say which network they fit")
            return str(file.attrs.get("keras_version", "2"))
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise _bad(path, str(error)) from error


def without_activation(model: Any, name: str | None) -> tuple[Any, bool]:
    """Return the legacy model with logits out, and whether the activation `name` had to be taken off its end."""
    from pipeline.keras_legacy import keras

    last = model.layers[-1]
    while hasattr(last, "layers") and name:  # a model within the model
        last = last.layers[-1]
    activation = getattr(keras.activations, name or "linear")
    if getattr(last, "activation", None) is activation and name and not isinstance(last, keras.layers.Activation):
        last.activation = keras.activations.linear
        return model, True
    if last is model.layers[-1] and (
        (name == "softmax" and isinstance(last, keras.layers.Softmax))
        or (name and isinstance(last, keras.layers.Activation) and last.activation is activation)
    ):
        return keras.Model(model.inputs, last.input), True
    return model, False


def _read(path: Path, written_by: str, workload: Workload, custom: dict[str, Any]) -> tuple[Any, str | None]:
    """Return the model, and what keeps it from being legacy Keras layers throughout: None where nothing does."""
    from pipeline.keras_legacy import keras
    from pipeline.steps._frozen import read_served, refuse_foreign_operators
    from pipeline.steps._keras3 import load_keras3

    try:
        if path.is_dir():
            refuse_foreign_operators(path)
        if written_by == EXPORTED:
            return read_served(path), "an exported SavedModel, which has operators and no layers"
        if written_by.startswith("3"):
            return load_keras3(path, workload, custom)
        model = keras.models.load_model(path, custom_objects=custom, compile=False)
    except BadModelFile:
        raise
    except Exception as error:  # a damaged file or an unknown layer: Keras raises many kinds
        unknown = re.search(r"[Uu]nknown (?:layer|object|activation function|\w+): '?([\w>]+)", str(error))
        if unknown:
            raise without_code(path, unknown[1]) from error
        cause = str(error).rpartition("Exception encountered: ")[2]  # Keras 3 puts the configuration before it
        raise _bad(path, f"{type(error).__name__}: {cause.strip()[:300]}") from error
    if not isinstance(model, keras.Model) or not model.inputs:
        raise _bad(path, f"a {type(model).__name__} without inputs of known shapes")
    given = list(custom.values())
    own = [
        layer
        for layer in model._flatten_layers()
        if not _is_stock(type(layer).__module__) or getattr(layer, "activation", None) in given
    ]
    return model, f"{own[0].name}, a {type(own[0]).__name__}" if own else None


def _is_stock(module: str) -> bool:
    return module.startswith("tf_keras.src.") and ".saving." not in module  # a SavedModel revives layers without code


def _bad(path: Path, received: str) -> BadModelFile:
    return BadModelFile(
        f"{path} cannot be loaded as a trained Keras model",
        received=received,
        expected="a whole model of stock layers: .h5, .keras, or a SavedModel",
        fix=_WAY_OUT,
    )
