"""Looks into a trained model's file before Keras does: what would run code, or take more than it says, is refused.

Legacy Keras runs the byte code of a Lambda layer as soon as it loads one, imports any module that a
configuration names, and a pickle runs whatever it likes (Keras's CVE-2024-3660, CVE-2025-1550,
CVE-2025-49655). So the configuration is read here as plain JSON, and only stock layers, or those that the
workload's `custom_objects()` gives, get as far as Keras. TensorFlow is not imported.
"""

from __future__ import annotations

import json
import zipfile
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import BadModelFile

JSON_BYTES_MAX = 64 * 2**20  # of the configuration; that of a network of 1,000 layers takes 1 MB
UNPACKED_MAX = 100  # times the file's own size, beyond JSON_BYTES_MAX; weights hardly shrink
MEMBERS = ("metadata.json", "config.json", "model.weights.h5", "assets")
STOCK = ("keras", "tf_keras")
FUNCTIONS = ("activations", "constraints", "initializers", "losses", "metrics", "ops", "regularizers")  # their modules
# Functions of TensorFlow that a legacy model may call between its layers (TFOpLambda): arithmetic alone.
TENSORFLOW = ("math", "nn", "linalg", "image", "signal", "__operators__")
# fmt: off
ARITHMETIC = (
    "abs", "add", "argmax", "argmin", "broadcast_to", "cast", "clip_by_value", "concat", "divide", "exp",
    "expand_dims", "gather", "identity", "matmul", "maximum", "minimum", "multiply", "norm", "ones_like", "pad",
    "pow", "reduce_max", "reduce_mean", "reduce_min", "reduce_sum", "repeat", "reshape", "reverse", "round",
    "shape", "sigmoid", "sign", "slice", "split", "sqrt", "square", "squeeze", "stack", "strided_slice",
    "subtract", "tanh", "tile", "transpose", "unstack", "where", "zeros_like", "convert_to_tensor",
    "compat.v1.transpose", "compat.v1.squeeze", "compat.v1.gather", "compat.v1.nn.conv2d",
)
# fmt: on
SAFE_WAY = (
    'save it from its own program with model.save("model.keras") or model.save("model.h5"), '
    "with stock layers in place of what is named here"
)


def refuse_unsafe(path: Path, custom: Collection[str] = ()) -> None:
    """Raise BadModelFile for a model that would run code, is a pickle, or unpacks to far more than it says.

    custom: names of the classes and functions whose code the workload gives. A file that is no model at
    all passes: who reads it says so.
    """
    import h5py

    if path.is_dir():
        if (path / "keras_metadata.pb").is_file():
            for config in saved_model_configs(path / "keras_metadata.pb"):
                _refuse_code(path, config, custom, stock_only=False)  # a graph stands for what lacks its code
        return
    with path.open("rb") as stream:
        start = stream.read(16)
    if path.suffix in (".tflite", ".lite") or start[4:8] == b"TFL3":
        raise refused(path, "a .tflite file", 'begin the recipe with step = "quantize_tflite", which quantizes one')
    if _is_pickle(start) or path.suffix in (".pkl", ".pickle", ".joblib"):
        raise refused(path, "a pickle, which runs code as it is read", SAFE_WAY)
    if path.suffix == ".onnx":
        raise refused(path, "an ONNX file", 'begin the recipe with step = "load_onnx", which takes one')
    if zipfile.is_zipfile(path):
        _refuse_archive(path, custom)
    if h5py.is_hdf5(path):  # also behind a block of other bytes, or before an archive: Keras goes by the file's name
        _refuse_hdf5(path, path, custom)


def refused(path: Path, received: str, fix: str) -> BadModelFile:
    """Return the error for a file that is not even given to Keras."""
    return BadModelFile(
        f"{path} is not loaded",
        received=received,
        expected="a Keras model of stock layers, without code in it: .h5, .keras, or the folder of a SavedModel",
        fix=fix,
    )


