"""Quantization-aware training on real digits, and what it keeps of pruned and clustered models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_project import add_target, invoke
from small_steps import INT8, int8_kernels, stage_folder, verified
from step_runs import run_step, varied

from pipeline.errors import StepFailed
from pipeline.inspect import float_leftovers, inspect_file
from pipeline.steps import quantize_aware

# Which stage of the small project, and whether its kernels are clustered by hand, for each `preserve`.
SOURCES = {"none": ("train", False), "sparsity": ("prune", False), "clusters": ("train", True), "both": ("prune", True)}


@pytest.fixture
def source(request: pytest.FixtureRequest, built: Path, document: dict, tmp_path: Path) -> Path:
    """A folder with the model that fits the `preserve` that the test is given."""
    from pipeline.steps._fit import load_model, save_model

    stage, clustered = SOURCES[request.param]
    folder = stage_folder(built, document, stage)
    if not clustered:
        return folder
    model = load_model(folder)
    model.set_weights([in_eight(weight) if weight.ndim > 1 else weight for weight in model.get_weights()])
    (tmp_path / "source").mkdir()
    save_model(model, tmp_path / "source")
    return tmp_path / "source"


def in_eight(kernel: np.ndarray) -> np.ndarray:
    """Round to at most seven values, and leave zeros zero."""
    values = np.quantile(kernel[kernel != 0], np.linspace(0.02, 0.98, 7))
    nearest = values[np.abs(kernel[..., np.newaxis] - values).argmin(axis=-1)]
    return np.where(kernel == 0, 0, nearest).astype(np.float32)


@pytest.mark.parametrize(("preserve", "source"), [(name, name) for name in SOURCES], indirect=["source"])
def test_the_int8_tensors_keep_what_the_model_had(preserve: str, source: Path, document: dict, tmp_path: Path) -> None:
    # What is not held moves far enough to be seen in 8 bits.
    config = {"preserve": preserve, "epochs": 1, "learning_rate": 1e-2 if preserve == "both" else 1e-4, **INT8}
    facts = run_step(quantize_aware, source, tmp_path / "out", varied(), **config)
    found = verified(tmp_path / "out", facts)
    assert float_leftovers(found, float_io=False) == []
    assert [tensor.dtype for tensor in (*found.inputs, *found.outputs)] == ["int8", "int8"]
    assert list(found.inputs[0].shape_signature) == [1, 28, 28, 1]
    kernels = int8_kernels(tmp_path / "out" / "model.tflite")
    pruned = next(stage["facts"] for stage in document["stages"] if stage["name"] == "prune")
    kept_zeros = (kernels["dense"] == 0).mean() >= pruned["zero_fraction"]["dense"] - 1e-9
    assert kept_zeros == (preserve in ("sparsity", "both"))
    assert ("kernel_zeros" in facts["promises"]) == kept_zeros
    values = max(np.unique(channel).size for kernel in kernels.values() for channel in kernel)
    assert (values <= 8) == (preserve in ("clusters", "both"))
    assert facts["history"]["val_accuracy"][-1] > 0.8
    if preserve == "none":  # one seed gives the same bytes
        run_step(quantize_aware, source, tmp_path / "again", varied(), **config)
        assert inspect_file(tmp_path / "again" / "model.tflite").sha256 == found.sha256


def test_a_recipe_prunes_clusters_and_trains_with_quantization(built: Path) -> None:
    steps = (
        '[[recipe]]\nstep = "cluster"\nnumber_of_clusters = 16\n\n'
        '[[recipe]]\nstep = "quantize_aware"\npreserve = "both"\n'
    )
    quantize = '[[recipe]]\nstep = "quantize"\nscheme = "int8"\ncalibration_samples = 100\n'
    add_target(built, "pcqat", (quantize, steps), ('output_dtype = "int8"', 'output_dtype = "float32"'))
    done = json.loads(invoke(built, "convert", "--target=pcqat", "--workload=small", "--json").stdout)
    stages = {stage["name"]: stage["facts"] for stage in done["stages"]}
    assert set(stages["cluster"]["clusters"]) == {"dense"}
    assert "200 weights, fewer than 1000" in stages["cluster"]["unclustered"]["conv"]
    found = inspect_file(built / done["artifact"])
    dense = next(kernel for kernel in found.kernels if kernel.elements == 18432)
    assert dense.distinct_values_per_channel <= 16
    assert dense.zeros / dense.elements >= 0.595
    assert found.outputs[0].dtype == "float32"
    assert stages["quantize_aware"]["file"]["agreement"] >= 0.995


@pytest.mark.parametrize("source", ["both"], indirect=True)
@pytest.mark.parametrize(
    ("forgotten", "lost"),
    [((True, True), "lost zeros"), ((False, True), "lost the clusters")],
)
def test_what_training_loses_is_refused_before_conversion(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: tuple[bool, bool], lost: str
) -> None:
    def forgetful(kernels: dict[str, Any], preserve: str) -> dict[str, tuple[bool, bool]]:
        kept = what_to_keep(kernels, preserve)
        return {
            name: tuple(has and not drop for has, drop in zip(flags, forgotten, strict=True))
            for name, flags in kept.items()
        }

    what_to_keep = quantize_aware.what_to_keep
    monkeypatch.setattr(quantize_aware, "what_to_keep", forgetful)
    with pytest.raises(StepFailed, match=lost):
        run_step(quantize_aware, source, tmp_path / "out", varied(), preserve="both", epochs=1, learning_rate=1e-3)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("source", ["sparsity"], indirect=True)
@pytest.mark.parametrize("preserve", ["none", "clusters", "both"])
def test_preserve_must_fit_the_model(source: Path, tmp_path: Path, preserve: str) -> None:
    with pytest.raises(StepFailed, match="does not fit the model") as caught:
        run_step(quantize_aware, source, tmp_path / "out", varied(), preserve=preserve)
    assert "with zeros and without clusters" in caught.value.received
    assert "preserve = 'sparsity'" in caught.value.fix


def network(*layers: Any) -> Any:
    from pipeline.keras_legacy import keras

    return keras.Sequential([keras.layers.InputLayer((8, 8, 4)), *layers])


def test_layers_that_cannot_be_quantized_are_named() -> None:
    from pipeline.keras_legacy import keras

    model = network(keras.layers.Conv2D(4, 3), keras.layers.LayerNormalization(name="my_norm"))
    with pytest.raises(StepFailed, match="cannot make the model") as caught:
        quantize_aware.quantization_aware(model, {})
    assert "my_norm" in caught.value.received


def test_activations_start_with_their_own_ranges() -> None:
    """TFMOT's start at ±6, which cost 6 points of accuracy after the small project's 24 steps."""
    from pipeline.keras_legacy import keras

    model = network(keras.layers.Conv2D(4, 3, activation="relu", name="conv"), keras.layers.ReLU(name="again"))
    samples = np.random.default_rng(3).normal(size=(150, 8, 8, 4)).astype(np.float32)
    aware = quantize_aware.quantization_aware(model, {})
    quantize_aware.start_ranges(aware, model, samples)
    ranges = {variable.name: variable.numpy() for variable in aware.variables if "_m" in variable.name}
    assert ranges["quant_again/output_min:0"] == 0
    assert ranges["quant_again/output_max:0"] == pytest.approx(model.predict(samples, verbose=0).max(), rel=1e-5)


def test_the_kernel_before_a_relu_layer_is_quantized() -> None:
    from pipeline.keras_legacy import keras

    layers = keras.layers
    model = network(layers.Conv2D(4, 3, name="conv"), layers.ReLU(), layers.Dense(2, name="dense"), layers.ReLU())
    aware = quantize_aware.quantization_aware(model, {})
    assert {layer.name for layer in aware.layers if getattr(layer, "_weight_vars", None)} == {
        "quant_conv",
        "quant_dense",
    }
