"""Models from files: legacy Keras in its three formats, Keras 3, and what is refused."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from step_runs import run_step, varied

from pipeline.errors import EXIT_REQUEST, BadModelFile
from pipeline.keras_legacy import keras, make_repeatable
from pipeline.steps import load
from pipeline.steps._fit import load_model

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras as keras3

SHAPE = (28, 28, 1)


def network(library: Any, activation: str = "linear", **first: Any) -> Any:
    """Return a small network of either generation of Keras, with random statistics of its normalization."""
    layers = library.layers
    inputs = library.Input(SHAPE)
    one = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", **first)(inputs)
    two = layers.BatchNormalization(name="norm", epsilon=0.01)(layers.DepthwiseConv2D(3, padding="same")(one))
    both = layers.Concatenate()([layers.ReLU(max_value=6)(layers.Add()([one, two])), two])
    pooled = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(both)))
    model = library.Model(inputs, layers.Dense(10, activation=activation, name="logits")(pooled))
    random = np.random.default_rng(1)
    model.get_layer("norm").set_weights(random.uniform(0.5, 1.5, (4, 4)))
    return model


def sequential3() -> Any:
    layers = keras3.layers
    return keras3.Sequential(
        [
            keras3.Input(SHAPE),
            layers.Conv2D(4, 5, strides=2, kernel_regularizer="l2", kernel_initializer="he_normal"),
            layers.LeakyReLU(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def nested3() -> Any:
    """A model in a model, and one layer used twice."""
    inner = keras3.Sequential([keras3.Input(SHAPE), keras3.layers.Conv2D(1, 3, padding="same", activation="tanh")])
    inputs = keras3.Input(SHAPE)
    flat = keras3.layers.Flatten()(inner(inner(inputs)))
    return keras3.Model(inputs, keras3.layers.Dense(10)(flat))


def outputs(model: Any) -> np.ndarray:
    samples, _ = varied().load("validation")
    return model.predict(varied().preprocess(samples[:100]), verbose=0)


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "saved_model"])
def test_legacy_formats_keep_the_model(tmp_path: Path, name: str) -> None:
    make_repeatable(0)
    model = network(keras)
    model.save(tmp_path / name, save_format="tf" if name == "saved_model" else None)
    facts = run_step(load, None, tmp_path / "out", varied(), path=tmp_path / name)
    assert np.array_equal(outputs(load_model(tmp_path / "out")), outputs(model))
    assert facts["keras_version"].startswith("2")
    assert facts["parameters"] == model.count_params()
    assert (facts["classes"], facts["softmax_removed"]) == (10, False)
    labels = varied().load("validation")[1][:100]
    assert 0 <= facts["validation_accuracy"] <= 1
    assert len(labels) == 100


@pytest.mark.parametrize("make", [lambda: network(keras3), sequential3, nested3], ids=["graph", "sequential", "nested"])
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_3_models_are_rebuilt(tmp_path: Path, make: Callable[[], Any], name: str) -> None:
    model = make()
    model.save(tmp_path / name)
    facts = run_step(load, None, tmp_path / "out", varied(), path=tmp_path / name)
    rebuilt = load_model(tmp_path / "out")
    assert isinstance(rebuilt, keras.Model)
    assert not isinstance(rebuilt, keras3.Model)
    assert outputs(rebuilt) == pytest.approx(outputs(model), abs=1e-5)
    assert facts["keras_version"].startswith("3")


@pytest.mark.parametrize("library", [keras, keras3], ids=["legacy", "keras 3"])
def test_a_softmax_at_the_end_gives_way_to_logits(tmp_path: Path, library: Any) -> None:
    model = network(library, activation="softmax")
    model.save(tmp_path / "model.keras")
    facts = run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "model.keras")
    logits = outputs(load_model(tmp_path / "out"))
    assert facts["softmax_removed"]
    assert np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) == pytest.approx(outputs(model), abs=1e-5)
    assert np.ptp(logits.sum(axis=1)) > 0.01


@pytest.mark.parametrize("last", [keras.layers.Softmax, lambda: keras.layers.Activation("softmax")])
def test_a_layer_of_softmax_is_taken_off(last: Callable[[], Any]) -> None:
    body = network(keras)
    model, removed = load.without_softmax(keras.Model(body.inputs, last()(body.output)))
    assert removed
    assert np.array_equal(outputs(model), outputs(body))


def test_other_classes_are_allowed_and_have_no_accuracy(tmp_path: Path) -> None:
    network(keras).save(tmp_path / "model.h5")
    facts = run_step(load, None, tmp_path / "out", varied(LABELS=("0", "1")), path=tmp_path / "model.h5")
    assert (facts["classes"], facts["validation_accuracy"]) == (10, None)


def custom3() -> Any:
    class Twice(keras3.layers.Layer):
        def call(self, batch: Any) -> Any:
            return batch * 2

    inputs = keras3.Input(SHAPE)
    return keras3.Model(inputs, keras3.layers.Dense(10)(Twice()(keras3.layers.Flatten()(inputs))))


def operator3() -> Any:
    inputs = keras3.Input(SHAPE)
    flat = keras3.layers.Flatten()(inputs)
    return keras3.Model(inputs, keras3.layers.Dense(10)(flat + flat))


def understood_otherwise3() -> Any:
    """Legacy Keras calls this layer's argument by another name, and so would take its default."""
    inputs = keras3.Input(SHAPE)
    network = keras3.layers.Dense(10)(keras3.layers.Flatten()(inputs))
    return keras3.Model(inputs, keras3.layers.LeakyReLU(negative_slope=0.9)(network))


