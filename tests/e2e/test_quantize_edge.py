"""Schemes of ai-edge-quantizer: what is in the file, that it runs, and that it agrees with its source."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_project import add_target, environment, invoke
from small_steps import RUNNER, stage_folder
from step_runs import SMALL, run_step, saved, varied

from pipeline.errors import StepFailed
from pipeline.flatbuffer import read_model
from pipeline.inspect import Inspection, inspect_file
from pipeline.layer_errors import layer_errors
from pipeline.steps import quantize, quantize_edge, slim
from pipeline.verify import verify

# scheme: format of the kernels, of the activations, and the share of answers that must stay the source's
SCHEMES = {
    "weight_only_int8": ("int8", "float32", 0.99),
    "weight_only_int4": ("int4", "float32", 0.9),
    "dynamic_int8": ("int8", "float32", 0.98),
    "dynamic_int4": ("int4", "float32", 0.9),
    "int8": ("int8", "int8", 0.98),
    "int8x4": ("int4", "int8", 0.9),
    "int16x8": ("int8", "int16", 0.99),
    "int16x4": ("int4", "int16", 0.9),
}


def built_file(source: Path, out: Path, **config: Any) -> tuple[dict[str, Any], Inspection, float]:
    """Run the step; return its facts, and what the verified file holds and agrees on."""
    facts = run_step(quantize_edge, source, out, varied(), **{"calibration_samples": 50, **config})
    agreement = verify(out, varied(), {"agreement_min": 0, **facts["promises"]}, RUNNER)["agreement"]
    return facts, inspect_file(out / "model.tflite"), agreement


def depthwise_network() -> Any:
    from pipeline.keras_legacy import keras, make_repeatable

    make_repeatable(2)
    layers = keras.layers
    inputs = layers.Input((28, 28, 1))
    first = layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(inputs)
    second = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(first)
    joined = layers.Add(name="join")([first, second])
    pooled = layers.GlobalAveragePooling2D()(layers.ReLU()(joined))
    return keras.Model(inputs, layers.Dense(10, name="logits")(pooled))


@pytest.fixture(scope="module")
def depthwise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(depthwise_network(), tmp_path_factory.mktemp("depthwise") / "source")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_file_is_what_the_scheme_says(scheme: str, built: Path, document: dict, tmp_path: Path) -> None:
    weights, activations, agreement_min = SCHEMES[scheme]
    source = stage_folder(built, document, "train")
    facts, found, agreement = built_file(source, tmp_path / "out", scheme=scheme)
    assert [kernel.dtype for kernel in found.kernels] == [weights] * 3
    assert facts["promises"]["full_integer"] == (activations != "float32")
    assert [tensor.dtype for tensor in (*found.inputs, *found.outputs)] == ["float32", "float32"]
    dense = next(operator for operator in found.operators if operator.name == "FULLY_CONNECTED")
    assert activations in dense.dtypes
    assert agreement >= agreement_min
    assert facts["schemes"] == dict.fromkeys(("conv", "dense", "logits"), scheme)
    stored = sum(kernel.elements for kernel in found.kernels) * (0.5 if weights == "int4" else 1)
    assert found.weight_bytes == pytest.approx(stored, rel=0.05)


@pytest.mark.parametrize(("scheme", "dtype"), [("int8x4", "int8"), ("int8", "uint8"), ("int16x4", "int16")])
def test_input_and_output_are_the_targets(scheme: str, dtype: str, built: Path, document: dict, tmp_path: Path) -> None:
    config = {"scheme": scheme, "input_dtype": dtype, "output_dtype": dtype}
    facts, found, agreement = built_file(stage_folder(built, document, "train"), tmp_path / "out", **config)
    assert [tensor.dtype for tensor in (*found.inputs, *found.outputs)] == [dtype, dtype]
    assert facts["promises"]["full_integer"]
    assert agreement >= SCHEMES[scheme][2]


def test_layers_have_schemes_of_their_own(built: Path, document: dict, tmp_path: Path) -> None:
    source = stage_folder(built, document, "train")
    layers = {"logits": "int16x8", "CONV_2D": "int8"}
    facts, found, mixed = built_file(source, tmp_path / "mixed", scheme="int8x4", layers=layers)
    assert facts["schemes"] == {"conv": "int8", "dense": "int8x4", "logits": "int16x8"}
    assert {kernel.elements: kernel.dtype for kernel in found.kernels} == {200: "int8", 18432: "int4", 160: "int8"}
    assert found.operator_counts["QUANTIZE"] == 2  # of the input, and from int8 to int16
    assert facts["promises"]["full_integer"]
    _, _, uniform = built_file(source, tmp_path / "uniform", scheme="int8x4")
    assert mixed > uniform
    layers = {"conv": "weight_only_int4", "logits": "float32"}
    facts, found, _ = built_file(source, tmp_path / "float", scheme="int8", layers=layers)
    assert {kernel.elements: kernel.dtype for kernel in found.kernels} == {200: "int4", 18432: "int8", 160: "float32"}
    assert not facts["promises"]["full_integer"]


def test_a_kernel_without_int4_stays_int8_and_is_refused_by_name(depthwise: Path, tmp_path: Path) -> None:
    facts, found, _ = built_file(depthwise, tmp_path / "out", scheme="int8x4")
    assert facts["schemes"] == {"first": "int8x4", "depthwise": "int8", "logits": "int8x4"}
    assert [kernel.dtype for kernel in found.kernels] == ["int4", "int8", "int4"]
    with pytest.raises(StepFailed, match="depthwise \\(DEPTHWISE_CONV_2D\\) cannot be quantized as 'int8x4'") as caught:
        run_step(quantize_edge, depthwise, tmp_path / "named", varied(), layers={"depthwise": "int8x4"})
    assert caught.value.expected == "one of weight_only_int8, dynamic_int8, int8, int16x8, float32"


def test_layers_keep_their_names_though_conversion_fuses_them(tmp_path: Path) -> None:
    from pipeline.keras_legacy import keras

    layers = keras.layers
    inputs = layers.Input((28, 28, 1))
    hidden = layers.Conv2D(4, 3, strides=2, use_bias=False, name="stem")(inputs)
    hidden = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(name="stem_norm")(hidden))
    hidden = layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(hidden)
    hidden = layers.ReLU(6.0, name="depthwise_relu")(layers.BatchNormalization(name="depthwise_norm")(hidden))
    block = keras.Sequential([layers.InputLayer((11, 11, 4)), layers.Conv2D(4, 1, name="inner")], name="block")
    outputs = layers.Dense(10, name="logits")(layers.Flatten()(block(hidden)))
    source = saved(keras.Model(inputs, outputs), tmp_path / "source")
    # By the name of the layer, of what is fused with it, and of the block around it.
    given = {"depthwise_norm": "dynamic_int8", "block": "float32", "stem": "weight_only_int4"}
    facts, _, _ = built_file(source, tmp_path / "out", scheme="weight_only_int8", layers=given)
    assert facts["schemes"] == {
        "stem": "weight_only_int4",
        "depthwise": "dynamic_int8",
        "block/inner": "float32",
        "logits": "weight_only_int8",
    }


def test_what_has_no_kernel_takes_the_activations_of_its_scheme(depthwise: Path, tmp_path: Path) -> None:
    layers = {"join": "int16x8", "depthwise": "int16x8"}
    _, found, _ = built_file(depthwise, tmp_path / "out", scheme="int8", layers=layers)
    add = next(operator for operator in found.operators if operator.name == "ADD")
    assert add.dtypes == ("int16",)
    layers = {"join": "dynamic_int8"}
    _, found, _ = built_file(depthwise, tmp_path / "float", scheme="int8", layers=layers)
    add = next(operator for operator in found.operators if operator.name == "ADD")
    assert add.dtypes == ("float32",)


@pytest.mark.parametrize("scheme", ["int8", "weight_only_int8", "dynamic_int8"])
def test_each_operator_is_compared_also_where_two_layers_meet(scheme: str, depthwise: Path, tmp_path: Path) -> None:
    run_step(quantize, depthwise, tmp_path / "float", varied(), scheme="float32")
    built_file(depthwise, tmp_path / "out", scheme=scheme)
    samples = varied().preprocess(varied().load("train")[0][:10])
    errors = layer_errors(tmp_path / "float" / "model.tflite", tmp_path / "out" / "model.tflite", samples)
    own = {error.float_operator.kind: error.own_noise for error in errors}
    assert 0 < own["CONV_2D"] < 1e-3
    assert 0 < own["DEPTHWISE_CONV_2D"] < 1e-3
    # Weights alone leave what adds activations as it was.
    assert own["ADD"] == pytest.approx(0, abs=1e-12) if scheme != "int8" else 0 < own["ADD"] < 1e-3
    assert 0 < errors[-1].noise < 0.05


@pytest.mark.parametrize(
    ("layers", "message", "named"),
    [
        ({"dense1": "int8", "logits": "int8"}, "names what the model does not have", "dense1"),
        ({"logits": "int8", "FULLY_CONNECTED": "int16x8"}, "gives logits two schemes", "logits = 'int8'"),
    ],
)
def test_layers_that_do_not_fit_the_model(
    depthwise: Path, tmp_path: Path, layers: dict[str, str], message: str, named: str
) -> None:
    with pytest.raises(StepFailed, match=message) as caught:
        run_step(quantize_edge, depthwise, tmp_path / "out", varied(), layers=layers)
    assert named in caught.value.received
    assert caught.value.fix


def test_pruned_weights_stay_zero_and_later_steps_must_keep_them(built: Path, document: dict, tmp_path: Path) -> None:
    from pipeline.steps._fit import load_model

    model = load_model(stage_folder(built, document, "prune"))
    kernel, bias = model.get_layer("dense").get_weights()
    kernel[0] = 40 * abs(kernel).max()  # one large weight in a channel, beside which others round to zero
    model.get_layer("dense").set_weights([kernel, bias])
    facts, found, _ = built_file(saved(model, tmp_path / "source"), tmp_path / "out", scheme="int8x4")
    share = next(kernel.zeros / kernel.elements for kernel in found.kernels if kernel.elements == 18432)
    assert share > (kernel == 0).mean() + 0.1
    assert (18432, pytest.approx(share)) in facts["promises"]["kernel_zeros"]
    run_step(slim, tmp_path / "out", tmp_path / "slim", varied())
    verify(tmp_path / "slim", varied(), {"agreement_min": 0, **facts["promises"]}, RUNNER)
    fewer = [(elements, share - 0.1) for elements, share in facts["promises"]["kernel_zeros"]]
    with pytest.raises(StepFailed, match="does not keep the zeros"):
        verify(tmp_path / "slim", varied(), {**facts["promises"], "kernel_zeros": fewer}, RUNNER)


def test_lost_zeros_are_refused(built: Path, document: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dense_file = (stage_folder(built, document, "baseline") / "model.tflite").read_bytes()
    monkeypatch.setattr(quantize_edge, "quantized", lambda *_: dense_file)
    with pytest.raises(StepFailed, match="lost zeros of the pruned model") as caught:
        run_step(quantize_edge, stage_folder(built, document, "prune"), tmp_path / "out", varied())
    assert "18432 weights" in caught.value.received


def test_the_bytes_are_the_same_in_another_process(built: Path, document: dict, tmp_path: Path) -> None:
    source = stage_folder(built, document, "train")
    config = {"scheme": "int8x4", "layers": {"logits": "int16x8"}, "calibration": "mse", "calibration_samples": 50}
    built_file(source, tmp_path / "here", **config)
    (tmp_path / "there").mkdir()
    code = f"""
