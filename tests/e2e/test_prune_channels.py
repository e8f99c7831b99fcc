"""Channel pruning: networks of every kind that it rewires, then a real one down to its int8 file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from step_runs import run_step, saved, varied

from pipeline.errors import StepFailed
from pipeline.keras_legacy import keras
from pipeline.steps import prune_channels, quantize, train
from pipeline.steps._channel_graph import cut, importance, trace
from pipeline.steps._fit import load_model
from pipeline.verify import verify
from pipeline.workload import Workload

layers = keras.layers
RUNNER = {"runner": "host", "threads": 1, "resident_megabytes": 2000, "seconds": 60}
SHAPE = (8, 8, 3)


def conv(name: str, filters: int, size: int = 3, **options: Any) -> Any:
    return layers.Conv2D(filters, size, padding="same", name=name, **options)


def sequential() -> Any:
    return keras.Sequential(
        [
            layers.ZeroPadding2D(1, input_shape=SHAPE),
            conv("a", 6, use_bias=False),
            layers.BatchNormalization(name="a/norm"),
            layers.ReLU(),
            layers.AveragePooling2D(),
            conv("b", 5, strides=2, activation="tanh"),
            layers.SpatialDropout2D(0.2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(7, activation="relu", name="c"),
            layers.Dense(4, activation="softmax", name="logits"),
        ]
    )


def flatten() -> Any:
    return keras.Sequential(
        [
            conv("a", 6, input_shape=SHAPE, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.BatchNormalization(name="keeps_zero"),
            layers.Dense(9, activation="relu", name="b"),
            layers.Dropout(0.5),
            layers.Dense(4, name="logits"),
        ]
    )


def residual() -> Any:
    entry = keras.Input(SHAPE)
    stem = layers.ReLU()(layers.BatchNormalization(name="a/norm")(conv("a", 6)(entry)))
    inner = conv("b", 5, activation="relu")(stem)
    body = layers.BatchNormalization(name="c/norm", scale=False)(conv("c", 6)(inner))
    joined = layers.Add()([layers.Add()([conv("d", 6, 1)(stem), body]), layers.Add()([conv("e", 6)(inner), stem])])
    gate = layers.Dense(6, activation="sigmoid", name="f")(layers.GlobalAveragePooling2D()(joined))
    pooled = layers.Multiply()([layers.GlobalMaxPooling2D()(joined), gate])
    return keras.Model(entry, layers.Dense(4, name="logits")(pooled))


def concatenation() -> Any:
    entry = keras.Input(SHAPE)
    left, right = conv("a", 5)(entry), conv("b", 3, 1, activation="relu")(entry)
    joined = layers.Concatenate()([right, entry, left])
    joined = layers.BatchNormalization(name="keeps_zero")(joined)
    inner = conv("c", 6, activation="elu")(joined)
    stacked = layers.Concatenate(axis=1)([inner, conv("d", 6)(joined)])
    features = [layers.Flatten()(layers.MaxPooling2D(4)(stacked)), layers.GlobalAveragePooling2D()(joined)]
    return keras.Model(entry, layers.Dense(4, name="logits")(layers.Concatenate()(features)))


def depthwise() -> Any:
    return keras.Sequential(
        [
            conv("a", 6, input_shape=SHAPE, activation="relu6"),
            layers.DepthwiseConv2D(3, name="a/depthwise"),
            layers.BatchNormalization(name="a/norm"),
            layers.Activation("relu"),
            conv("b", 5, 1, activation="relu"),
            layers.SeparableConv2D(7, 3, depth_multiplier=2, name="c", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, name="logits"),
        ]
    )


# Layers of each network that lose the same channels; a layer "x/…" works on the channels of x.
NETWORKS: dict[Callable[[], Any], tuple[str, ...]] = {
    sequential: ("a", "b", "c"),
    flatten: ("a", "b"),
    residual: ("acdef", "b"),
    concatenation: ("a", "b", "cd"),
    depthwise: ("a", "b", "c"),
}


def with_random_weights(build: Callable[[], Any], seed: int) -> Any:
    """Return the model with weights from 0.1 to 1 in size, so that no channel is small by chance."""
    model = build()
    random = np.random.default_rng(seed)
    for layer in model.layers:
        sizes = [random.uniform(0.1, 1, weight.shape) for weight in layer.get_weights()]
        if layer.name == "keeps_zero":
            sizes[1:3] = [np.zeros_like(size) for size in sizes[1:3]]  # beta and mean
        if not isinstance(layer, layers.BatchNormalization):  # a variance is positive
            sizes = [size * random.choice([-1, 1], size.shape) / np.sqrt(size[..., 0].size) for size in sizes]
        layer.set_weights(sizes)
    return model


def kill(layer: Any, channels: np.ndarray) -> None:
    """Make the layer give exactly zero on these channels, or on channels of zero."""
    weights = layer.get_weights()
    for weight, variable in zip(weights, layer.weights, strict=True):
        if isinstance(layer, layers.DepthwiseConv2D) and weight.ndim > 1:
            weight[:, :, channels] = 0
        elif "depthwise_kernel" not in variable.name and "variance" not in variable.name:
            weight[..., channels] = 0
    layer.set_weights(weights)


def narrow(model: Any, widths: dict[str, int]) -> Any:
    graph = trace(model)
    return cut(model, graph, graph.kept(prune_channels.given_widths(graph, widths), importance(model, graph)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("build", NETWORKS)
def test_without_its_dead_channels_a_network_computes_the_same(build: Callable[[], Any], seed: int) -> None:
    model, random, widths = with_random_weights(build, seed), np.random.default_rng(seed), {}
    for tied in NETWORKS[build]:
        width = trace(model).outputs[tied[0]].size
        dead = random.permutation(width)[: random.integers(1, 1 + width // 2)]
        widths |= dict.fromkeys(tied, width - len(dead))
        for layer in model.layers:
            if layer.name.partition("/")[0] in set(tied):
                kill(layer, dead)
    pruned = narrow(model, widths)
    samples = random.normal(0, 2, (16, 1, 1, 3)) * random.random((16, *SHAPE))
    np.testing.assert_allclose(pruned.predict(samples, verbose=0), model.predict(samples, verbose=0), atol=1e-5)
    assert np.ptp(pruned.predict(samples, verbose=0), axis=0).min() > 1e-4, "else the outputs say nothing"
    for name, width in widths.items():
        assert pruned.get_layer(name).output_shape[-1] == width
        assert pruned.get_layer(name).get_weights()[-1].shape[-1] == width
    assert pruned.count_params() < model.count_params()


@pytest.mark.parametrize("build", NETWORKS)
def test_costs_are_those_of_the_model_that_is_cut(build: Callable[[], Any]) -> None:
    model = with_random_weights(build, 0)
    graph = trace(model)
    for share in (0.2, 0.6, 1.0):
        widths = [max(1, int(share * len(group.channels))) for group in graph.groups]
        kept = graph.kept(widths, importance(model, graph))
        pruned = cut(model, graph, kept)
        again = trace(pruned)
        everything = np.ones(again.channels, bool)
        assert graph.cost(kept) == again.cost(everything)
        assert graph.cost(kept)["parameters"] == pruned.count_params()
        assert graph.widths(kept) == again.widths(everything)


def test_multiply_accumulates_by_hand() -> None:
    graph = trace(with_random_weights(depthwise, 0))
    expected = 64 * (9 * 3 * 6) + 36 * (9 * 6) + 36 * (6 * 5) + 16 * (9 * 10 + 10 * 7) + 7 * 4
    assert graph.cost(np.ones(graph.channels, bool))["multiply_accumulates"] == expected


def test_zeros_in_place_of_channels_compute_what_the_cut_model_computes() -> None:
    for build in (sequential, residual, concatenation, depthwise):
        model = with_random_weights(build, 1)
        graph = trace(model)
        kept = graph.kept([2 for _ in graph.groups], importance(model, graph))
        pruned = cut(model, graph, kept)
        for name, weights in graph.weights(model, kept, zeros=True).items():
            model.get_layer(name).set_weights(weights)
        samples = np.random.default_rng(0).random((16, *SHAPE), np.float32)
        np.testing.assert_allclose(pruned.predict(samples, verbose=0), model.predict(samples, verbose=0), atol=1e-5)


def test_the_filters_of_the_largest_norm_stay_and_gamma_counts() -> None:
    model = keras.Sequential(
        [
            conv("a", 4, 1, input_shape=SHAPE),
            layers.BatchNormalization(name="norm", epsilon=0.0),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    kernel = np.array([1.0, -3.0, 2.0, -4.0], np.float32) * np.ones((1, 1, 3, 4), np.float32)
    model.get_layer("a").set_weights([kernel, np.zeros(4)])
    model.get_layer("norm").set_weights([np.ones(4), np.zeros(4), np.zeros(4), np.ones(4)])
    assert narrow(model, {"a": 2}).get_layer("a").get_weights()[0][0, 0, 0].tolist() == [-3, -4]
    model.get_layer("norm").set_weights(np.array([[-4, 1, 1, 1], [0] * 4, [0] * 4, [1, 1, 1, 16]], np.float32))
    assert narrow(model, {"a": 2}).get_layer("a").get_weights()[0][0, 0, 0].tolist() == [1, -3]  # 4 3 2 1


def test_tied_layers_count_alike_whatever_their_scale() -> None:
    entry = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(layers.Add()([conv("a", 4, 1)(entry), conv("b", 4, 1)(entry)]))
    model = keras.Model(entry, layers.Dense(2)(pooled))
    for name, norms in (("a", [100.0, 110.0, 120.0, 130.0]), ("b", [9.0, 1.0, 1.0, 1.0])):
        model.get_layer(name).set_weights([np.float32(norms) * np.ones((1, 1, 3, 4), np.float32), np.zeros(4)])
    assert narrow(model, {"b": 1}).get_layer("a").get_weights()[0][0, 0, 0].tolist() == [100]


@keras.utils.register_keras_serializable("tests")
class Dense(layers.Dense):
    """Has the name of a known layer and could do anything."""


def obstructed() -> Any:
    entry = keras.Input(SHAPE)
    tied_to_input = layers.Add()([entry, conv("tied_to_input", 3)(entry)])
    grouped = conv("grouped", 4, groups=2)(conv("before_grouped", 4)(tied_to_input))
    shared = conv("shared", 4)
    twice = layers.Add()([shared(shared(grouped)), conv("beside_shared", 4)(grouped)])
    normalized = layers.LayerNormalization(name="norm")(conv("before_norm", 4)(twice))
    parts = layers.Concatenate()([conv("part", 2)(normalized), conv("other_part", 2)(normalized)])
    whole = layers.Add()([parts, conv("whole", 4)(normalized)])
    wide = layers.DepthwiseConv2D(3, depth_multiplier=2, name="wide")(conv("before_wide", 4)(whole))
    stretched = layers.Multiply(name="stretch")([conv("stretched", 4)(wide), conv("mask", 1)(wide)])
    mixed = conv("mixed", 4, activation="softmax")(stretched)
    odd = layers.BatchNormalization(1, name="odd")(conv("before_odd", 4)(mixed))
    nested = keras.Sequential([conv("inside", 4, input_shape=(6, 6, 4))], name="nested")(odd)
    free = layers.Flatten()(conv("free", 4)(nested))
    return keras.Model(entry, layers.Dense(4, name="logits")(Dense(4, name="custom")(free + 1)))


def test_a_layer_that_cannot_be_pruned_is_named_with_the_reason() -> None:
    model = with_random_weights(obstructed, 0)
    graph = trace(model)
    assert graph.groups == ()
    reasons = {
        "tied_to_input": "tied to the model's input",
        "grouped": "one of 2 groups",
        "before_grouped": "feed grouped",
        "shared": "shared: used in 2 places",
        "beside_shared": "tied to shared",
        "norm": "LayerNormalization, a kind of layer",
        "before_norm": "feed norm (LayerNormalization)",
        "part": "a part of another layer's",
        "other_part": "a part of another layer's",
        "whole": "a part of another layer's",
        "wide": "2 filters for each channel",
        "before_wide": "feed wide",
        "stretched": "feed stretch",
        "mask": "stretches one channel",
        "mixed": "activation of mixed",
        "odd": "does not normalize the last axis",
        "before_odd": "feed odd",
        "nested": "Sequential, a kind of layer",
        "free": "TFOpLambda",
        "custom": "a kind of layer",
        "logits": "the model's outputs",
    }
    assert set(graph.obstacles) == set(reasons)
    assert {name: graph.obstacles[name] for name, said in reasons.items() if said not in graph.obstacles[name]} == {}
    samples = np.random.default_rng(0).random((4, *SHAPE), np.float32)
    same = cut(model, graph, np.ones(graph.channels, bool))
    np.testing.assert_array_equal(same.predict(samples, verbose=0), model.predict(samples, verbose=0))


class Subclassed(keras.Model):
    def call(self, batch: Any) -> Any:
        return batch


@pytest.mark.parametrize(
    ("model", "message", "received"),
    [
        (Subclassed, "cannot be followed", "Subclassed"),
        (lambda: keras.Sequential([layers.Conv2D(2, 3)]), "cannot be followed", "unbuilt"),
        (lambda: keras.Sequential([layers.Conv2D(2, 3, input_shape=(None, None, 3))]), "no fixed size", "None"),
    ],
)
def test_models_that_cannot_be_followed_are_refused(model: Callable[[], Any], message: str, received: str) -> None:
    with pytest.raises(StepFailed, match=message) as caught:
        trace(model())
    assert received in caught.value.received


def mixed() -> Any:
    """Return a network with every way in which channels hang together, for digits."""
    entry = keras.Input((28, 28, 1))
    norm = functools.partial(layers.BatchNormalization, momentum=0.9)  # its averages settle in a short training
    stem = layers.ReLU()(norm()(layers.Conv2D(8, 3, strides=2, name="stem", use_bias=False)(entry)))
    body = layers.DepthwiseConv2D(3, padding="same", name="spatial")(stem)
    body = norm()(conv("point", 8, 1)(body))
    joined = layers.MaxPooling2D()(layers.Add()([stem, body]))
    sides = layers.Concatenate()([conv("left", 6, activation="relu")(joined), conv("right", 6, 1)(joined)])
    flat = layers.Flatten()(layers.AveragePooling2D()(sides))
    return keras.Model(entry, layers.Dense(10, name="logits")(layers.Dense(24, activation="relu", name="dense")(flat)))


@pytest.fixture(scope="module")
def workload() -> Workload:
    """The small project's digits, but those for the test, with the mixed network."""

    def load(split: str) -> tuple[np.ndarray, np.ndarray]:
        assert split != "test", "a step never reads it"
        return varied().load(split)

    return varied(load=load, build_model=mixed)


