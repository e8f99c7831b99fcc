"""Begin a recipe with a trained model from a file: legacy Keras (`.h5`, `.keras`, SavedModel) or Keras 3.

The model of another workload's stage is such a file as well: `model.h5` in the stage's folder of the
store. The file's content is a part of the stage's key, wherever it lies. A softmax at the end is taken
off, since every later step expects logits; no class changes its rank by it. Keras 3 files are rebuilt
from legacy layers (`_keras3.py`). A model file may hold code: load what you trust.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from pipeline.errors import BadModelFile

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES: str | None = None
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "keras", "numpy")

_WAY_OUT = 'save it from its own program with model.save("model.keras") or model.save("model.h5")'


def _in_project(path: Path, info: ValidationInfo) -> Path:
    """Return the absolute path; a relative one starts at the project's root."""
    path = (info.context or {}).get("root", Path()) / path.expanduser()
    if not path.exists():
        raise ValueError(f"there is no {path.absolute()}; expected a file, or the folder of a SavedModel")
    return path.absolute()


class Config(BaseModel):
    """Which file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[Path, AfterValidator(_in_project)] = Field(
        description="Trained model: .h5, .keras, or the folder of a SavedModel; relative to the project's root."
    )


def run(source: Path | None, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the model, logits out, as `model.h5` into `out`; return where it came from and its accuracy.

    `validation_accuracy` is None when the model has more or fewer classes than the workload, which a
    transfer step mends. Raises BadModelFile for a file that holds no such model.
    """
    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps._fit import save_model, validation_score

    make_repeatable(0)
    written_by = keras_version(config.path)
    model = _read(config.path, written_by, workload)
    received = f"inputs {[list(t.shape) for t in model.inputs]}, outputs {[list(t.shape) for t in model.outputs]}"
    shapes = [tensor.shape[1:] for tensor in model.inputs], [len(tensor.shape) for tensor in model.outputs]
    if shapes != ([workload.input_shape], [2]):
        raise BadModelFile(
            f"{config.path} does not take what the workload {workload.name} gives, or gives no classes",
            received=received,
            expected=f"one input {[None, *workload.input_shape]}, one output [None, classes]",
            fix="take another file, or a workload whose INPUT_SHAPE is the model's",
        )
    model, softmax = without_softmax(model)
    save_model(model, out)
    classes = model.output_shape[-1]
    known = classes == len(workload.labels)
    return {
        "keras_version": written_by,
        "parameters": model.count_params(),
        "classes": classes,
        "softmax_removed": softmax,
        f"validation_{workload.metric}": validation_score(model, workload) if known else None,
    }


def keras_version(path: Path) -> str:
    """Return the version of Keras that wrote the model, "2" for a SavedModel. Raises BadModelFile."""
    import h5py

    if path.is_dir():
        if (path / "keras_metadata.pb").is_file():
            return "2"
        raise _bad(path, "a folder without keras_metadata.pb: no Keras model, or what Keras 3 exports for serving")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                raise _bad(path, "an HDF5 file without a model in it; weights alone do not say which network they fit")
            return str(file.attrs.get("keras_version", "2"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise _bad(path, str(error)) from error


def without_softmax(model: Any) -> tuple[Any, bool]:
    """Return the model with logits out, and whether a softmax had to be taken off its end."""
    from pipeline.keras_legacy import keras

    last = model.layers[-1]
    softmax = keras.activations.softmax
    if isinstance(last, keras.layers.Softmax) or (
        isinstance(last, keras.layers.Activation) and last.activation is softmax
    ):
        return keras.Model(model.inputs, last.input), True
    if getattr(last, "activation", None) is softmax:
        last.activation = keras.activations.linear
        return model, True
    return model, False


def _read(path: Path, written_by: str, workload: Workload) -> Any:
    from pipeline.keras_legacy import keras
    from pipeline.steps._keras3 import load_keras3

    try:
        if written_by.startswith("3"):
            return load_keras3(path, workload)
        return keras.models.load_model(path, compile=False)
    except BadModelFile:
        raise
    except Exception as error:  # a damaged file or an unknown layer: Keras raises many kinds
        cause = str(error).rpartition("Exception encountered: ")[2]  # Keras 3 puts the configuration before it
        raise _bad(path, f"{type(error).__name__}: {cause.strip()[:300]}") from error


def _bad(path: Path, received: str) -> BadModelFile:
    return BadModelFile(
        f"{path} cannot be loaded as a trained Keras model",
        received=received,
        expected="a whole model of stock layers: .h5, .keras, or a SavedModel that legacy Keras wrote",
        fix=_WAY_OUT,
    )
