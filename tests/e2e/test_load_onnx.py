"""ONNX models: converted, held against onnxruntime, quantized; and what is refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_project import copy_project, invoke
from small_steps import RUNNER
from step_runs import of_task, run_step, varied

from pipeline.errors import EXIT_REQUEST, BadModelFile

if importlib.util.find_spec("onnx2tf") is None:  # to import it would take the recursion limit away
    pytest.skip("the extra onnx is not installed", allow_module_level=True)

import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.keras_legacy import keras
from pipeline.steps import load_onnx, prune, quantize
from pipeline.steps._fit import load_inference
from pipeline.verify import verify


def network(*, batch: int | str = 1, last: str | None = None, channels_last: bool = False, answers: int = 10) -> Any:
    """Return a convolution, a dense layer and perhaps an activation, as PyTorch exports them: channels first."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(8, 1, 5, 5), scale=0.2),
        "bias": random.normal(size=8),
        "dense": random.normal(size=(answers, 8 * 12 * 12), scale=0.05),
    }
    nodes = [
        *([helper.make_node("Transpose", ["images"], ["input"], perm=[0, 3, 1, 2])] if channels_last else []),
        helper.make_node("Conv", ["input", "kernel", "bias"], ["conv"], kernel_shape=[5, 5], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Flatten", ["relu"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense"], ["answers" if last else "output"], transB=1),
        *([helper.make_node(last, ["answers"], ["output"])] if last else []),
    ]
    shape = [batch, 28, 28, 1] if channels_last else [batch, 1, 28, 28]
    return as_model(nodes, "images" if channels_last else "input", shape, [batch, answers], weights)


def as_model(nodes: list[Any], name: str, shape: list[Any], answers: list[Any], weights: dict[str, Any]) -> Any:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, answers)],
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def outputs(folder: Path) -> np.ndarray:
    samples = varied().preprocess(varied().load("validation")[0][:100])
    return load_inference(folder).predict(samples)


def computed(model: Any, channels_last: bool = False) -> np.ndarray:
    """Return what ONNX's own reference computes of 100 samples, one by one."""
    from onnx.reference import ReferenceEvaluator

    samples = varied().preprocess(varied().load("validation")[0][:100])
    samples = samples if channels_last else samples.transpose(0, 3, 1, 2)
    evaluator = ReferenceEvaluator(model)
    return np.concatenate([evaluator.run(None, {model.graph.input[0].name: sample[None]})[0] for sample in samples])


@pytest.mark.parametrize(
    "options", [{}, {"batch": "N"}, {"channels_last": True}], ids=["batch of one", "open batch", "channels last"]
)
def test_the_model_is_computed_and_quantized(tmp_path: Path, options: dict[str, Any]) -> None:
    model = network(**options)
    onnx.save(model, tmp_path / "model.onnx")
    facts = run_step(load_onnx, None, tmp_path / "out", varied(), path=tmp_path / "model.onnx")
    wanted = computed(model, options.get("channels_last", False))
    assert outputs(tmp_path / "out") == pytest.approx(wanted, abs=1e-4)
    assert facts["difference"] < 1e-5
    assert sys.getrecursionlimit() < 100_000, "onnx2tf takes the limit away"
    assert facts["parameters"] == 8 * 25 + 8 + 10 * 1152
    made = run_step(quantize, tmp_path / "out", tmp_path / "int8", varied(), calibration_samples=50)
    found = verify(tmp_path / "int8", varied(), {**made["promises"], "agreement_min": 0.9}, RUNNER)
    assert found["operators"]["CONV_2D"] == 1


