"""Pruning: every method's pattern in the stripped model and in the int8 file, on real digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from step_runs import digits, run_step, saved

from pipeline.errors import EXIT_STEP, StepFailed
from pipeline.flatbuffer import read_model
from pipeline.inspect import MULTIPLY_ACCUMULATE, inspect_file
from pipeline.keras_legacy import keras, make_repeatable
from pipeline.steps import prune, quantize
from pipeline.steps._fit import load_model
from pipeline.steps._promises import lost_zeros

layers = keras.layers
SHAPE = (28, 28, 1)


def network() -> Any:
    return keras.Sequential(
        [
            layers.Conv2D(12, 5, strides=2, activation="relu", input_shape=SHAPE, name="first"),
            layers.Conv2D(16, 3, activation="relu", name="conv"),
            layers.SeparableConv2D(12, 3, activation="relu", name="separable"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(16, activation="relu", name="dense"),
            layers.Dense(10, name="logits"),
        ]
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_repeatable(0)
    return saved(network(), tmp_path_factory.mktemp("source") / "train")


WORKLOAD = digits(0, 9, train=500)
FAST = {"epochs": 2, "batch_size": 20, "kernel_elements_min": 0}


def int8_rows(source: Path, out: Path, facts: dict[str, Any]) -> dict[int, np.ndarray]:
    """Convert to int8; return {elements: rows [outputs · …, inputs]} of the kernels, all of different sizes."""
    dtypes = {"input_dtype": "int8", "output_dtype": "int8"}
    run_step(quantize, source, out, WORKLOAD, calibration_samples=50, **dtypes)
    file = out / "model.tflite"
    found = [(kernel.elements, kernel.zeros / kernel.elements) for kernel in inspect_file(file).kernels]
    assert lost_zeros(facts["promises"]["kernel_zeros"], found, more_allowed=True) == []
    (graph,) = read_model(file).subgraphs
    read = {index for operator in graph.operators if operator.name in MULTIPLY_ACCUMULATE for index in operator.inputs}
    tensors = [graph.tensors[index] for index in read if index >= 0]
    kernels = [tensor for tensor in tensors if tensor.data is not None and len(tensor.shape) > 1]
    assert {(tensor.dtype, *set(tensor.zero_point)) for tensor in kernels} == {("int8", 0)}
    return {tensor.elements: tensor.stored_values().reshape(-1, tensor.shape[-1]) for tensor in kernels}


def rows_of(model: Any, name: str) -> np.ndarray:
    """Return the pruned kernel of a layer in the file's layout, [outputs · …, inputs]."""
    layer = model.get_layer(name)
    values = (layer.pointwise_kernel if name == "separable" else layer.kernel).numpy()
    return values.transpose(-1, *range(values.ndim - 1)).reshape(-1, values.shape[-2])


def test_m_by_n_in_model_and_file(source: Path, tmp_path: Path) -> None:
    facts = run_step(prune, source, tmp_path / "prune", WORKLOAD, method="m_by_n", **FAST)
    model = load_model(tmp_path / "prune")
    in_file = int8_rows(tmp_path / "prune", tmp_path / "quantize", facts)
    assert facts["zero_fraction"] == dict.fromkeys(["conv", "separable", "dense", "logits"], 0.5)
    assert facts["left_dense"] == {"first": "1 inputs are no multiple of n = 4"}
    for name in facts["zero_fraction"]:
        in_model = rows_of(model, name)
        for rows in (in_model, in_file[in_model.size]):
            assert ((rows.reshape(-1, 4) == 0).sum(axis=1) >= 2).all(), name


def test_blocks_in_model_and_file(source: Path, tmp_path: Path) -> None:
    facts = run_step(prune, source, tmp_path / "prune", WORKLOAD, method="block", final_sparsity=0.75, **FAST)
    model = load_model(tmp_path / "prune")
    in_file = int8_rows(tmp_path / "prune", tmp_path / "quantize", facts)
    for name in ("dense", "logits"):
        in_model = rows_of(model, name)
        for rows in (in_model, in_file[in_model.size]):
            zeros = (rows.reshape(-1, 4) == 0).sum(axis=1)
            assert (zeros == 4).mean() == pytest.approx(0.75, abs=0.005)
            assert (zeros % 4 != 0).mean() < 0.02, "elsewhere no more zeros than rounding makes"
    kernels = [weight for weight in model.get_weights() if weight.ndim > 1]
    pruned = [(kernel.size, pytest.approx(0.75, abs=0.01)) for kernel in kernels if kernel.ndim == 2]
    assert facts["promises"] == {"kernel_zeros": pruned}, "the convolutions stay dense"
    assert facts["left_dense"]["conv"] == "TFMOT prunes blocks in dense layers alone, not in a Conv2D"


