"""Models from files: legacy Keras in its three formats, activations at the end, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small_project import copy_project, invoke
from step_runs import SMALL, of_task, run_step, varied

from pipeline.errors import EXIT_REQUEST, BadModelFile
from pipeline.keras_legacy import keras, make_repeatable, tf
from pipeline.steps import load
from pipeline.steps._fit import load_inference, load_model

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
    assert (facts["classes"], facts["activation_removed"], facts["only_quantized"]) == (10, None, None)
    labels = varied().load("validation")[1][:100]
    assert 0 <= facts["validation_accuracy"] <= 1
    assert len(labels) == 100


@pytest.mark.parametrize("library", [keras, keras3], ids=["legacy", "keras 3"])
def test_a_softmax_at_the_end_gives_way_to_logits(tmp_path: Path, library: Any) -> None:
    model = network(library, activation="softmax")
    model.save(tmp_path / "model.keras")
    facts = run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "model.keras")
    logits = outputs(load_model(tmp_path / "out"))
    assert facts["activation_removed"] == "softmax"
    assert np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) == pytest.approx(outputs(model), abs=1e-5)
    assert np.ptp(logits.sum(axis=1)) > 0.01


@pytest.mark.parametrize("last", [keras.layers.Softmax, lambda: keras.layers.Activation("softmax")])
def test_a_layer_of_softmax_is_taken_off(last: Callable[[], Any]) -> None:
    body = network(keras)
    model, removed = load.without_activation(keras.Model(body.inputs, last()(body.output)), "softmax")
    assert removed
    assert np.array_equal(outputs(model), outputs(body))


def test_other_classes_are_allowed_and_have_no_accuracy(tmp_path: Path) -> None:
    network(keras).save(tmp_path / "model.h5")
    facts = run_step(load, None, tmp_path / "out", varied(LABELS=("0", "1")), path=tmp_path / "model.h5")
    assert (facts["classes"], facts["validation_accuracy"]) == (10, None)


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


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1, 2]}))


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
        ("model.pkl", pickled),
        ("model.h5", pickled),
    ],
)
def test_files_that_hold_no_model(tmp_path: Path, name: str, write: Callable[[Path], Any]) -> None:
    write(tmp_path / name)
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "out", varied(), path=tmp_path / name)
    assert name in caught.value.message
    assert caught.value.received
    assert "model.save(" in caught.value.fix
    assert not any((tmp_path / "out").iterdir())


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


@pytest.mark.parametrize("library", [keras, keras3], ids=["legacy", "keras 3"])
def test_two_outputs_are_refused(tmp_path: Path, library: Any) -> None:
    inputs = library.Input(SHAPE)
    flat = library.layers.Flatten()(inputs)
    library.Model(inputs, [library.layers.Dense(10)(flat), library.layers.Dense(2)(flat)]).save(tmp_path / "model.h5")
    with pytest.raises(BadModelFile, match="does not take what the workload varied gives, or gives something else"):
        run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "model.h5")


@pytest.mark.parametrize("library", [keras, keras3], ids=["legacy", "keras 3"])
def test_values_that_do_not_fit_are_refused(tmp_path: Path, library: Any) -> None:
    """Samples between 0 and 1 would be cut to 0; and a training that went astray has left no model."""
    inputs = library.Input(SHAPE, dtype="uint8")
    scaled = library.layers.Flatten()(library.layers.Rescaling(1 / 255)(inputs))
    library.Model(inputs, library.layers.Dense(10)(scaled)).save(tmp_path / "whole.h5")
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "whole", varied(), path=tmp_path / "whole.h5")
    assert "uint8" in caught.value.received
    model = network(library)
    model.set_weights([weight * np.nan for weight in model.get_weights()])
    model.save(tmp_path / "astray.h5")
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "astray", varied(), path=tmp_path / "astray.h5")
    assert "not finite" in caught.value.received


def yes_or_no(library: Any, activation: str) -> Any:
    inputs = library.Input(SHAPE)
    flat = library.layers.Flatten()(inputs)
    return library.Model(inputs, library.layers.Dense(1, activation=activation)(flat))


@pytest.mark.parametrize("library", [keras, keras3], ids=["legacy", "keras 3"])
@pytest.mark.parametrize(("task", "removed"), [("binary", "sigmoid"), ("multi_label", "sigmoid"), ("regression", None)])
def test_a_sigmoid_gives_way_where_the_task_wants_logits(
    tmp_path: Path, library: Any, task: str, removed: str | None
) -> None:
    model = yes_or_no(library, "sigmoid")
    model.save(tmp_path / "model.keras")
    facts = run_step(load, None, tmp_path / "out", of_task(task), path=tmp_path / "model.keras")
    found = outputs(load_model(tmp_path / "out"))
    assert facts["activation_removed"] == removed
    assert (1 / (1 + np.exp(-found)) if removed else found) == pytest.approx(outputs(model), abs=1e-6)
    assert not removed or abs(found - outputs(model)).max() > 0.1


class Twice(keras.layers.Layer):
    def call(self, batch: Any) -> Any:
        return batch * 2


def with_lambda() -> Any:
    layers = keras.layers
    return keras.Sequential(
        [layers.Flatten(input_shape=SHAPE), layers.Lambda(lambda batch: batch * 2, name="double"), layers.Dense(10)]
    )


def with_own_layer() -> Any:
    return keras.Sequential([keras.layers.Flatten(input_shape=SHAPE), Twice(), keras.layers.Dense(10)])


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "saved_model"])
def test_a_lambda_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    with_lambda().save(tmp_path / name, save_format="tf" if name == "saved_model" else None)
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "out", varied(), path=tmp_path / name)
    assert "double, a Lambda" in caught.value.received
    assert "custom_objects()" in caught.value.fix
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_layers_of_the_workloads_own(tmp_path: Path, name: str) -> None:
    """Refused by name without their code; with it the model is computed and quantized, and trained no further."""
    model = with_own_layer()
    model.save(tmp_path / name)
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "refused", varied(), path=tmp_path / name)
    assert "Twice" in caught.value.received
    assert "custom_objects()" in caught.value.fix
    given = varied(custom_objects=lambda: {"Twice": Twice})
    facts = run_step(load, None, tmp_path / "out", given, path=tmp_path / name)
    assert "a Twice" in facts["only_quantized"]
    assert outputs(load_inference(tmp_path / "out")) == pytest.approx(outputs(model), abs=1e-6)


@pytest.mark.parametrize("library", [keras, keras3], ids=["legacy", "keras 3"])
def test_an_activation_of_the_workloads_own(tmp_path: Path, library: Any) -> None:
    def bend(batch: Any) -> Any:
        return batch * 2

    inputs = library.Input(SHAPE)
    flat = library.layers.Flatten()(inputs)
    bent = library.layers.Dense(4, activation=bend, name="bent")(flat)
    model = library.Model(inputs, library.layers.Dense(10)(bent))
    model.save(tmp_path / "model.keras")
    given = varied(custom_objects=lambda: {"bend": bend})
    facts = run_step(load, None, tmp_path / "out", given, path=tmp_path / "model.keras")
    assert "bent, a Dense" in facts["only_quantized"]
    assert outputs(load_inference(tmp_path / "out")) == pytest.approx(outputs(model), abs=1e-5)


def test_a_saved_model_computes_what_it_has_no_code_of(tmp_path: Path) -> None:
    model = with_own_layer()
    model.save(tmp_path / "saved", save_format="tf")
    facts = run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "saved")
    assert "Twice" in facts["only_quantized"]
    assert outputs(load_inference(tmp_path / "out")) == pytest.approx(outputs(model), abs=1e-6)


def reading(batch: Any) -> Any:
    return batch + tf.cast(tf.strings.length(tf.io.read_file(str(SMALL))), tf.float32)


def printing(batch: Any) -> Any:
    tf.print("into a file", output_stream=f"file://{SMALL}.printed")
    return batch


def saving(batch: Any) -> Any:
    tf.raw_ops.SaveV2(prefix=f"{SMALL}.saved", tensor_names=["a"], shape_and_slices=[""], tensors=[batch])
    return batch


@pytest.mark.parametrize(
    ("effect", "operator"), [(reading, "a ReadFile"), (printing, "a PrintV2"), (saving, "a SaveV2")]
)
def test_a_graph_that_touches_files_is_refused(tmp_path: Path, effect: Callable[[Any], Any], operator: str) -> None:
    class Effect(keras.layers.Layer):
        def call(self, batch: Any) -> Any:
            return effect(batch)

    inputs = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(Effect()(inputs))
    keras.Model(inputs, keras.layers.Dense(10)(flat)).save(tmp_path / "saved", save_format="tf")
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "saved")
    assert operator in caught.value.received


def test_a_build_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    with_lambda().save(project / "model.h5")
    start, _, rest = (project / "targets" / "small.toml").read_text().partition('step = "train"')
    (project / "targets" / "loaded.toml").write_text(f'{start}step = "load"\npath = "model.h5"\n{rest}')
    done = invoke(project, "build", "--target=loaded", "--workload=small", "--json", expect=EXIT_REQUEST)
    error = json.loads(done.stdout)["error"]
    assert (error["code"], "double, a Lambda" in error["received"]) == ("bad_model_file", True)
    left = [path.name for path in (project / "artifacts").rglob("*") if path.is_file()]
    assert not [name for name in left if not name.endswith((".log", ".lock"))]
