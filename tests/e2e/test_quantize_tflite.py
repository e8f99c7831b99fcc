"""A recipe that begins with a float `.tflite`: quantized on the workload's data, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_project import copy_project, invoke
from small_steps import RUNNER, stage_folder
from step_runs import of_task, run_step, saved, varied

from pipeline.errors import EXIT_REQUEST, BadModelFile
from pipeline.inspect import inspect_file
from pipeline.steps import quantize, quantize_edge, quantize_tflite
from pipeline.verify import verify


@pytest.fixture(scope="module")
def trained(built: Path, document: dict) -> Path:
    return stage_folder(built, document, "train")


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained network with a softmax at its end, as `from_keras_model` converts it: with an open batch."""
    from pipeline.keras_legacy import keras, tf
    from pipeline.steps._fit import load_model

    path = tmp_path_factory.mktemp("exported") / "model.tflite"
    body = load_model(trained)
    model = keras.Model(body.inputs, keras.layers.Softmax()(body.output))
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


def test_it_gives_what_the_keras_model_gives(trained: Path, exported: Path, tmp_path: Path) -> None:
    assert inspect_file(exported).inputs[0].shape_signature[0] == -1
    config: dict[str, Any] = {"calibration_samples": 50, "scheme": "int8", "input_dtype": "int8"}
    ours = run_step(quantize_tflite, None, tmp_path / "ours", varied(), path=exported, **config)
    theirs = run_step(quantize_edge, trained, tmp_path / "theirs", varied(), **config)
    assert ours["activation_removed"] == "softmax"
    assert ours["calibration"] == theirs["calibration"]
    assert ours["promises"] == theirs["promises"]
    references = [np.load(tmp_path / name / "reference.npy") for name in ("ours", "theirs")]
    assert references[0] == pytest.approx(references[1], abs=1e-4)
    found = verify(tmp_path / "ours", varied(), {**ours["promises"], "agreement_min": 0.97}, RUNNER)
    assert found["operators"]["FULLY_CONNECTED"] == 2
    assert "SOFTMAX" not in found["operators"]
    kernels = [inspect_file(tmp_path / name / "model.tflite").kernels for name in ("ours", "theirs")]
    assert [kernel.dtype for kernel in kernels[0]] == ["int8"] * 3
    assert [kernel.zeros for kernel in kernels[0]] == [kernel.zeros for kernel in kernels[1]]


def test_float32_is_the_file_itself(exported: Path, tmp_path: Path) -> None:
    facts = run_step(quantize_tflite, None, tmp_path / "out", varied(), path=exported, scheme="float32")
    assert verify(tmp_path / "out", varied(), facts["promises"], RUNNER)["agreement"] == 1
    assert facts["parameters"] == inspect_file(exported).parameters


