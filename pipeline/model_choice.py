"""What `--model` may say: a network of the zoo, a trained model's file, or a Python function that gives a model.

mobilenet_v2:width=0.35    a module of pipeline/zoo/ with its options
trained.keras              .keras, .h5 or the folder of a SavedModel: the recipe begins with it
trained.tflite             a float .tflite, which is quantized as it is
net.py:make                make() or make(input_shape, outputs) in net.py returns the untrained model
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import BadModelFile, RequestError, UnknownName
from pipeline.lookup import PACKAGE
from pipeline.network import find_network

EXPECTED = "a network such as mobilenet_v2:width=0.35, a .keras, .h5, .tflite, .onnx or SavedModel, or file.py:function"
STEPS = {".tflite": "quantize_tflite", ".onnx": "load_onnx"}  # by a trained file's ending; others are Keras's
SMALL_SIDE_MAX = 32  # pixels: up to here a picture needs no network that halves it five times


@dataclass(frozen=True)
class ModelChoice:
    """Where a workload's model comes from."""

    network: str  # module of pipeline/zoo/ that build_model calls, unless `code` says otherwise
    options: dict[str, Any] = field(default_factory=dict)
    trained: Path | None = None  # absolute: the recipe begins with this file
    code: Path | None = None  # absolute: the Python file with `function`
    function: str = ""
    takes_shapes: bool = False  # whether the function takes (input_shape, outputs)

    @property
    def step(self) -> str:
        """Name of the step that the recipe begins with."""
        if self.trained is None:
            return "train"
        return STEPS.get(self.trained.suffix, "load")


def default_network(kind: str, task: str, input_shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    """Return a network of the zoo, with options, that suits the data."""
    if task == "anomaly":
        return "autoencoder", {}
    if kind == "audio_folder":
        return "ds_cnn", {}
    if len(input_shape) != 3:
        return "dense", {}
    return ("resnet8", {}) if max(input_shape[:2]) <= SMALL_SIDE_MAX else ("mobilenet_v2", {"width": 0.35})


def model_choice(given: str, kind: str, task: str, input_shape: tuple[int, ...]) -> ModelChoice:
    """Return what `--model` means, or what suits the data where it is left out.

    Raises UnknownName, BadModelFile or RequestError for what cannot be meant. Reads no model and runs no code.
    """
    usual, options = default_network(kind, task, input_shape)
    if not given:
        return ModelChoice(usual, options)
    file, colon, function = given.rpartition(":")
    if colon and file.endswith(".py"):
        return _of_function(Path(file).expanduser().absolute(), function, usual)
    path = Path(given).expanduser().absolute()
    if path.suffix in (".keras", ".h5", ".hdf5", *STEPS) or path.is_dir():
        if not path.exists():
            raise BadModelFile(f"there is no model {given}", received=given, expected=EXPECTED, fix="check the path")
        if path.is_dir() and not (path / "saved_model.pb").is_file():
            raise BadModelFile(
                f"{given} is no SavedModel",
                received="a folder without saved_model.pb",
                expected=EXPECTED,
                fix="name the folder that model.save() wrote",
            )
        return ModelChoice(usual, options, trained=path)
    return _of_zoo(given)


def _of_zoo(given: str) -> ModelChoice:
    if not given.partition(":")[0].strip().isidentifier():
        raise RequestError("--model is none", received=given, expected=EXPECTED, fix="--model=mobilenet_v2:width=0.35")
    module, options = find_network(given)
    path = Path(str(module.__file__))
    if path.is_relative_to(PACKAGE):
        return ModelChoice(path.stem, options)
    return ModelChoice(path.stem, options, code=path, function="build", takes_shapes=True)  # the project's own zoo


def _of_function(path: Path, function: str, usual: str) -> ModelChoice:
    """Look the function up in the file's source: to import it may load TensorFlow."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise RequestError(
            f"--model: {path} cannot be read as Python: {error}",
            received=str(error),
            expected="a Python file with a function that returns an untrained Keras model",
            fix="correct the path or the file",
        ) from error
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
    if function not in functions:
        raise UnknownName("function", function, functions, where=str(path))
    arguments = functions[function]
    positional = [*arguments.posonlyargs, *arguments.args]
    needed = len(positional) - len(arguments.defaults)
    unset = [one.arg for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default]
    if unset or needed not in (0, 2):
        names = [argument.arg for argument in positional[:needed]] + unset
        raise RequestError(
            f"--model: {function}() in {path} cannot be called",
            received=f"arguments without a default: {', '.join(names)}",
            expected=f"{function}() or {function}(input_shape, outputs)",
            fix="give the others a default",
        )
    return ModelChoice(usual, {}, code=path, function=function, takes_shapes=needed == 2)
