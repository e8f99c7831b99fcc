"""Kernels on a grid of few bits: folding, equal ranges, training, and the packed file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_steps import INT8, verified
from step_runs import run_step, saved, varied

from pipeline.errors import EXIT_STEP, StepFailed
from pipeline.keras_legacy import keras, make_repeatable, tf
from pipeline.steps import low_bit, pack_int4, quantize, slim, train
from pipeline.steps._fit import load_model
from pipeline.steps._fold import equalize, folded

layers = keras.layers


def build_model() -> Any:
    """Return two convolutions with batch normalization and a dense layer."""
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for filters in (8, 12):
        model.add(layers.Conv2D(filters, 3, strides=2, use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
    for layer in (layers.MaxPooling2D(), layers.Flatten(), layers.Dense(10)):
        model.add(layer)
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "train"
    run_step(train, None, folder, varied(build_model=build_model), epochs=3)
    return folder


@pytest.fixture(scope="module")
def low(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("low") / "low_bit"
    return folder, run_step(low_bit, trained, folder, varied(build_model=build_model), epochs=2)


def kernels(model: Any) -> dict[str, np.ndarray]:
    return {layer.name: layer.get_weights()[0] for layer in model.layers if layer.get_weights()}


def unsettled(model: Any) -> Any:
    """Give every weight, the normalizations' statistics included, values of its own."""
    draw = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([draw.uniform(0.2, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("parts", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}])
def test_folding_changes_no_output(with_bias: bool, parts: dict[str, Any]) -> None:
    inputs = keras.Input((8, 8, 3))
    picture = layers.ReLU()(layers.BatchNormalization(**parts)(layers.Conv2D(4, 3, use_bias=with_bias)(inputs)))
    outputs = layers.BatchNormalization(**parts)(layers.Dense(5, use_bias=with_bias)(layers.Flatten()(picture)))
    model = unsettled(keras.Model(inputs, outputs))
    result = folded(model)
    samples = np.random.default_rng(1).normal(size=(6, 8, 8, 3)).astype(np.float32)
    assert np.allclose(model(samples), result(samples), rtol=1e-4, atol=1e-4)
    assert not [layer for layer in result.layers if isinstance(layer, layers.BatchNormalization)]


def test_what_is_read_elsewhere_or_follows_an_activation_is_not_folded() -> None:
    inputs = keras.Input((8, 8, 1))
    branched = layers.Conv2D(2, 3, padding="same")(inputs)
    normalized = layers.BatchNormalization()(branched)
    active = layers.Conv2D(2, 3, padding="same", activation="relu")(layers.Add()([branched, normalized]))
    outputs = layers.Dense(3)(layers.Flatten()(layers.BatchNormalization()(active)))
    model = unsettled(keras.Model(inputs, outputs))
    result = folded(model)
    samples = np.random.default_rng(1).normal(size=(4, 8, 8, 1)).astype(np.float32)
    assert np.allclose(model(samples), result(samples), rtol=1e-5)
    assert sum(isinstance(layer, layers.BatchNormalization) for layer in result.layers) == 2


def ranges(kernel: np.ndarray, channels: int, outgoing: bool) -> np.ndarray:
    view = kernel.reshape(-1, channels) if outgoing else kernel.reshape(-1, channels, kernel.shape[-1])
    return np.abs(view).max(axis=0 if outgoing else (0, 2))


def test_equal_ranges_change_no_output(trained: Path) -> None:
    model = folded(load_model(trained))
    samples = np.random.default_rng(1).random((20, 28, 28, 1), np.float32)
    before = model.predict(samples, verbose=0)
    equalize(model)
    assert np.allclose(before, model.predict(samples, verbose=0), atol=1e-4)
    first, second, dense = kernels(model).values()
    for one, other in ((first, second), (second, dense)):
        channels = one.shape[-1]
        assert np.allclose(ranges(one, channels, True), ranges(other, channels, False), rtol=1e-2)


def test_a_limited_activation_lets_no_factor_through() -> None:
    model = keras.Sequential(
        [
            layers.Conv2D(4, 3, input_shape=(8, 8, 1)),
            layers.ReLU(max_value=6),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    before = kernels(model)
    equalize(model)
    assert all(np.array_equal(before[name], kernel) for name, kernel in kernels(model).items())


def test_kernels_end_on_their_grid_and_the_network_still_classifies(low: tuple[Path, dict[str, Any]]) -> None:
    folder, facts = low
    model = load_model(folder)
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"tf_keras"}
    for name, kernel in kernels(model).items():
        multiples = kernel / facts["step_sizes"][name]
        assert np.allclose(multiples, np.round(multiples), atol=1e-4)
        assert np.abs(multiples).max() <= 7.001
        assert np.unique(np.round(multiples)).size > 8
    samples, labels = varied().load("validation")
    measured = (model.predict(varied().preprocess(samples), verbose=0).argmax(axis=1) == labels).mean()
    assert facts["validation_accuracy"] == pytest.approx(measured)
    assert facts["validation_accuracy"] > facts["float_validation_accuracy"] - 0.03


def test_training_mends_what_rounding_to_two_bits_breaks(trained: Path, tmp_path: Path) -> None:
    workload = varied(build_model=build_model)
    facts = run_step(low_bit, trained, tmp_path / "out", workload, bits=2, epochs=3)
    assert facts["validation_accuracy"] > facts["rounded_validation_accuracy"] + 0.05
    assert all(np.unique(kernel).size <= 3 for kernel in kernels(load_model(tmp_path / "out")).values())


def test_zeros_of_a_pruned_kernel_stay_zero(trained: Path, tmp_path: Path) -> None:
    model = load_model(trained)
    dense = model.layers[-1]
    kernel, bias = dense.get_weights()
    kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.7)] = 0
    dense.set_weights([kernel, bias])
    source = saved(model, tmp_path / "pruned")
    facts = run_step(low_bit, source, tmp_path / "out", varied(build_model=build_model), epochs=1, learning_rate=0.01)
    after = kernels(load_model(tmp_path / "out"))[dense.name]
    assert not after[kernel == 0].any()
    assert (after == 0).mean() < 0.95
    assert [kernel.size, (after == 0).mean()] in [list(promise) for promise in facts["promises"]["kernel_zeros"]]