def unknown_layer3() -> Any:
    inputs = keras3.Input(SHAPE)
    flat = keras3.layers.Flatten()(keras3.layers.RandomGrayscale(data_format="channels_last")(inputs))
    return keras3.Model(inputs, keras3.layers.Dense(10)(flat))


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (operator3, "a Add"),
        (understood_otherwise3, "outputs that differ by up to"),
        (unknown_layer3, "a RandomGrayscale"),
        (custom3, "Twice"),
    ],
)
def test_keras_3_models_that_cannot_be_rebuilt(tmp_path: Path, make: Callable[[], Any], received: str) -> None:
    make().save(tmp_path / "model.keras")
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "model.keras")
    assert received in caught.value.received
    assert caught.value.fix
    assert caught.value.exit_code == EXIT_REQUEST


def truncated(path: Path) -> None:
    network(keras).save(path)
    path.write_bytes(path.read_bytes()[:5000])


def weights_alone(path: Path) -> None:
    network(keras).save_weights(path)


def other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"author": "nobody"}))


def damaged_member(path: Path) -> None:
    network(keras).save(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(content[2000:2040], bytes(40)))


def other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = [1, 2, 3]


def export(path: Path) -> None:
    keras3.export = None
    network(keras3).export(path, verbose=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("empty.h5", lambda path: path.write_bytes(b"")),
        ("random.keras", lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000))),
        ("truncated.h5", truncated),
        ("truncated.keras", truncated),
        ("damaged.keras", damaged_member),
        ("weights.h5", weights_alone),
        ("archive.keras", other_archive),
        ("data.h5", other_hdf5),
        ("empty folder", lambda path: path.mkdir()),
        ("export", export),
    ],
)
def test_files_that_hold_no_model(tmp_path: Path, name: str, write: Callable[[Path], Any]) -> None:
    write(tmp_path / name)
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "out", varied(), path=tmp_path / name)
    assert name in caught.value.message
    assert caught.value.received
    assert "model.save(" in caught.value.fix


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 3)])
def test_other_inputs_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = keras.Sequential([keras.layers.Flatten(input_shape=shape), keras.layers.Dense(10)])
    model.save(tmp_path / "model.h5")
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "model.h5")
    assert str(list(shape))[1:] in caught.value.received
    assert "[None, 28, 28, 1]" in caught.value.expected


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    inputs = [keras.Input(SHAPE), keras.Input(SHAPE)]
    added = keras.layers.Flatten()(keras.layers.Add()(inputs))
    keras.Model(inputs, keras.layers.Dense(10)(added)).save(tmp_path / "model.h5")
    with pytest.raises(BadModelFile, match="does not take what the workload varied gives"):
        run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "model.h5")