@pytest.fixture(scope="module")
def trained(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("channels") / "trained"
    run_step(train, None, out, workload, epochs=3, learning_rate=5e-3)
    return out


def pruned_by(workload: Workload, source: Path, out: Path, **fields: Any) -> dict[str, Any]:
    fields = {"epochs": 1, "batch_size": 64, "learning_rate": 2e-3, **fields}
    return run_step(prune_channels, source, out / "pruned", workload, **fields)


def test_a_budget_is_met_by_sensitivity_and_the_file_is_full_integer(
    workload: Workload, trained: Path, tmp_path: Path
) -> None:
    before = load_model(trained)
    facts = pruned_by(workload, trained, tmp_path, multiply_accumulates_max=30_000, epochs=2, batch_size=32)
    after = load_model(tmp_path / "pruned")
    costs = facts["multiply_accumulates"]
    assert 20_000 < costs["after"] <= 30_000 < costs["before"]
    assert facts["parameters"]["before"] == before.count_params()
    assert facts["parameters"]["after"] == after.count_params()
    assert {name: width["before"] for name, width in facts["widths"].items()} == {
        **{"stem": 8, "spatial": 8, "point": 8, "left": 6, "right": 6, "dense": 24, "logits": 10},
    }
    for name, width in facts["widths"].items():
        assert after.get_layer(name).output_shape[-1] == width["after"]
    assert len({facts["widths"][name]["after"] for name in ("stem", "spatial", "point")}) == 1
    assert facts["not_pruned"] == {"logits": "its channels are the model's outputs"}
    table = {tuple(row["layers"]): row["validation_loss"] for row in facts["sensitivity"]}
    assert set(table) == {("stem", "spatial", "point"), ("left",), ("right",), ("dense",)}
    assert list(table["left",]) == ["6", "5", "4", "3", "2", "1"]
    assert len({curve[next(iter(curve))] for curve in table.values()}) == 1, "uncut, the loss is the same for all"
    assert table["left",]["1"] > table["left",]["6"]
    assert len(facts["history"]["val_accuracy"]) == 2
    assert facts["history"]["val_accuracy"][-1] > 0.8

    int8 = {"input_dtype": "int8", "output_dtype": "int8", "calibration_samples": 100}
    promises = run_step(quantize, tmp_path / "pruned", tmp_path / "file", workload, **int8)["promises"]
    # A network that trained for seconds is unsure of many digits, and 8 bits decide those anew.
    with patch("pipeline.learning_tasks.classification.AGREEMENT_MIN", 0.95):
        file = verify(tmp_path / "file", workload, promises, RUNNER)
    assert file["multiply_accumulates"] == costs["after"]


def test_the_loss_in_the_table_is_that_of_the_cut_model(workload: Workload, trained: Path, tmp_path: Path) -> None:
    facts = pruned_by(workload, trained, tmp_path, parameters_max=2000, channels_multiple_of=2)
    table = {tuple(row["layers"]): row["validation_loss"] for row in facts["sensitivity"]}
    assert facts["parameters"]["after"] <= 2000
    assert all(width["after"] % 2 == 0 for width in facts["widths"].values())
    images, labels = workload.load("validation")
    cut_alone = narrow(load_model(trained), {"point": 4})
    cut_alone.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    loss = cut_alone.evaluate(workload.preprocess(images), labels, verbose=0)
    assert table["stem", "spatial", "point"]["4"] == pytest.approx(loss, abs=1e-4)


def test_the_same_seed_gives_the_same_weights(workload: Workload, trained: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        facts = pruned_by(workload, trained, tmp_path / name, keep_ratio=0.5, seed=7)
        assert facts["widths"]["dense"] == {"before": 24, "after": 12}
        assert "sensitivity" not in facts
        weights.append(load_model(tmp_path / name / "pruned").get_weights())
    assert all(np.array_equal(one, two) for one, two in zip(*weights, strict=True))


@pytest.mark.parametrize(
    ("fields", "message", "expected"),
    [
        ({"parameters_max": 10}, "out of the reach", "at least"),
        ({"multiply_accumulates_max": 1}, "out of the reach", "at least"),
        ({"widths": {"stem": 9}}, "narrower", "1 to 8"),
        ({"widths": {"stem": 4, "point": 3}}, "stem and point are tied", "one width"),
        ({"widths": {"logits": 9}}, "logits cannot be pruned", "stem, spatial, point, left, right, dense"),
        ({"widths": {"conv9": 4}}, "conv9 cannot be pruned", "stem"),
    ],
)
def test_requests_that_the_model_cannot_meet_are_refused(
    workload: Workload, trained: Path, tmp_path: Path, fields: dict, message: str, expected: str
) -> None:
    with pytest.raises(StepFailed, match=message) as caught:
        pruned_by(workload, trained, tmp_path, **fields)
    assert expected in caught.value.expected
    assert "prune_channels" in caught.value.fix
    assert list((tmp_path / "pruned").iterdir()) == []


def test_a_model_without_a_layer_to_prune_is_refused(workload: Workload, tmp_path: Path) -> None:
    model = keras.Sequential([layers.Flatten(input_shape=(28, 28, 1)), layers.Dense(10, name="logits")])
    with pytest.raises(StepFailed, match="no layer whose channels") as caught:
        pruned_by(workload, saved(model, tmp_path / "model"), tmp_path, keep_ratio=0.5)
    assert caught.value.received == "logits: its channels are the model's outputs"


def test_zeros_of_an_earlier_pruning_are_not_lost_without_a_word(
    workload: Workload, trained: Path, tmp_path: Path
) -> None:
    model = load_model(trained)
    for name in ("left", "dense"):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([np.where(np.abs(kernel) > np.median(np.abs(kernel)), kernel, 0), bias])
    with pytest.raises(StepFailed, match="lost zeros") as caught:
        pruned_by(workload, saved(model, tmp_path / "model"), tmp_path, keep_ratio=0.5)
    assert "behind prune_channels" in caught.value.fix