def test_the_seed_decides(low: tuple[Path, dict[str, Any]], trained: Path, tmp_path: Path) -> None:
    run_step(low_bit, trained, tmp_path / "again", varied(build_model=build_model), epochs=2)
    first, again = kernels(load_model(low[0])), kernels(load_model(tmp_path / "again"))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    run_step(low_bit, trained, tmp_path / "other", varied(build_model=build_model), epochs=2, seed=1)
    other = kernels(load_model(tmp_path / "other"))
    assert not all(np.array_equal(first[name], other[name]) for name in first)


def test_the_straight_through_gradient_stops_outside_the_grid() -> None:
    make_repeatable(0)
    layer = low_bit.low_bit_layer(layers.Dense(1, use_bias=False), bits=3)
    layer.build((None, 4))
    layer.kernel.assign([[0.4], [2.6], [3.4], [-9.0]])
    with tf.GradientTape() as tape:
        output = layer(tf.constant([[1.0, 10.0, 100.0, 1000.0]]))
    assert float(output[0, 0]) == pytest.approx(0 + 30 + 300 - 3000)
    assert tape.gradient(output, layer.kernel).numpy().ravel().tolist() == [1, 10, 0, 0]


def test_the_network_computes_with_the_zeros_that_it_keeps() -> None:
    layer = low_bit.low_bit_layer(layers.Dense(1, use_bias=False), bits=4)
    layer.build((None, 4))
    layer.kernel.assign([[0.0], [0.0], [3.0], [5.0]])
    layer.keep_zeros()
    layer.kernel.assign([[2.0], [6.0], [4.0], [5.0]])
    assert float(layer(tf.constant([[1.0, 10.0, 100.0, 1000.0]]))[0, 0]) == 5400