@pytest.mark.parametrize(("last", "task"), [("Softmax", "classification"), ("Sigmoid", "binary")])
def test_logits_come_out(tmp_path: Path, last: str, task: str) -> None:
    answers = 10 if task == "classification" else 1
    onnx.save(network(last=last, answers=answers), tmp_path / "model.onnx")
    workload = varied() if task == "classification" else of_task(task)
    facts = run_step(load_onnx, None, tmp_path / "out", workload, path=tmp_path / "model.onnx")
    assert facts["activation_removed"] == last.lower()
    assert outputs(tmp_path / "out") == pytest.approx(computed(network(answers=answers)), abs=1e-4)


def test_a_whole_build(tmp_path: Path) -> None:
    """A network that was trained elsewhere; pruning it is refused."""
    project = copy_project(tmp_path / "project")
    images, labels = varied().load("train")
    trained = keras.Sequential([keras.layers.Flatten(input_shape=(28, 28, 1)), keras.layers.Dense(10)])
    trained.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trained.fit(varied().preprocess(images), labels, epochs=5, verbose=0)
    kernel, bias = trained.get_weights()
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("Gemm", ["flat", "kernel", "bias"], ["output"]),
    ]
    model = as_model(nodes, "input", [1, 1, 28, 28], [1, 10], {"kernel": kernel, "bias": bias})
    onnx.save(model, project / "model.onnx")
    start, _, _ = (project / "targets" / "small.toml").read_text().partition("[[recipe]]")
    loaded = '[[recipe]]\nstep = "load_onnx"\npath = "model.onnx"\n'
    end = '[[recipe]]\nstep = "quantize"\nagreement_min = 0.95\ncalibration_samples = 100\n'
    (project / "targets" / "given.toml").write_text(start + loaded + end)
    document = json.loads(invoke(project, "build", "--target=given", "--workload=small", "--json").stdout)
    assert document["accuracy"] > 0.8
    run_step(load_onnx, None, tmp_path / "out", varied(), path=project / "model.onnx")
    with pytest.raises(BadModelFile) as caught:
        run_step(prune, tmp_path / "out", tmp_path / "pruned", varied())
    assert "an ONNX model" in caught.value.received


def own_operator(path: Path) -> None:
    onnx.save(
        as_model([helper.make_node("Mine", ["input"], ["output"], domain="own")], "input", [1, 784], [1], {}), path
    )


def other_input(path: Path) -> None:
    onnx.save(as_model([helper.make_node("Flatten", ["input"], ["output"])], "input", [1, 3, 8, 8], [1, 192], {}), path)


def unknown_operator(path: Path) -> None:
    """One that ONNX has, for texts, and onnx2tf has not."""
    numbers = {"max_gram_length": 1, "min_gram_length": 1, "max_skip_count": 0, "mode": "TF"}
    node = helper.make_node(
        "TfIdfVectorizer", ["input"], ["output"], ngram_counts=[0], ngram_indexes=[0], pool_int64s=[1], **numbers
    )
    onnx.save(as_model([node], "input", [1, 1, 28, 28], [1, 1], {}), path)


def external_weights(path: Path) -> None:
    onnx.save(network(), path, save_as_external_data=True, size_threshold=0, location="weights.bin")


@pytest.mark.parametrize(
    ("write", "received"),
    [
        (lambda path: path.write_bytes(b"no model"), "Error"),
        (lambda path: path.write_bytes(network().SerializeToString()[:-2000]), "Error"),
        (own_operator, "a own.Mine"),
        (external_weights, "weights in another file"),
        (other_input, "[1, 3, 8, 8]"),
        (unknown_operator, "onnx2tf: "),
    ],
    ids=["no model", "cut", "own operator", "weights elsewhere", "other input", "unknown operator"],
)
def test_what_is_refused(tmp_path: Path, write: Any, received: str) -> None:
    write(tmp_path / "model.onnx")
    with pytest.raises(BadModelFile) as caught:
        run_step(load_onnx, None, tmp_path / "out", varied(), path=tmp_path / "model.onnx")
    assert received in caught.value.received
    assert caught.value.exit_code == EXIT_REQUEST
    assert not any((tmp_path / "out").iterdir())
