"""The zoo: the published numbers of parameters, the published computation, and every network as an int8 file."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pipeline.errors import BadWorkload
from pipeline.inspect import float_leftovers, inspect_file
from pipeline.keras_legacy import keras, make_repeatable
from pipeline.network import find_network, network_names
from pipeline.steps import quantize
from pipeline.steps._fit import save_model
from pipeline.workload import Training, Workload

# MLPerf Tiny's reference models, Keras' applications (documented), Caffe's LeNet.
PUBLISHED = [
    ("lenet5", (28, 28, 1), 10, 431_080),
    ("ds_cnn", (49, 10, 1), 12, 24_908),
    ("resnet8", (32, 32, 3), 10, 78_666),
    ("autoencoder", (640,), 1, 269_992),
    ("mobilenet_v1", (224, 224, 3), 1000, 4_253_864),
    ("mobilenet_v2", (224, 224, 3), 1000, 3_538_984),
]
SMALL = {
    "autoencoder": ("autoencoder:units=16", (24,)),
    "dense": ("dense", (12,)),
    "ds_cnn": ("ds_cnn:filters=8", (20, 10, 1)),
    "efficientnet_lite0": ("efficientnet_lite0", (32, 32, 3)),
    "lenet5": ("lenet5:width=0.2", (20, 24, 1)),
    "mobilenet_v1": ("mobilenet_v1:width=0.1", (33, 40, 3)),
    "mobilenet_v2": ("mobilenet_v2:width=0.1", (32, 32, 1)),
    "resnet8": ("resnet8:filters=4", (16, 16, 3)),
}


@pytest.mark.parametrize(("name", "shape", "outputs", "parameters"), PUBLISHED)
def test_parameters_are_the_published_ones(name: str, shape: tuple[int, ...], outputs: int, parameters: int) -> None:
    assert find_network(name)[0].build(shape, outputs).count_params() == parameters


def test_efficientnet_lite0_has_its_published_size() -> None:
    model = find_network("efficientnet_lite0")[0].build((224, 224, 3), 1000)
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    assert round(trained / 1e6, 2) == 4.65


@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV2"])
def test_it_computes_what_keras_applications_compute(name: str) -> None:
    """Equal weights by equal names give equal features, so published weights fit."""
    options: dict[str, Any] = {"input_shape": (224, 224, 3), "alpha": 0.35 if name == "MobileNetV2" else 0.25}
    make_repeatable(1)
    theirs = getattr(keras.applications, name)(weights=None, include_top=False, pooling="avg", **options)
    network = "mobilenet_v1" if name == "MobileNet" else "mobilenet_v2"
    ours = find_network(network)[0].build((224, 224, 3), 10, width=options["alpha"])
    for layer in theirs.layers:
        if layer.weights:
            values = [np.random.default_rng(7).uniform(0.1, 0.5, weight.shape) for weight in layer.weights]
            layer.set_weights(values if "bn" in layer.name.lower() else layer.get_weights())
            ours.get_layer(layer.name).set_weights(layer.get_weights())
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    features = keras.Model(ours.inputs, ours.get_layer("pool").output)
    expected = theirs.predict(pictures, verbose=0)
    assert np.ptp(expected) > 0.1
    # Normalization has another momentum here, which only training sees.
    np.testing.assert_allclose(features.predict(pictures, verbose=0), expected, rtol=1e-3, atol=1e-4)


def workload_of(module: ModuleType, options: dict[str, Any], shape: tuple[int, ...]) -> Workload:
    """Return learnable random data for a network, as a workload."""
    anomaly = module.__name__.endswith("autoencoder")
    made = ModuleType("zoo_data")
    made.__file__ = __file__

    def load(split: str) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(["train", "validation", "test"].index(split))
        labels = np.arange(60) % 3
        centres = np.random.default_rng(9).uniform(0, 1, (3, *shape))
        samples = 0.7 * centres[labels] + 0.3 * random.uniform(0, 1, (60, *shape))
        return samples.astype(np.float32), labels % 2 * (split != "train") if anomaly else labels

    made.DESCRIPTION, made.LABELS = "random", ("normal", "odd") if anomaly else ("a", "b", "c")  # type: ignore[attr-defined]
    made.TASK = "anomaly" if anomaly else "classification"  # type: ignore[attr-defined]
    made.INPUT_SHAPE, made.INPUT_RANGE = shape, (0.0, 1.0)  # type: ignore[attr-defined]
    made.TRAINING = Training(epochs=1)  # type: ignore[attr-defined]
    made.load, made.preprocess = load, lambda samples: samples  # type: ignore[attr-defined]
    made.build_model = lambda: module.build(shape, 3, **options)  # type: ignore[attr-defined]
    return Workload("zoo_data", made)


@pytest.mark.parametrize("name", network_names())
def test_every_network_trains_and_becomes_an_int8_file(name: str, tmp_path: Path) -> None:
    text, shape = SMALL[name]
    workload = workload_of(*find_network(text), shape)
    make_repeatable(0)
    model = workload.build_model()
    assert model.output_shape[1:] == workload.output_shape
    samples, labels = workload.load("train")
    model.compile(keras.optimizers.Adam(3e-3), **workload.task.learning(keras))
    losses = model.fit(samples, workload.task.targets(samples, labels), epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    save_model(model, tmp_path)
    config = quantize.Config(calibration_samples=30, input_dtype="int8", output_dtype="int8")
    quantize.run(tmp_path, workload, config, tmp_path, lambda progress: None)
    found = inspect_file(tmp_path / "model.tflite")
    assert float_leftovers(found, float_io=False) == []
    assert found.inputs[0].shape == (1, *shape)
    # Batch normalization is folded: nothing of it is left as an operator of its own.
    assert not {"MUL", "SUB", "CUSTOM"} & set(found.operator_counts)


@pytest.mark.parametrize("name", ["mobilenet_v1", "resnet8", "ds_cnn", "lenet5", "efficientnet_lite0"])
def test_rows_are_no_pictures(name: str) -> None:
    with pytest.raises(BadWorkload, match="does not take") as caught:
        find_network(name)[0].build((30,), 2)
    assert "[30]" in caught.value.received