def test_channels_of_unequal_ranges_cost_nothing(trained: Path, tmp_path: Path) -> None:
    """Without equal ranges a step for the whole kernel would round every weight but one channel's to zero."""
    model = folded(load_model(trained))
    first, second = (layer for layer in model.layers if isinstance(layer, layers.Conv2D))
    (one, bias), (other, other_bias) = first.get_weights(), second.get_weights()
    factor = np.where(np.arange(bias.size) == 3, 100, 1).astype(np.float32)
    first.set_weights([one * factor, bias * factor])
    second.set_weights([other / factor[:, None], other_bias])
    source = saved(model, tmp_path / "unequal")
    facts = run_step(low_bit, source, tmp_path / "out", varied(), bits=4, epochs=1, learning_rate=1e-6)
    assert facts["rounded_validation_accuracy"] > facts["float_validation_accuracy"] - 0.05


def test_packed_weights_take_half_the_bytes_and_compute_what_was_trained(
    low: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    workload = varied(build_model=build_model)
    facts = [run_step(quantize, low[0], tmp_path / "int8", workload, scheme="int8", calibration_samples=100, **INT8)]
    facts.append(run_step(pack_int4, tmp_path / "int8", tmp_path / "int4", workload))
    facts.append(run_step(slim, tmp_path / "int4", tmp_path / "slim", workload))
    assert sorted(facts[1]["packed"]) == ["10×108", "12×3×3×8", "8×3×3×1"]
    assert facts[1]["left"] == []
    int8, int4, slimmed = (verified(tmp_path / name, *facts[:1]) for name in ("int8", "int4", "slim"))
    assert {kernel.dtype for kernel in int4.kernels} == {"int4"}
    biases = 4 * (8 + 12 + 10)
    assert int4.weight_bytes - biases == (int8.weight_bytes - biases) / 2
    assert slimmed.weight_bytes == int4.weight_bytes
    assert slimmed.size_bytes < 1600 + int4.weight_bytes


def test_a_file_with_eight_bit_kernels_is_refused(trained: Path, tmp_path: Path) -> None:
    workload = varied(build_model=build_model)
    run_step(quantize, trained, tmp_path / "int8", workload, scheme="int8", calibration_samples=100, **INT8)
    with pytest.raises(StepFailed) as caught:
        run_step(pack_int4, tmp_path / "int8", tmp_path / "int4", workload)
    assert "10×108" in caught.value.received
    assert "low_bit" in caught.value.fix
    assert caught.value.exit_code == EXIT_STEP


def test_a_model_without_such_kernels_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((28, 28, 1))
    picture = layers.DepthwiseConv2D(28, depth_multiplier=10)(inputs)
    source = saved(keras.Model(inputs, layers.Flatten()(picture)), tmp_path / "source")
    with pytest.raises(StepFailed) as caught:
        run_step(low_bit, source, tmp_path / "out", varied())
    assert "DepthwiseConv2D" in caught.value.received


@pytest.mark.parametrize("kind", ["shared", "groups", "axis"])
def test_layers_that_cannot_be_folded_or_equalized_stay_as_they_are(kind: str) -> None:
    make_repeatable(0)
    inputs = keras.Input((8, 8, 4))
    if kind == "shared":  # one kernel reads two layers' channels
        kernel = layers.Conv2D(6, 3, activation="relu")
        parts = [kernel(layers.Conv2D(4, 1, activation="relu")(inputs)) for _ in range(2)]
        outputs = layers.Add()(parts)
    elif kind == "groups":
        outputs = layers.Conv2D(6, 3, groups=2)(layers.Conv2D(4, 1, activation="relu")(inputs))
    else:
        outputs = layers.ReLU()(layers.BatchNormalization(axis=1)(layers.Conv2D(8, 1)(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(outputs)))
    for layer in model.layers:  # channels of unequal ranges, statistics that are not 0 and 1
        weights = layer.get_weights()
        layer.set_weights([w * np.geomspace(0.1, 10, w.shape[-1]) + (0.5 if w.ndim == 1 else 0) for w in weights])
    samples = np.random.default_rng(0).random((4, 8, 8, 4), np.float32)
    plain = folded(model)
    equalize(plain)
    assert plain(samples).numpy() == pytest.approx(model(samples).numpy(), rel=1e-3, abs=1e-3)
