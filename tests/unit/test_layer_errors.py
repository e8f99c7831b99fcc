"""Errors of single operators, on two files of one small network."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import pytest

from pipeline.errors import StepFailed
from pipeline.layer_errors import layer_errors
from pipeline.runner import Settings
from pipeline.runners import host
from pipeline.steps._operators import named_operators

DATA = Path(__file__).parents[1] / "data"
FLOAT, INT8 = DATA / "tiny_float32.tflite", DATA / "tiny_int8.tflite"


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(0).random((20, 28, 28, 1), np.float32)


def edited(source: Path, target: Path, change: object) -> Path:
    """Write a `.tflite` with `change(model)` applied."""
    model = schema.ModelT.InitFromPackedBuf(source.read_bytes())
    change(model)  # type: ignore[operator]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    target.write_bytes(bytes(builder.Output()))
    return target


def test_a_file_has_no_error_against_itself(samples: np.ndarray) -> None:
    errors = layer_errors(FLOAT, FLOAT, samples)
    assert [(error.noise, error.own_noise, error.sqnr_db) for error in errors] == [(0, 0, None)] * len(errors)


def test_the_outputs_noise_is_that_of_the_files_outputs(samples: np.ndarray) -> None:
    models = host.run({"float": FLOAT, "int8": INT8}, samples, Settings()).models
    expected, found = models["float"].outputs, models["int8"].outputs
    errors = layer_errors(FLOAT, INT8, samples)
    noise = ((found - expected) ** 2).sum() / (expected**2).sum()
    # The runner's kernels may round otherwise in the last place.
    assert errors[-1].noise == pytest.approx(noise, rel=0.1)
    assert errors[-1].sqnr_db == pytest.approx(-10 * math.log10(noise), abs=0.5)
    own = {error.float_operator.kind: error.own_noise for error in errors}
    assert own["RESHAPE"] == 0  # it passes on what it gets, noise and all
    assert errors[[error.float_operator.kind for error in errors].index("RESHAPE")].noise > 0


def test_a_damaged_layer_is_found_wherever_its_noise_shows(samples: np.ndarray, tmp_path: Path) -> None:
    """Twice the weights in one layer: all behind it are wrong, and it alone is to blame."""
    clean = layer_errors(FLOAT, INT8, samples)
    first = clean[0].quantized_operator

    def halve(model: schema.ModelT) -> None:
        graph = model.subgraphs[0]
        kernel = graph.tensors[graph.operators[first.position].inputs[1]]
        kernel.quantization.scale = np.asarray(kernel.quantization.scale) * np.float32(0.5)

    found = layer_errors(FLOAT, edited(INT8, tmp_path / "damaged.tflite", halve), samples)
    assert found[0].own_noise > 0.1
    assert [error.own_noise for error in found[1:]] == pytest.approx([e.own_noise for e in clean[1:]], abs=0.01)
    assert found[-1].noise > 10 * clean[-1].noise


def test_files_of_two_models_are_refused(samples: np.ndarray, tmp_path: Path) -> None:
    def shorten(model: schema.ModelT) -> None:
        graph = model.subgraphs[0]
        last = graph.operators.pop()
        graph.outputs = np.array([last.inputs[0]], np.int32)
        model.signatureDefs = None

    with pytest.raises(StepFailed, match="cannot be matched"):
        layer_errors(FLOAT, edited(FLOAT, tmp_path / "short.tflite", shorten), samples)


def test_operators_are_matched_by_name_where_their_order_differs(samples: np.ndarray, tmp_path: Path) -> None:
    def swap_reshape(model: schema.ModelT) -> None:
        """One operator less: what reads the reshaped tensor reads its source instead."""
        graph = model.subgraphs[0]
        codes = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
        place = codes.index(schema.BuiltinOperator.RESHAPE)
        gone = graph.operators.pop(place)
        reader = graph.operators[place]
        reader.inputs = np.array([gone.inputs[0], *reader.inputs[1:]], np.int32)

    changed = edited(FLOAT, tmp_path / "other.tflite", swap_reshape)
    errors = layer_errors(FLOAT, changed, samples)
    assert len(errors) == len(named_operators(FLOAT)) - 1
    assert [error.noise for error in errors] == pytest.approx([0] * len(errors), abs=1e-12)


def test_operators_bear_their_layers_names(tmp_path: Path) -> None:
    shutil.copy(FLOAT, tmp_path / "a.tflite")
    operators = named_operators(tmp_path / "a.tflite")
    kernels = [operator for operator in operators if operator.has_kernel]
    assert all(operator.layer in operator.names and operator.kind in operator.names for operator in operators)
    assert [operator.kernel_dtype for operator in kernels] == ["float32"] * len(kernels)
    assert len({operator.layer for operator in operators}) == len(operators)
