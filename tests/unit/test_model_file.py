"""What is refused before Keras sees a model's file: code, pickles, and archives that are more than they say."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.errors import EXIT_REQUEST, BadModelFile
from pipeline.steps._model_file import refuse_unsafe


def layer(kind: str, module: str | None = "keras.layers", name: str = "odd", **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": {"name": name, **config}, "registered_name": None}


def model(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def keras_file(path: Path, config: Any, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path, *custom: str) -> BadModelFile:
    with pytest.raises(BadModelFile) as caught:
        refuse_unsafe(path, custom)
    assert caught.value.exit_code == EXIT_REQUEST
    assert str(path) in caught.value.message
    assert caught.value.fix
    return caught.value


ACTIVATION = {"module": "builtins", "class_name": "function", "config": "bend", "registered_name": "function"}


@pytest.mark.parametrize(
    ("part", "received"),
    [
        (layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEA"}}), "odd, a Lambda"),
        (layer("Bidirectional", layer=layer("Lambda", name="inner")), "inner, a Lambda"),
        (layer("Dense", activation={"class_name": "__lambda__", "config": {"code": "4wEA"}}), "a __lambda__"),
        (layer("TorchModuleWrapper", module="keras.layers", module_bytes="gAJ9"), "a pickle"),
        (layer("TFOpLambda", "tf_keras.src.layers.core.tf_op_layer", function="io.write_file"), "tf.io.write_file"),
        (layer("TFOpLambda", "tf_keras.src.layers.core.tf_op_layer", function="raw_ops.ReadFile"), "raw_ops.ReadFile"),
        (layer("TFOpLambda", "tf_keras.src.layers.core.tf_op_layer", function="py_function"), "tf.py_function"),
        (layer("system", "os"), "a system"),
        (layer("eval", "builtins"), "a eval"),
        (layer("Twice", None), "odd, a Twice"),
        (layer("Dense", activation=ACTIVATION), "a function"),
        ({**layer("Twice", "keras.layers"), "registered_name": "Mine>Twice"}, "odd, a Twice"),
        ({**layer("Other", "keras.src.layers"), "registered_name": "Lambda"}, "odd, a Other (Lambda)"),
        (layer("layers.Lambda", "keras"), "odd, a layers.Lambda"),
        (
            layer("Dense", activation={**ACTIVATION, "module": "tf_keras.src.utils", "config": "os.system"}),
            "a function",
        ),
        (layer("Dense", activation={**ACTIVATION, "module": "keras.models", "config": "load_model"}), "a function"),
        (layer("Dense", activation={**ACTIVATION, "module": "keras.losses", "config": "os.system"}), "a function"),
    ],
)
def test_code_in_a_configuration(tmp_path: Path, part: dict[str, Any], received: str) -> None:
    assert received in refusal(keras_file(tmp_path / "model.keras", model(part))).received


def test_what_the_workload_gives_the_code_of(tmp_path: Path) -> None:
    own = keras_file(tmp_path / "own.keras", model(layer("Twice", None), layer("Dense", activation=ACTIVATION)))
    assert "Twice" in refusal(own, "bend").received
    assert "function" in refusal(own, "Twice").received
    refuse_unsafe(own, ["Twice", "bend"])
    # Keras asks for the registered name, and imports the module for any other.
    other = keras_file(tmp_path / "other.keras", model({**layer("Twice", "os"), "registered_name": "Mine>Twice"}))
    assert "(Mine>Twice)" in refusal(other, "Twice").received
    refuse_unsafe(other, ["Mine>Twice"])
    hidden = {**ACTIVATION, "module": "tf_keras.src.utils", "config": "os.system", "registered_name": "Twice"}
    assert (
        "function"
        in refusal(keras_file(tmp_path / "h.keras", model(layer("Dense", activation=hidden))), "Twice").received
    )
    # Its name does not make byte code less.
    lambdas = keras_file(tmp_path / "lambda.keras", model(layer("Lambda")))
    assert "a Lambda" in refusal(lambdas, "Lambda").received


def test_stock_layers_pass(tmp_path: Path) -> None:
    arithmetic = layer("TFOpLambda", "tf_keras.src.layers.core.tf_op_layer", function="__operators__.add")
    operation = layer("GetItem", "keras.src.ops.numpy")
    function = {"module": "keras.activations", "class_name": "function", "config": "relu", "registered_name": "relu"}
    parts = model(layer("Dense", activation=function), arithmetic, operation, layer("Adam", "tf_keras.optimizers"))
    # Of how it was trained nothing is read.
    parts["compile_config"] = {"loss": ACTIVATION, "metrics": [{"class_name": "__lambda__", "config": {}}]}
    refuse_unsafe(keras_file(tmp_path / "model.keras", parts))


def test_a_lambda_in_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [layer("Lambda")]})
    assert "odd, a Lambda" in refusal(tmp_path / "model.h5").received


def test_a_lambda_in_hdf5_that_hides_behind_other_bytes(tmp_path: Path) -> None:
    config = json.dumps({"class_name": "Sequential", "config": [layer("Lambda")]})
    with h5py.File(tmp_path / "model.h5", "w", userblock_size=512) as file:
        file.attrs["model_config"] = config
    assert "odd, a Lambda" in refusal(tmp_path / "model.h5").received
    with h5py.File(tmp_path / "both.h5", "w") as file:  # Keras reads what the name says, and not the archive
        file.attrs["model_config"] = config
    with zipfile.ZipFile(tmp_path / "both.h5", "a") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", json.dumps(model()))
    assert "odd, a Lambda" in refusal(tmp_path / "both.h5").received


@pytest.mark.parametrize("name", ["model.pkl", "model.h5", "model.keras"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_pickles_under_any_name(tmp_path: Path, name: str, protocol: int) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"weights": [1.0]}, protocol=protocol))
    assert "a pickle" in refusal(tmp_path / name).received


def test_a_pickle_of_the_first_kind_is_known_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "model.pickle").write_bytes(pickle.dumps({}, protocol=0))
    assert "a pickle" in refusal(tmp_path / "model.pickle").received


def test_a_pytorch_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
    error = refusal(tmp_path / "model.pt")
    assert "PyTorch" in error.received
    assert "quantize_tflite" in error.fix


def test_a_pickle_within_a_keras_file(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "model.keras", model(), **{"assets/extra.pkl": pickle.dumps({})})
    assert "pickle" in refusal(path).received


def test_other_formats_are_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\x1c\0\0\0TFL3" + bytes(20))
    assert "quantize_tflite" in refusal(tmp_path / "model.bin").fix
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07")
    assert "ONNX" in refusal(tmp_path / "model.onnx").received


def weights_file(path: Path, **data_set: Any) -> bytes:
    with h5py.File(path, "w") as file:
        file.create_dataset("kernel", **data_set)
    return path.read_bytes()


def test_archives_are_bounded(tmp_path: Path) -> None:
    bomb = keras_file(tmp_path / "bomb.keras", model(), **{"assets/zeros": bytes(80_000_000)})
    assert "unpack to 80,0" in refusal(bomb).received
    for name in ("../outside", "/etc/outside", "assets/../../outside", "..\\outside"):
        path = keras_file(tmp_path / "leaves.keras", model(), **{name: b"x"})
        assert "leaves the archive" in refusal(path).received
    other = keras_file(tmp_path / "other.keras", model(), **{"model.weights.npz": b"x"})
    assert "model.weights.npz" in refusal(other).received
    assert "damaged" in refusal(keras_file(tmp_path / "deep.keras", "[" * 100_000)).received


@pytest.mark.parametrize("inside", [True, False])
def test_weights_that_the_file_does_not_hold(tmp_path: Path, inside: bool) -> None:
    def given(content: bytes) -> Path:
        path = tmp_path / ("model.keras" if inside else "model.h5")
        if inside:
            return keras_file(path, model(), **{"model.weights.h5": content})
        path.write_bytes(content)
        return path

    raw = tmp_path / "raw.h5"
    random = np.random.default_rng(0).normal(size=100)
    refuse_unsafe(given(weights_file(raw, data=random)))
    huge = given(weights_file(raw, shape=(10**12,), dtype="f4", chunks=(1000,)))
    assert "claim 4,000,000,000,000 bytes" in refusal(huge).received
    secret = [(str(tmp_path / "secret"), 0, 400)]
    assert "kernel" in refusal(given(weights_file(raw, shape=(100,), dtype="f4", external=secret))).received
    with h5py.File(raw, "w") as file:
        file["kernel"] = h5py.ExternalLink("other.h5", "/kernel")
    assert "the link kernel" in refusal(given(raw.read_bytes())).received
    with h5py.File(raw, "w") as file:
        one = file.create_group("one")
        one.create_group("two")["one"] = one
    refuse_unsafe(given(raw.read_bytes()))


def test_a_damaged_list_of_a_saved_models_layers(tmp_path: Path) -> None:
    (tmp_path / "keras_metadata.pb").write_bytes(b"\x0a\xff\xff")
    assert "damaged keras_metadata.pb" in refusal(tmp_path).received