@pytest.mark.parametrize(("block", "pooling"), [((1, 4), "AVG"), ((5, 2), "MAX")])
def test_the_largest_blocks_stay(tmp_path: Path, block: tuple[int, int], pooling: str) -> None:
    """Every block is judged by its own weights, and with constant sparsity at once."""
    make_repeatable(0)
    model = keras.Sequential([layers.Flatten(input_shape=SHAPE), layers.Dense(10, name="dense")])
    weights = np.random.default_rng(0).normal(0, 1, (784, 10)).astype(np.float32)
    model.layers[-1].set_weights([weights, np.zeros(10, np.float32)])
    config = {"method": "block", "block_size": block, "block_pooling_type": pooling, "schedule": "constant"}
    source = saved(model, tmp_path / "source")
    run_step(prune, source, tmp_path / "out", WORKLOAD, final_sparsity=0.5, learning_rate=1e-9, **config, **FAST)

    def blocks(rows: np.ndarray) -> np.ndarray:
        cut = rows.reshape(10 // block[0], block[0], 784 // block[1], block[1])
        return np.abs(cut.transpose(0, 2, 1, 3).reshape(-1, block[0] * block[1]))

    sizes = blocks(weights.T).max(axis=1) if pooling == "MAX" else blocks(weights.T).mean(axis=1)
    kept = (blocks(rows_of(load_model(tmp_path / "out"), "dense")) != 0).all(axis=1)
    assert kept.mean() == pytest.approx(0.5, abs=0.001)
    assert sizes[kept].min() >= sizes[~kept].max() - 1e-6


def test_constant_sparsity_on_every_layer(source: Path, tmp_path: Path) -> None:
    facts = run_step(prune, source, tmp_path / "out", WORKLOAD, schedule="constant", final_sparsity=0.6, **FAST)
    assert facts["schedule"] == {"begin_step": 0, "end_step": 25, "frequency": 1}
    assert facts["left_dense"] == {}
    assert set(facts["zero_fraction"]) == {"first", "conv", "separable", "dense", "logits"}
    assert list(facts["zero_fraction"].values()) == pytest.approx([0.6] * 5, abs=0.01)


def test_schedules_are_those_that_were_asked_for() -> None:
    """At half of the way the constant one has all of its zeros; the polynomial one, not yet."""
    for schedule, halfway in (("constant", 0.8), ("polynomial", 0.7375)):
        _, parameters = prune.pruning_parameters(prune.Config(schedule=schedule), 100)
        assert float(parameters["pruning_schedule"](150)[1]) == pytest.approx(halfway)


@pytest.mark.parametrize(
    ("method", "last", "received"),
    [
        ("block", layers.Conv2D(10, 3), "not in a Conv2D"),
        ("block", layers.Dense(10, input_shape=(4,)), "10 outputs × 4 inputs are no multiple, twofold or more, of 1×4"),
        ("block", layers.Dense(10, input_shape=(6,)), "10 outputs × 6 inputs are no multiple, twofold or more, of 1×4"),
        ("block", layers.Dense(1, input_shape=(8,)), "1 outputs × 8 inputs are no multiple, twofold or more, of 1×4"),
        ("m_by_n", layers.Conv2D(10, 3, input_shape=(8, 8, 6)), "6 inputs are no multiple of n = 4"),
        ("m_by_n", layers.Conv2DTranspose(4, 3), "does not lie along the inputs of a Conv2DTranspose"),
        ("m_by_n", layers.Conv1D(4, 3), "does not lie along the inputs of a Conv1D"),
        ("m_by_n", layers.Embedding(8, 4), "does not lie along the inputs of a Embedding"),
        ("magnitude", layers.DepthwiseConv2D(3), "TFMOT prunes no DepthwiseConv2D"),
        ("magnitude", layers.LSTM(4), "TFMOT prunes no LSTM"),
        ("magnitude", layers.ReLU(), "layers re_lu"),
    ],
)
def test_layers_that_a_method_cannot_prune(method: str, last: Any, received: str) -> None:
    last = type(last).from_config(last.get_config())
    shape = {layers.Dense: None, layers.Conv1D: (8, 4), layers.LSTM: (8, 4), layers.Embedding: (8,)}
    model = keras.Sequential([last])
    if not model.built:
        model.build((None, *shape.get(type(last), (8, 8, 4))))
    with pytest.raises(StepFailed) as caught:
        prune.prunable_layers(model, prune.Config(method=method, kernel_elements_min=0))
    assert received in caught.value.received
    assert "choose another method" in caught.value.fix
    assert caught.value.exit_code == EXIT_STEP


def test_a_broken_pattern_is_refused(source: Path) -> None:
    with pytest.raises(StepFailed, match="the kernel of dense did not reach the sparsity"):
        prune._zeros(load_model(source), ["dense"], prune.Config(method="m_by_n"))
