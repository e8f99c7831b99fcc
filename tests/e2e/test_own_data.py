"""Somebody's own data and network, from `invoke new` to a verdict on the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BadModelFile, BadWorkload
from pipeline.user_model import call_function
from tests.e2e.small_project import invoke

NET = """
from pipeline.keras_legacy import keras


def make(input_shape, outputs, filters=8):
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(filters, 3, strides=2, activation="relu", input_shape=input_shape),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(outputs, name="logits"),
        ]
    )
"""


def stripes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy 16×16 pictures: lying stripes, standing ones, or a grey square."""
    random = np.random.default_rng(count)
    labels = np.arange(count) % 3
    bars = np.where(np.arange(16) // 2 % 2, 200, 40)
    plain = [np.tile(bars[:, None], (1, 16)), np.tile(bars, (16, 1)), np.full((16, 16), 120)]
    pictures = np.stack([np.roll(plain[label], random.integers(4), axis=(0, 1)) for label in labels])
    return np.clip(pictures + random.normal(0, 25, pictures.shape), 0, 255).astype(np.uint8)[..., None], labels


KERAS_3 = """
import keras


def make(input_shape=(16, 16, 1)):
    layers = keras.layers
    shape = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(shape)
    x = layers.BatchNormalization()(x)
    x = layers.Add()([x, layers.Conv2D(8, 1)(shape)])
    return keras.Model(shape, layers.Dense(3)(layers.Flatten()(x)))


def foreign(input_shape=(16, 16, 1)):
    shape = keras.Input(input_shape)
    return keras.Model(shape, keras.layers.Flatten()(keras.layers.RMSNormalization(name="odd")(shape)))


def nothing():
    return {"no": "model"}
"""


def test_a_function_may_return_a_keras_3_model(tmp_path: Path) -> None:
    from pipeline.keras_legacy import keras

    path = tmp_path / "net3.py"
    path.write_text(KERAS_3)
    model = call_function(path, "make")
    assert isinstance(model, keras.Model)
    assert model.output_shape == (None, 3)
    with pytest.raises(BadModelFile, match="Keras 3 model") as refused:
        call_function(path, "foreign")
    assert "odd" in refused.value.received
    with pytest.raises(BadWorkload) as caught:
        call_function(path, "nothing")
    assert caught.value.received == "builtins.dict"


def test_a_written_workload_and_target_build_a_file_that_passes(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("from pipeline.tasks import namespace\n")
    (tmp_path / "net.py").write_text(NET)
    arrays = {}
    for split, count in (("train", 400), ("val", 200), ("test", 201)):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = stripes(count)
    np.savez(tmp_path / "stripes.npz", **arrays)
    invoke(tmp_path, "new", "--name=stripes", "--data=stripes.npz", "--model=net.py:make")
    built = json.loads(invoke(tmp_path, "build", "--target=stripes", "--workload=stripes", "--json").stdout)
    assert built["verdict"] == "pass"
    assert built["accuracy"] > 0.95
    assert [stage["name"] for stage in built["stages"]][:4] == ["train", "prune", "quantize", "slim"]
    # The same data and network without a written file learn the same, since a target that ships is adapted alike.
    plan = json.loads(invoke(tmp_path, "train", "--data=stripes.npz", "--model=net.py:make", "--json").stdout)
    assert plan["stages"][0]["facts"]["parameters"] == built["stages"][0]["facts"]["parameters"]
