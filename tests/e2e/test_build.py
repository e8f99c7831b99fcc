"""The main job for real: TensorFlow, TFMOT, LiteRT and MNIST digits."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from small_project import BUILD, add_target, command, copy_project, environment, invoke

from pipeline.inspect import float_leftovers, inspect_file
from pipeline.store import Store


def facts(document: dict, stage: str) -> dict:
    return next(found["facts"] for found in document["stages"] if found["name"] == stage)


def test_the_file_is_full_integer_with_the_targets_dtypes(built: Path) -> None:
    found = inspect_file(built / "artifacts/small/small/model.tflite")
    assert float_leftovers(found, float_io=False) == []
    assert [tensor.dtype for tensor in (*found.inputs, *found.outputs)] == ["int8", "int8"]
    assert list(found.inputs[0].shape_signature) == [1, 28, 28, 1]


def test_the_zeros_that_were_asked_for_are_in_the_model_and_in_the_file(built: Path, document: dict) -> None:
    pruned = facts(document, "prune")
    assert set(pruned["zero_fraction"]) == {"dense"}  # the other kernels are too small to prune
    assert pruned["zero_fraction"]["dense"] == pytest.approx(0.6, abs=0.005)
    assert pruned["promises"]["kernel_zeros"] == [[18432, pytest.approx(0.6, abs=1e-4)]]
    kernel = next(k for k in inspect_file(built / document["artifact"]).kernels if k.elements == 18432)
    assert kernel.zeros / kernel.elements == pytest.approx(0.6, abs=0.005)


def test_accuracy_is_that_of_the_file_on_the_test_split(built: Path, document: dict) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from pipeline.workloads import mnist_data

    images, labels = (part[:1000] for part in mnist_data.load("test"))
    interpreter = Interpreter(model_path=str(built / document["artifact"]))
    interpreter.allocate_tensors()
    entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = entry["quantization"]
    correct = 0
    for image, label in zip(images, labels, strict=True):
        quantized = np.clip(np.rint(image[np.newaxis] / 255 / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], quantized)
        interpreter.invoke()
        correct += int(interpreter.get_tensor(out["index"])[0].argmax() == label)
    assert document["accuracy"] == pytest.approx(correct / 1000, abs=0.0015)  # halves may round either way


def test_calibration_is_listed_and_can_be_drawn_again(document: dict) -> None:
    from pipeline.workloads import mnist_data

    calibration = document["calibration"]
    images, labels = mnist_data.load("train")
    chosen = mnist_data.preprocess(images[calibration["indices"]])
    assert hashlib.sha256(chosen.tobytes()).hexdigest() == calibration["sha256"]
    assert np.bincount(labels[calibration["indices"]]).tolist() == [10] * 10


def test_latency_names_what_ran(document: dict) -> None:
    latency = document["latency"]
    assert latency["runner"] == "host"
    assert latency["device"]["device_class"] == "linux-x86_64"
    assert "operators" in latency["kernels"]
    assert latency["p50_us_interval"][0] <= latency["p50_us"] <= latency["p50_us_interval"][1]
    assert latency["samples"] > 1000


def test_training_facts_tell_what_was_trained(document: dict) -> None:
    trained = facts(document, "train")
    assert any("Total params" in line for line in trained["summary"])
    assert len(trained["history"]["val_accuracy"]) == 2


def test_the_log_holds_what_the_libraries_said_and_stderr_does_not(built: Path) -> None:
    assert (built / "artifacts/logs/small-small.log").read_text()
    said = (built / "stderr.txt").read_text()
    assert "train: made in" in said
    assert "WARNING" not in said
    assert "oneDNN" not in said


def test_two_folders_and_two_processes_give_the_same_bytes(document: dict, tmp_path: Path) -> None:
    other = json.loads(invoke(copy_project(tmp_path / "elsewhere"), *BUILD).stdout)
    assert other["sha256"] == document["sha256"]
    assert [stage["key"] for stage in other["stages"]] == [stage["key"] for stage in document["stages"]]


def test_a_second_target_reuses_training_and_pruning(built: Path) -> None:
    add_target(
        built,
        "page",
        ('input_dtype = "int8"\n', ""),
        ('output_dtype = "int8"', 'output_dtype = "float32"'),
        ("calibration_samples = 100", "calibration_samples = 90"),  # which no other test's target has
    )
    done = json.loads(invoke(built, "build", "--target=page", "--workload=small", "--json").stdout)
    states = {stage["name"]: stage["state"] for stage in done["stages"]}
    assert (states["train"], states["prune"], states["quantize"]) == ("hit", "hit", "made")
    found = inspect_file(built / done["artifact"])
    assert [tensor.dtype for tensor in (*found.inputs, *found.outputs)] == ["float32", "float32"]
    assert float_leftovers(found, float_io=True) == []
    assert float_leftovers(found, float_io=False) != []


@pytest.mark.parametrize(
    ("scheme", "dtype", "weights"),
    [
        ("float32", "float32", {"float32"}),
        ("float16", "float32", {"float16"}),
        ("dynamic", "float32", {"int8", "float32"}),
        ("int16x8", "int16", {"int8"}),
        ("int8", "uint8", {"int8"}),
    ],
)
def test_every_scheme_converts_to_a_verified_file(built: Path, scheme: str, dtype: str, weights: set[str]) -> None:
    name = f"as_{scheme}_{dtype}"
    add_target(
        built,
        name,
        ('input_dtype = "int8"', f'input_dtype = "{dtype}"'),
        ('output_dtype = "int8"', f'output_dtype = "{dtype}"'),
        ('scheme = "int8"', f'scheme = "{scheme}"'),
    )
    done = json.loads(invoke(built, "convert", f"--target={name}", "--workload=small", "--json").stdout)
    found = inspect_file(built / done["artifact"])
    assert {tensor.dtype for tensor in (*found.inputs, *found.outputs)} == {dtype}
    assert {kernel.dtype for kernel in found.kernels} <= weights
    assert done["stages"][-1]["facts"]["file"]["agreement"] >= 0.995


def test_a_pruning_run_that_is_too_short_is_refused(built: Path) -> None:
    add_target(built, "hasty", ("epochs = 2", "epochs = 2\nbatch_size = 3000"))
    done = invoke(built, "prune", "--target=hasty", "--workload=small", expect=4)
    assert "too short" in done.stderr
    assert "raise `epochs`" in done.stderr


def test_unknown_layers_to_skip_are_refused(built: Path) -> None:
    add_target(built, "skipping", ("epochs = 2", 'epochs = 2\nskip_layers = ["dens"]'))
    assert "dens" in invoke(built, "prune", "--target=skipping", "--workload=small", expect=4).stderr


@pytest.mark.parametrize(
    ("moment", "seconds"), [("train: started", 5.0), ("prune: started", 1.0), ("evaluate: started", 0.1)]
)
def test_killed_builds_leave_a_sound_store_and_end_with_the_same_bytes(
    document: dict, tmp_path: Path, moment: str, seconds: float
) -> None:
    project = copy_project(tmp_path / "project")
    process = subprocess.Popen(command(*BUILD), cwd=project, env=environment(), stderr=subprocess.PIPE, text=True)
    assert any(line.startswith(moment) for line in process.stderr)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 5
    while left := processes_in(project):
        assert time.monotonic() < deadline, f"still alive: {left}"
        time.sleep(0.05)
    assert Store(project / "artifacts" / "store").verify() == []
    assert json.loads(invoke(project, *BUILD).stdout)["sha256"] == document["sha256"]


def processes_in(folder: Path) -> list[str]:
    """Return the processes whose working directory is `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cwd").resolve() == folder.resolve() and "\nState:\tZ" not in (path / "status").read_text():
                found.append(path.name)
        except OSError:
            continue
    return found
