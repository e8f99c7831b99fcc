"""Pre-trained weights of a train step: whatever format they come in, and files that give none."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.errors import BadModelFile
from pipeline.keras_legacy import keras
from pipeline.steps import train
from pipeline.steps._weights import give_weights
from tests.e2e.step_runs import digits, run_step

# Run with either Keras: a network in which no name follows from the kind, and the same within another model.
WRITER = """
import sys
import numpy as np
keras = __import__(sys.argv[1])
keras.utils.set_random_seed(3)
layers = keras.layers
def network(classes):
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="first")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Conv2D(4, 3, name="second")(x)
    x = layers.Flatten()(x)
    return inputs, layers.Dense(classes, name="logits")(x)
model = keras.Model(*network(5))
for layer in model.layers:
    layer.set_weights([np.random.default_rng(1).uniform(0.1, 1, w.shape) for w in layer.get_weights()])
folder, generation = sys.argv[2], sys.argv[1]
model.save(f"{folder}/whole-{generation}.h5")
model.save(f"{folder}/whole-{generation}.keras")
model.save_weights(f"{folder}/{generation}.weights.h5")
if generation == "tf_keras":
    model.save_weights(f"{folder}/plain-{generation}.h5")
outer = layers.Input((8, 8, 3))
nested = keras.Model(outer, layers.Dense(2, name="top")(model(outer)))
nested.save(f"{folder}/nested-{generation}.h5")
nested.save(f"{folder}/nested-{generation}.keras")
np.savez(f"{folder}/values.npz", **{f"{l.name}-{i}": w for l in model.layers for i, w in enumerate(l.get_weights())})
"""
FILES = [
    f"{kind}-{generation}.{ending}"
    for generation in ("tf_keras", "keras")
    for kind, ending in (("whole", "h5"), ("whole", "keras"), ("nested", "h5"), ("nested", "keras"))
]
FILES += ["tf_keras.weights.h5", "keras.weights.h5", "plain-tf_keras.h5"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for generation in ("tf_keras", "keras"):
        command = [sys.executable, "-c", WRITER, generation, str(folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


def network(classes: int = 3, filters: int = 4, last: str = "logits") -> Any:
    layers = keras.layers
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(filters, 3, name="first")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Conv2D(filters, 3, name="second")(x)
    return keras.Model(inputs, layers.Dense(classes, name=last)(layers.Flatten()(x)))


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_layers_that_fit(name: str, written: Path) -> None:
    model, values = network(), np.load(written / "values.npz")
    head = model.get_layer("logits").get_weights()
    facts = give_weights(model, written / name)
    assert facts["layers"] == 3
    assert facts["left"] == {"logits": "64×3, 3, and 64×5, 5 in the file"}
    for layer in ("first", "bn", "second"):
        for index, weight in enumerate(model.get_layer(layer).get_weights()):
            np.testing.assert_array_equal(weight, values[f"{layer}-{index}"])
    assert all(np.array_equal(*pair) for pair in zip(head, model.get_layer("logits").get_weights(), strict=True))


def test_another_network_gets_nothing(written: Path) -> None:
    with pytest.raises(BadModelFile, match="fits no layer") as caught:
        give_weights(network(filters=5), written / "whole-keras.keras")
    assert "first 3×3×3×5, 5" in caught.value.expected
    # Without names, kinds in the same order are no proof: all but the head have to fit.
    with pytest.raises(BadModelFile, match="no names") as caught:
        give_weights(network(filters=5), written / "tf_keras.weights.h5")
    assert "first" in caught.value.received


def spoilt(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.h5"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"first": 1}))
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "archive":
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", b"")
    else:
        with h5py.File(path, "w") as file:
            group = file.create_group("first")
            group.attrs["weight_names"] = ["first/kernel:0", "first/bias:0"]
            group.create_group("first")
            group["first/bias:0"] = np.full(4, np.nan if kind == "not finite" else 1)
            if kind == "not finite":
                group["first/kernel:0"] = np.ones((3, 3, 3, 4))
            elif kind == "elsewhere":
                with h5py.File(folder / "other.h5", "w") as other:
                    other["secret"] = np.ones((3, 3, 3, 4))
                group["first/kernel:0"] = h5py.ExternalLink("other.h5", "secret")
    return path


@pytest.mark.parametrize(
    ("kind", "received"),
    [
        ("pickle", "OSError"),
        ("folder", "IsADirectoryError"),
        ("empty", "OSError"),
        ("archive", "KeyError"),
        ("missing kernel", "KeyError"),
        ("not finite", "values of first that are not finite"),
        ("elsewhere", "weights in another file"),
    ],
)
def test_what_is_no_file_of_weights(kind: str, received: str, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="is no file of weights") as caught:
        give_weights(network(), spoilt(kind, tmp_path))
    assert received in caught.value.received
    assert caught.value.exit_code == 2


def test_a_train_step_begins_with_them(tmp_path: Path) -> None:
    """An epoch at a tiny rate keeps what the weights know, which an epoch from random weights does not learn."""
    workload = digits(0, 9, train=1000)
    learned = run_step(train, None, tmp_path / "learned", workload, epochs=2)
    weights = tmp_path / "learned" / "model.h5"
    settings = {"epochs": 1, "learning_rate": 1e-6}
    fresh = run_step(train, None, tmp_path / "fresh", workload, **settings)
    begun = run_step(train, None, tmp_path / "begun", workload, **settings, weights=weights)
    assert begun["weights"] == {"layers": 3, "parameters": learned["parameters"], "left": {}, "unused": []}
    accuracy = [facts["history"]["val_accuracy"][-1] for facts in (learned, fresh, begun)]
    assert accuracy[2] > 0.95 * accuracy[0] > 2 * accuracy[1]
    assert "weights" not in fresh


@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV2"])
def test_published_files_give_the_zoo_all_but_its_head(name: str, tmp_path: Path) -> None:
    from pipeline.network import find_network

    theirs = getattr(keras.applications, name)(weights=None, alpha=0.5, input_shape=(96, 96, 3))
    theirs.save_weights(tmp_path / "published.h5")
    module: ModuleType = find_network({"MobileNet": "mobilenet_v1", "MobileNetV2": "mobilenet_v2"}[name])[0]
    ours = module.build((64, 64, 3), 7, width=0.5)
    facts = give_weights(ours, tmp_path / "published.h5")
    assert list(facts["left"]) == ["logits"]
    first = "conv1" if name == "MobileNet" else "Conv1"
    np.testing.assert_array_equal(ours.get_layer(first).get_weights()[0], theirs.get_layer(first).get_weights()[0])