def layers_in(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every {"class_name", "config", …} of a model's configuration, the outermost first."""
    waiting = deque([config])
    while waiting:
        value = waiting.popleft()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


# Legacy Keras's own layers that run an operator or a method by its name.
CALLERS = ("TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty")


def _refuse_code(path: Path, config: Any, custom: Collection[str], *, stock_only: bool = True) -> None:
    for part in layers_in(config):
        kind, inner = part["class_name"], part.get("config")
        settings = inner if isinstance(inner, dict) else {}
        what = f"{settings.get('name') or part.get('name') or 'unnamed'}, a {kind}"
        if kind in ("Lambda", "__lambda__"):
            raise refused(
                path,
                f"the layer {what}: it holds Python byte code, which would run",
                "replace the Lambda by a stock layer (Rescaling, Activation, …) or by a class of your own that the "
                "workload's custom_objects() gives, and save again",
            )
        if kind == "TorchModuleWrapper":
            raise refused(path, f"the layer {what}: it holds a pickle, which runs code as it is read", SAFE_WAY)
        if kind in CALLERS:
            raise refused(path, f"the layer {what}: it calls what it names, whatever that is", SAFE_WAY)
        function = settings.get("function")
        if kind in ("TFOpLambda", "SlicingOpLambda") and not _is_arithmetic(function):
            raise refused(path, f"the layer {what} that calls tf.{function}", SAFE_WAY)
        if stock_only and _is_foreign(part) and _name(part) not in custom:
            raise without_code(path, what if kind in (_name(part), "function") else f"{what} ({_name(part)})")


def without_code(path: Path, what: str) -> BadModelFile:
    """Return the error for a layer or function of the user's own that the workload does not give."""
    return refused(
        path,
        f"{what}: a custom layer or function, whose code is not in the file",
        "let the workload define custom_objects(), which returns {name: class or function}; "
        "such a model can be quantized, not pruned or clustered",
    )


def _is_foreign(part: dict[str, Any]) -> bool:
    """True for what Keras would have to import, or find in the program that saved it.

    Of Keras's own modules too, which hold more than layers: "os.system" of one that imports os is found as well.
    """
    if "module" not in part:
        return False
    package, *inner = str(part["module"]).split(".")  # "None" and "builtins" are of the user's program as well
    is_function = part["class_name"] == "function"
    name = str(part.get("config") if is_function else part["class_name"])
    if package not in STOCK or not name.isidentifier():
        return True
    if part.get("registered_name") not in (None, name, *(["function"] if is_function else [])):
        return True
    return is_function and not set(inner) & set(FUNCTIONS)


def _name(part: dict[str, Any]) -> str:
    """Return the name by which Keras asks for a custom class or function before it imports a module."""
    if part["class_name"] == "function":
        return str(part.get("config"))
    return str(part.get("registered_name") or part["class_name"])


def _is_arithmetic(function: Any) -> bool:
    name = str(function)
    return name in ARITHMETIC or (name.split(".")[0] in TENSORFLOW and "." in name)


def _is_pickle(start: bytes) -> bool:
    return len(start) > 2 and start[0] == 0x80 and 2 <= start[1] <= 5


def _refuse_archive(path: Path, custom: Collection[str]) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                place = PurePosixPath(member.filename.replace("\\", "/"))
                if place.is_absolute() or ".." in place.parts:
                    raise refused(path, f"a member that leaves the archive: {member.filename[:100]}", SAFE_WAY)
                if place.name == "data.pkl" or place.suffix in (".pkl", ".pickle"):
                    raise refused(
                        path,
                        f"{member.filename[:100]} within it: a PyTorch file or another pickle, "
                        "which runs code as it is read",
                        'export it with torch.onnx.export and begin the recipe with step = "load_onnx", or '
                        'with litert-torch to a float .tflite for step = "quantize_tflite"',
                    )
            unpacked, packed = sum(member.file_size for member in members), path.stat().st_size
            if unpacked > max(JSON_BYTES_MAX, UNPACKED_MAX * packed):
                raise refused(path, f"{packed:,} bytes that unpack to {unpacked:,}", SAFE_WAY)
            names = {member.filename for member in members}
            if "config.json" not in names or "metadata.json" not in names:
                return
            foreign = sorted(name for name in names if name.split("/")[0] not in MEMBERS)
            if foreign:
                raise refused(path, f"{foreign[0][:100]} in the archive, which Keras writes nowhere", SAFE_WAY)
            for name in ("metadata.json", "config.json"):
                if archive.getinfo(name).file_size > JSON_BYTES_MAX:
                    raise refused(path, f"a {name} of {archive.getinfo(name).file_size:,} bytes", SAFE_WAY)
            config = json.loads(archive.read("config.json"))
            if isinstance(config, dict):
                config.pop("compile_config", None)  # a loss of one's own, say: the model is not compiled as it is read
            _refuse_code(path, config, custom)
            if "model.weights.h5" in names:
                with archive.open("model.weights.h5") as weights:
                    _refuse_hdf5(path, weights, custom)
    except (ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise refused(path, f"a damaged archive: {str(error)[:200]}", SAFE_WAY) from error


def _refuse_hdf5(path: Path, source: Any, custom: Collection[str]) -> None:
    """Refuse Lambdas in the configuration, and weights that lie outside the file or claim more than it holds."""
    import h5py

    try:
        with h5py.File(source) as file:
            config = file.attrs.get("model_config")
            if config is not None:
                _refuse_code(path, json.loads(config), custom)
            claimed = 0
            waiting, seen = [file], {h5py.h5o.get_info(file.id).addr}
            while waiting:
                group = waiting.pop()
                for name in group:
                    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                        raise refused(path, f"weights in another file, by the link {name[:100]}", SAFE_WAY)
                    found = group[name]
                    if isinstance(found, h5py.Group):
                        if (place := h5py.h5o.get_info(found.id).addr) in seen:  # groups may hold one another
                            continue
                        seen.add(place)
                        waiting.append(found)
                    elif found.external or found.is_virtual:
                        raise refused(path, f"weights in another file, by the data set {name[:100]}", SAFE_WAY)
                    else:
                        claimed += found.nbytes
                    if claimed > max(JSON_BYTES_MAX, UNPACKED_MAX * path.stat().st_size):
                        raise refused(path, f"weights that claim {claimed:,} bytes, more than the file holds", SAFE_WAY)
    except (ValueError, RecursionError, KeyError, RuntimeError, OSError) as error:
        raise refused(path, f"a damaged HDF5 file: {str(error)[:200]}", SAFE_WAY) from error


def saved_model_configs(path: Path) -> Iterator[Any]:
    """Yield the configurations in `keras_metadata.pb` (a SavedMetadata; its nodes' field 5 is JSON)."""
    try:
        for number, node in fields_of(path.read_bytes()):
            if number == 1 and isinstance(node, bytes):
                for inner, value in fields_of(node):
                    if inner == 5 and isinstance(value, bytes):
                        yield json.loads(value)
    except (ValueError, IndexError, RecursionError, OSError) as error:
        raise refused(path.parent, f"a damaged {path.name}: {str(error)[:200]}", SAFE_WAY) from error


def fields_of(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) of the fields of a message in protobuf's wire format."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(message):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield tag >> 3, varint()
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"field of the unknown kind {kind}")
        length = {1: 8, 5: 4}.get(kind) or varint()
        yield tag >> 3, message[place : place + length]
        place += length