from pathlib import Path
from pipeline.steps import quantize_edge
from pipeline.workload import load_workload
quantize_edge.run(Path({str(source)!r}), load_workload({str(SMALL)!r}),
                  quantize_edge.Config.model_validate({config!r}), Path({str(tmp_path / "there")!r}), print)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), capture_output=True)
    files = [(tmp_path / name / "model.tflite").read_bytes() for name in ("here", "there")]
    assert files[0] == files[1]


def test_a_recipe_says_how_much_agreement_int4_must_keep(built: Path) -> None:
    quantize = 'step = "quantize"\nscheme = "int8"\ncalibration_samples = 100\n'
    edge = 'step = "quantize_edge"\nscheme = "int8x4"\ncalibration_samples = 100\n'
    add_target(built, "four", (quantize, edge))
    done = json.loads(invoke(built, "convert", "--target=four", "--workload=small", "--json", expect=4).stdout)
    assert "does not agree" in done["error"]["message"]
    assert done["error"]["expected"] == "at least 99.5%"
    assert "invoke sensitivity" in done["error"]["fix"]
    add_target(built, "four", (quantize, edge + "agreement_min = 0.9\n"))
    done = json.loads(invoke(built, "convert", "--target=four", "--workload=small", "--json").stdout)
    assert done["size_bytes"] < 14_000
    tensors = read_model(built / done["artifact"]).subgraphs[0].tensors
    assert {tensor.dtype for tensor in tensors if tensor.data is not None} <= {"int4", "int32"}
