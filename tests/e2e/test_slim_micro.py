"""The slim file does on microcontrollers what its source does: in TFLite Micro, and compiled by Vela."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tflite_micro import runtime

from pipeline.runner import Settings
from pipeline.runners import host
from pipeline.steps.slim import slim

DATA = Path(__file__).parents[1] / "data"
INT8 = ("tiny_int8", "depthwise_int8", "built")
ARENA_BYTES = 200_000


class Pair(NamedTuple):
    before: Path
    after: Path


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """A file of `tests/data`, or the one that the small project built, and its slim form."""
    if request.param == "built":
        before = request.getfixturevalue("built") / "artifacts" / "small" / "small" / "model.tflite"
    else:
        before = DATA / f"{request.param}.tflite"
    after = tmp_path / "after.tflite"
    after.write_bytes(slim(before.read_bytes())[0])
    return Pair(before, after)


def samples(count: int = 30) -> np.ndarray:
    return np.random.default_rng(0).random((count, 28, 28, 1), np.float32)


def micro_outputs(path: Path) -> np.ndarray:
    """Return what TFLite Micro gives for the samples, as it lies in the output tensor."""
    interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=ARENA_BYTES)
    details = interpreter.get_input_details(0)
    outputs = []
    for sample in samples():
        if details["dtype"] is np.int8:
            parameters = details["quantization_parameters"]
            steps = np.rint(sample / parameters["scales"][0]) + parameters["zero_points"][0]
            sample = steps.clip(-128, 127).astype(np.int8)
        interpreter.set_input(sample[np.newaxis], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0).copy())
    return np.array(outputs)


@pytest.mark.parametrize("pair", [*INT8, "tiny_float32"], indirect=True)
def test_litert_and_tflite_micro_give_the_same_bits_before_and_after(pair: Pair) -> None:
    models = host.run(pair._asdict(), samples(), Settings()).models
    assert np.array_equal(models["before"].outputs, models["after"].outputs)
    before, after = map(micro_outputs, pair)
    assert np.array_equal(before, after)
    assert len(np.unique(before, axis=0)) > len(before) / 2  # outputs that tell the samples apart


class Compiled(NamedTuple):
    operators: dict[str, int]  # how many run on the processor and on the NPU
    figures: dict[str, str]  # Vela's own estimates: cycles, memory, bandwidth, weights


def compiled(model: Path, out: Path, *options: str) -> Compiled:
    command = [sys.executable, "-m", "ethosu.vela", str(model), "--accelerator-config=ethos-u55-128"]
    done = subprocess.run([*command, f"--output-dir={out}", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / f"{model.stem}_vela.tflite").stat().st_size > 1000
    with next(out.glob("*_summary_*.csv")).open() as stream:
        (figures,) = csv.DictReader(stream)
    del figures["network"]  # the file's name
    counts = re.findall(r"(CPU|NPU) operators = (\d+)", done.stdout)
    return Compiled({kind: int(count) for kind, count in counts}, figures)


# Vela has two compilers, each with its own reader of files.
@pytest.mark.parametrize("options", [[], ["--debug-force-legacy-core"]], ids=["regor", "legacy"])
@pytest.mark.parametrize("pair", INT8, indirect=True)
def test_vela_compiles_both_alike(pair: Pair, tmp_path: Path, options: list[str]) -> None:
    before = compiled(pair.before, tmp_path / "vela_before", *options)
    after = compiled(pair.after, tmp_path / "vela_after", *options)
    assert after == before
    assert after.operators["NPU"] > 0
    assert int(after.figures["nn_macs"]) > 500
