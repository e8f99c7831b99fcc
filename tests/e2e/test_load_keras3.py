"""Keras 3 models: rebuilt from legacy layers where those compute the same, else quantized as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_project import copy_project, invoke
from small_steps import RUNNER
from step_runs import run_step, varied

from pipeline.errors import EXIT_REQUEST, BadModelFile
from pipeline.keras_legacy import keras
from pipeline.steps import (
    cluster,
    distill,
    load,
    low_bit,
    prune,
    prune_channels,
    quantize,
    quantize_aware,
    quantize_edge,
    transfer,
)
from pipeline.steps._fit import load_inference, load_model
from pipeline.steps._keras3 import TOLERANCE
from pipeline.verify import verify

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras as keras3

SHAPE = (28, 28, 1)
L = keras3.layers


def ended(inputs: Any, network: Any) -> Any:
    return keras3.Model(inputs, L.Dense(10, name="logits")(network))


def branches() -> Any:
    """Branches that are added and concatenated, depthwise and separable convolutions, every kind of pooling."""
    inputs = keras3.Input(SHAPE)
    one = L.Conv2D(4, 3, strides=2, padding="same", activation="relu", kernel_regularizer="l2")(inputs)
    two = L.BatchNormalization(name="norm", epsilon=0.01)(L.DepthwiseConv2D(3, padding="same", use_bias=False)(one))
    three = L.SeparableConv2D(4, 3, padding="same", dilation_rate=2)(two)
    both = L.Concatenate()([L.ReLU(max_value=6)(L.Add()([one, two])), L.Multiply()([two, three])])
    pooled = L.AveragePooling2D(3, strides=2, padding="same")(L.MaxPooling2D()(both))
    ends = [L.GlobalAveragePooling2D()(pooled), L.GlobalMaxPooling2D(keepdims=False)(pooled)]
    model = ended(inputs, L.Dropout(0.3)(L.Average()(ends)))
    model.get_layer("norm").set_weights(np.random.default_rng(1).uniform(0.5, 1.5, (4, 4)))
    return model


def sequential() -> Any:
    first = L.Conv2D(4, 5, strides=2, kernel_initializer="he_normal", kernel_constraint="non_neg")
    return keras3.Sequential([keras3.Input(SHAPE), first, L.LeakyReLU(), L.Flatten(), L.Dense(10)])


def nested() -> Any:
    """A model in a model, and one layer used twice."""
    inner = keras3.Sequential([keras3.Input(SHAPE), L.Conv2D(1, 3, padding="same", activation="tanh")])
    inputs = keras3.Input(SHAPE)
    return ended(inputs, L.Flatten()(inner(inner(inputs))))


def residual() -> Any:
    """Three residual blocks as in ResNet, with a projection where the size changes."""
    inputs = keras3.Input(SHAPE)
    network = inputs
    for filters in (4, 8, 8):
        strides = 1 if network.shape[-1] == filters else 2
        inner = L.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(network)
        inner = L.Activation("relu")(L.BatchNormalization()(inner))
        inner = L.BatchNormalization()(L.Conv2D(filters, 3, padding="same", use_bias=False)(inner))
        network = network if strides == 1 else L.Conv2D(filters, 1, strides=2)(network)
        network = L.Activation("relu")(L.Add()([network, inner]))
    return ended(inputs, L.GlobalAveragePooling2D()(network))


def prepared() -> Any:
    """Layers that prepare the input, whose statistics are weights."""
    normalization = L.Normalization(axis=-1)
    normalization.adapt(np.random.default_rng(0).normal(0.3, 2, (50, *SHAPE)))
    inputs = keras3.Input(SHAPE)
    network = L.RandomTranslation(0.1, 0.1)(L.RandomFlip("horizontal")(inputs))  # at work in training alone
    network = L.CenterCrop(20, 20)(normalization(L.Rescaling(2.0, offset=-1.0)(network)))
    network = L.Cropping2D(2)(L.ZeroPadding2D(((1, 2), (3, 0)))(network))
    return ended(inputs, L.Flatten()(network))


def upsampled() -> Any:
    inputs = keras3.Input(SHAPE)
    network = L.Conv2D(2, 3, strides=4)(inputs)
    network = L.UpSampling2D(2, interpolation="bilinear")(L.UpSampling2D(2)(network))
    network = L.Conv2DTranspose(3, 3, strides=2, padding="same")(network)
    return ended(inputs, L.Flatten()(L.AveragePooling2D(4)(network)))


def activations() -> Any:
    inputs = keras3.Input(SHAPE)
    network = L.Flatten()(inputs)
    for name in ("gelu", "swish", "elu", "selu", "softplus", "softsign", "mish", "relu6", "tanh", "sigmoid"):
        network = L.Dense(8, activation=name)(network)
    network = L.PReLU()(L.ELU()(L.LeakyReLU(negative_slope=0.4)(network)))
    return ended(inputs, L.Softmax()(network))


def recurrent() -> Any:
    inputs = keras3.Input(SHAPE)
    rows = L.Reshape((28, 28))(inputs)
    network = L.Bidirectional(L.LSTM(4, return_sequences=True))(L.GRU(6, return_sequences=True)(rows))
    return ended(inputs, L.SimpleRNN(5)(network))


def one_dimensional() -> Any:
    inputs = keras3.Input(SHAPE)
    network = L.Permute((2, 1))(L.Reshape((28, 28))(inputs))
    network = L.SeparableConv1D(6, 3, padding="same")(L.Conv1D(4, 3, activation="relu")(network))
    network = L.LayerNormalization()(L.AveragePooling1D(2)(L.MaxPooling1D()(network)))
    return ended(inputs, L.GlobalAveragePooling1D()(L.TimeDistributed(L.Dense(4))(network)))


def attention() -> Any:
    inputs = keras3.Input(SHAPE)
    rows = L.Reshape((28, 28))(inputs)
    mixed = L.Add()([rows, L.MultiHeadAttention(2, 8)(rows, rows)])
    return ended(inputs, L.GlobalAveragePooling1D()(L.LayerNormalization(epsilon=1e-4)(mixed)))


REBUILT = [
    branches,
    sequential,
    nested,
    residual,
    prepared,
    upsampled,
    activations,
    recurrent,
    one_dimensional,
    attention,
]


def outputs(model: Any) -> np.ndarray:
    samples, _ = varied().load("validation")
    return model.predict(varied().preprocess(samples[:100]), verbose=0)


@pytest.mark.parametrize(
    ("make", "name"),
    [*((make, "model.keras") for make in REBUILT), (branches, "model.h5"), (recurrent, "model.h5")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_models_are_rebuilt(tmp_path: Path, make: Callable[[], Any], name: str) -> None:
    model = make()
    model.save(tmp_path / name)
    facts = run_step(load, None, tmp_path / "out", varied(), path=tmp_path / name)
    assert facts["only_quantized"] is None
    rebuilt = load_model(tmp_path / "out")
    assert isinstance(rebuilt, keras.Model)
    assert not isinstance(rebuilt, keras3.Model)
    weights, wanted = rebuilt.get_weights(), model.get_weights()
    assert sorted(weight.tobytes() for weight in weights if weight.ndim) == sorted(
        weight.tobytes() for weight in wanted if weight.ndim
    )
    allowed = TOLERANCE * max(1.0, float(abs(outputs(model)).max()))
    assert outputs(rebuilt) == pytest.approx(outputs(model), abs=allowed)
    assert facts["keras_version"].startswith("3")


def operator() -> Any:
    inputs = keras3.Input(SHAPE)
    flat = L.Flatten()(inputs)
    return ended(inputs, keras3.ops.sum(keras3.ops.stack([flat, flat]), axis=0))


def understood_otherwise() -> Any:
    """The sigmoid of straight lines has other slopes in legacy Keras."""
    inputs = keras3.Input(SHAPE)
    network = L.Conv2D(2, 3, strides=2, name="before")(inputs)
    return ended(inputs, L.Flatten()(L.Conv2D(2, 3, activation="hard_sigmoid", name="bent")(network)))


def new_layer() -> Any:
    inputs = keras3.Input(SHAPE)
    network = L.Conv2D(4, 5, strides=3, activation="relu")(inputs)
    network = L.RMSNormalization()(network)
    return keras3.Model(inputs, L.Dense(10, activation="softmax")(L.Flatten()(network)))


def new_attention() -> Any:
    inputs = keras3.Input(SHAPE)
    rows = L.Reshape((28, 28))(inputs)
    mixed = L.GroupQueryAttention(8, 4, 2)(rows, rows)
    return ended(inputs, L.GlobalAveragePooling1D()(mixed))


AS_THEY_ARE = [
    (operator, "a Stack"),
    (understood_otherwise, "bent, a Conv2D, of which legacy Keras makes outputs that differ by up to"),
    (new_layer, "a RMSNormalization"),
    (new_attention, "a GroupedQueryAttention"),
]


@pytest.mark.parametrize(("make", "obstacle"), AS_THEY_ARE, ids=lambda value: getattr(value, "__name__", ""))
def test_models_that_legacy_keras_lacks_layers_for_are_quantized(
    tmp_path: Path, make: Callable[[], Any], obstacle: str
) -> None:
    model = make()
    model.save(tmp_path / "model.keras")
    facts = run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "model.keras")
    assert obstacle in facts["only_quantized"]
    loaded, wanted = outputs(load_inference(tmp_path / "out")), outputs(model)
    if facts["activation_removed"]:
        loaded = np.exp(loaded) / np.exp(loaded).sum(axis=1, keepdims=True)
    assert loaded == pytest.approx(wanted, abs=1e-5)
    for step, scheme in ((quantize, "float32"), (quantize, "int8"), (quantize_edge, "dynamic_int8")):
        out = tmp_path / f"{step.__name__.rpartition('.')[2]}-{scheme}"
        made = run_step(step, tmp_path / "out", out, varied(), scheme=scheme, calibration_samples=50)
        # An untrained network is unsure of what it sees: it is the runs and formats that count here.
        found = verify(out, varied(), {**made["promises"], "agreement_min": 0}, RUNNER)
        assert found["agreement"] > (0.999 if scheme == "float32" else 0.5)


@pytest.fixture(scope="module")
def as_it_is(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    new_layer().save(folder / "model.keras")
    run_step(load, None, folder / "out", varied(), path=folder / "model.keras")
    return folder / "out"


@pytest.mark.parametrize(
    ("step", "config"),
    [
        (prune, {}),
        (cluster, {}),
        (quantize_aware, {}),
        (prune_channels, {"keep_ratio": 0.5}),
        (distill, {}),
        (low_bit, {}),
        (transfer, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_steps_refuse_such_a_model_by_the_layers_name(
    tmp_path: Path, as_it_is: Path, step: Any, config: dict[str, Any]
) -> None:
    with pytest.raises(BadModelFile) as caught:
        run_step(step, as_it_is, tmp_path / "refused", varied(), **config)
    assert "a RMSNormalization" in caught.value.received
    assert "quantize" in caught.value.fix
    assert caught.value.exit_code == EXIT_REQUEST
    assert not any((tmp_path / "refused").iterdir())


@pytest.mark.parametrize("make", [branches, new_layer], ids=["stock", "new"])
def test_what_keras_3_exports_for_serving_is_quantized(
    tmp_path: Path, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras3, "export", None, raising=False)  # `export` looks for itself in the other Keras
    model = make()
    model.export(tmp_path / "exported", verbose=False)
    facts = run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "exported")
    assert "exported" in facts["only_quantized"]
    assert facts["parameters"] == model.count_params()
    assert facts["activation_removed"] == ("softmax" if make is new_layer else None)
    assert (outputs(load_inference(tmp_path / "out")).argmax(axis=1) == outputs(model).argmax(axis=1)).all()
    made = run_step(quantize, tmp_path / "out", tmp_path / "int8", varied(), calibration_samples=50)
    verify(tmp_path / "int8", varied(), {**made["promises"], "agreement_min": 0}, RUNNER)


def test_a_layer_of_ones_own_is_refused_without_its_code(tmp_path: Path) -> None:
    class Twice(L.Layer):
        def call(self, batch: Any) -> Any:
            return batch * 2

    inputs = keras3.Input(SHAPE)
    ended(inputs, Twice()(L.Flatten()(inputs))).save(tmp_path / "model.keras")
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "refused", varied(), path=tmp_path / "model.keras")
    assert "a Twice" in caught.value.received
    given = varied(custom_objects=lambda: {"Twice": Twice})
    assert "a Twice" in run_step(load, None, tmp_path / "out", given, path=tmp_path / "model.keras")["only_quantized"]


def test_a_lambda_is_refused(tmp_path: Path) -> None:
    inputs = keras3.Input(SHAPE)
    doubled = L.Lambda(lambda batch: batch * 2, name="double")(L.Flatten()(inputs))
    ended(inputs, doubled).save(tmp_path / "model.keras")
    with pytest.raises(BadModelFile) as caught:
        run_step(load, None, tmp_path / "out", varied(), path=tmp_path / "model.keras")
    assert "double, a Lambda" in caught.value.received


def test_a_build_from_load_and_quantize_alone(tmp_path: Path) -> None:
    """The whole way, with baseline and evaluation; pruning the same model ends with 2 and leaves nothing behind."""
    project = copy_project(tmp_path / "project")
    inputs = keras3.Input(SHAPE)
    network = L.Conv2D(8, 5, strides=2, activation="relu")(inputs) * 0.5 + 0.1
    model = keras3.Model(inputs, L.Dense(10, activation="softmax")(L.Flatten()(network)))
    images, labels = varied().load("train")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(varied().preprocess(images), labels, epochs=2, verbose=0)
    model.save(project / "model.keras")
    text = (project / "targets" / "small.toml").read_text()
    start, _, quantized = text.partition('[[recipe]]\nstep = "train"')
    loaded = '[[recipe]]\nstep = "load"\npath = "model.keras"\n'
    alone = '[[recipe]]\nstep = "quantize"\nagreement_min = 0.95\ncalibration_samples = 100\n'
    (project / "targets" / "whole.toml").write_text(start + loaded + alone)
    (project / "targets" / "pruned.toml").write_text(start + loaded + quantized)
    document = json.loads(invoke(project, "build", "--target=whole", "--workload=small", "--json").stdout)
    assert document["accuracy"] > 0.8
    stages = {stage["name"]: stage["facts"] for stage in document["stages"]}
    assert abs(stages["evaluate_baseline"]["validation"]["accuracy"] - stages["load"]["validation_accuracy"]) < 0.002
    refused = invoke(project, "build", "--target=pruned", "--workload=small", "--json", expect=EXIT_REQUEST)
    error = json.loads(refused.stdout)["error"]
    assert (error["code"], "a Multiply" in error["received"]) == ("bad_model_file", True)
    assert not (project / "artifacts" / "small" / "pruned").exists()