def test_a_sigmoid_is_kept_unless_the_task_wants_logits(tmp_path: Path) -> None:
    from pipeline.keras_legacy import keras, tf

    model = keras.Sequential([keras.layers.Flatten(input_shape=(28, 28, 1)), keras.layers.Dense(1, "sigmoid")])
    (tmp_path / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    for task, removed in (("binary", "sigmoid"), ("regression", None)):
        workload, path = of_task(task), tmp_path / "model.tflite"
        facts = run_step(quantize_tflite, None, tmp_path / task, workload, path=path, scheme="float32")
        assert facts["activation_removed"] == removed
        reference = np.load(tmp_path / task / "reference.npy")
        assert (reference.min() < 0) == (removed is not None)


def test_a_recipe_of_a_file_alone(exported: Path, tmp_path: Path) -> None:
    """The whole way; the baseline is the given file. A comparison of techniques has nothing to train and says so."""
    project = copy_project(tmp_path / "project")
    (project / "given.tflite").write_bytes(exported.read_bytes())
    start, _, _ = (project / "targets" / "small.toml").read_text().partition("[[recipe]]")
    step = '[[recipe]]\nstep = "quantize_tflite"\npath = "given.tflite"\n'
    more = "agreement_min = 0.95\ncalibration_samples = 100\n"
    (project / "targets" / "given.toml").write_text(start + step + more)
    document = json.loads(invoke(project, "build", "--target=given", "--workload=small", "--json").stdout)
    stages = {stage["name"]: stage["facts"] for stage in document["stages"]}
    assert list(stages) == ["quantize_tflite", "slim", "evaluate", "baseline", "evaluate_baseline"]
    assert stages["baseline"]["scheme"] == "float32"
    assert stages["baseline"]["given_sha256"] == inspect_file(exported).sha256
    assert document["accuracy"] > 0.8
    assert abs(document["accuracy"] - stages["evaluate_baseline"]["test"]["accuracy"]) < 0.03
    arguments = ("compare", "--target=given", "--workload=small", "--json")
    error = json.loads(invoke(project, *arguments, expect=EXIT_REQUEST).stdout)["error"]
    assert "quantize_tflite" in error["received"]
    # Named in a build: what is quantized already, with nothing left behind.
    built = project / "artifacts" / "small" / "given" / "model.tflite"
    (project / "targets" / "again.toml").write_text(start + step.replace("given.tflite", str(built)) + more)
    refused = invoke(project, "build", "--target=again", "--workload=small", "--json", expect=EXIT_REQUEST)
    error = json.loads(refused.stdout)["error"]
    assert (error["code"], "int8" in error["received"]) == ("bad_model_file", True)
    assert not (project / "artifacts" / "small" / "again").exists()


@pytest.mark.parametrize("scheme", ["int8", "float16", "dynamic"])
def test_a_file_that_is_quantized_already(trained: Path, tmp_path: Path, scheme: str) -> None:
    run_step(quantize, trained, tmp_path / "made", varied(), scheme=scheme, calibration_samples=50)
    with pytest.raises(BadModelFile) as caught:
        run_step(quantize_tflite, None, tmp_path / "out", varied(), path=tmp_path / "made" / "model.tflite")
    assert ("float16" if scheme == "float16" else "int8") in caught.value.received
    assert "float32 throughout" in caught.value.expected
    assert not any((tmp_path / "out").iterdir())


def test_other_inputs_are_refused_with_both_shapes(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile) as caught:
        run_step(quantize_tflite, None, tmp_path / "out", varied(INPUT_SHAPE=(28, 28, 3)), path=exported)
    assert "[-1, 28, 28, 1]" in caught.value.received
    assert "[1, 28, 28, 3]" in caught.value.expected


def test_other_answers_are_refused(exported: Path, tmp_path: Path) -> None:
    """No later step gives such a file another last layer."""
    with pytest.raises(BadModelFile) as caught:
        run_step(quantize_tflite, None, tmp_path / "out", varied(LABELS=("a", "b", "c")), path=exported)
    assert "outputs [[1, 10]]" in caught.value.received
    assert "one output [1, 3]" in caught.value.expected


def test_a_fixed_batch_of_several_is_refused(tmp_path: Path) -> None:
    from pipeline.keras_legacy import keras, tf

    inputs = keras.Input(batch_shape=(4, 28, 28, 1))
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))
    (tmp_path / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    with pytest.raises(BadModelFile) as caught:
        run_step(quantize_tflite, None, tmp_path / "out", varied(), path=tmp_path / "model.tflite")
    assert "[4, 28, 28, 1]" in caught.value.received


def test_what_is_no_tflite(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    with pytest.raises(BadModelFile, match=r"model\.tflite"):
        run_step(quantize_tflite, None, tmp_path / "out", varied(), path=tmp_path / "model.tflite")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"scheme": "float32", "input_dtype": "int8"}, "input_dtype 'int8' does not go with scheme 'float32'"),
        ({"scheme": "float32", "layers": {"dense": "int8"}}, "expected no `layers`"),
        ({"scheme": "int16x8", "calibration": "mse"}, "calibration 'mse' does not go with scheme 'int16x8'"),
        ({"path": Path("missing.tflite")}, "there is no"),
    ],
)
def test_configs_that_cannot_work(exported: Path, config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        quantize_tflite.Config.model_validate({"path": exported, **config})


def test_pruned_zeros_are_promised(tmp_path: Path) -> None:
    from pipeline.keras_legacy import keras, make_repeatable

    make_repeatable(0)
    model = keras.Sequential([keras.layers.Flatten(input_shape=(28, 28, 1)), keras.layers.Dense(10)])
    kernel, bias = model.layers[1].get_weights()
    kernel[np.random.default_rng(0).random(kernel.shape) < 0.5] = 0
    model.layers[1].set_weights([kernel, bias])
    source = saved(model, tmp_path / "source")
    run_step(quantize, source, tmp_path / "made", varied(), scheme="float32")
    path = tmp_path / "made" / "model.tflite"
    facts = run_step(quantize_tflite, None, tmp_path / "out", varied(), path=path, calibration_samples=50)
    ((elements, share),) = facts["promises"]["kernel_zeros"]
    assert elements == 7840
    assert share >= (kernel == 0).mean()
