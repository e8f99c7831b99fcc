"""Estimated times of operators: real files, cut and timed in real interpreters."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import jsonschema
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console
from small_project import command, environment, invoke
from test_runner_host import REPOSITORY

from pipeline import operator_times as module
from pipeline.documents import BenchDocument
from pipeline.errors import BadModelFile
from pipeline.operator_cuts import cut, kernels
from pipeline.operator_times import OperatorTimes, operator_times
from pipeline.prefix import prefix_model
from pipeline.report.bench import print_bench
from pipeline.report.operator_times import print_operator_times
from pipeline.runner import Device, ModelRun, RunResult, Settings
from pipeline.runners import host
from pipeline.steps._pack import pack
from tests.conformance import DATA, INT8

BRANCHES = DATA / "depthwise_int8.tflite"
MIXED = REPOSITORY / "benchmarks" / "records" / "mnist_11000.tflite"  # 2 of 9 operators are the delegate's


@pytest.fixture(autouse=True)
def _fewer_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCKS", 2)  # no test here needs narrow intervals


def times_of(model: Path, runner: Any = host, on_host: bool = True) -> OperatorTimes:
    return operator_times(runner, model, Settings(), lambda progress: None, on_host=on_host)


def chain(path: Path, *operators: str, width: int = 4) -> Path:
    """Write operators that follow each other on float32 [1, width], FULLY_CONNECTED with a square kernel."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.random.default_rng(1).normal(0, 0.01, width * width).astype(np.float32).view(np.uint8)
    graph.tensors, graph.operators, graph.inputs = [], [], [1]
    for number in range(len(operators) + 2):
        tensor = schema.TensorT()
        tensor.type, tensor.shape, tensor.buffer = schema.TensorType.FLOAT32, [1, width], 0
        if number == 0:
            tensor.shape, tensor.buffer = [width, width], 1
        graph.tensors.append(tensor)
    for number, name in enumerate(operators):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        operator.opcodeIndex = number
        operator.inputs = [number + 1, 0, -1] if name == "FULLY_CONNECTED" else [number + 1]
        operator.outputs = [number + 2]
        if name == "FULLY_CONNECTED":
            operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
            operator.builtinOptions = schema.FullyConnectedOptionsT()
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    graph.outputs = [len(operators) + 1]
    path.write_bytes(pack(model))
    return path


def test_the_operator_that_dominates_comes_first_and_all_add_up(tmp_path: Path) -> None:
    times = times_of(chain(tmp_path / "m.tflite", "TANH", "FULLY_CONNECTED", "TANH", width=800))
    top, *others = times.operators
    assert (top.first, top.last, top.name, top.output_shape) == (1, 1, "FULLY_CONNECTED", (1, 800))
    assert top.share > 0.5
    assert not top.within_noise
    assert {row.first for row in others} == {0, 2}
    assert all(row.cut_alike for row in times.operators)
    total = times.dispatch_floor_us.value + sum(row.microseconds.value for row in times.operators)
    assert total == pytest.approx(times.whole_us.value)
    assert times.dispatch_floor_share + sum(row.share for row in times.operators) == pytest.approx(1)
    assert 0 < times.dispatch_floor_us.value < top.microseconds.value
    for row in times.operators:
        assert row.microseconds.low <= row.microseconds.value <= row.microseconds.high
    assert [row.microseconds.value for row in times.operators] == sorted(
        (row.microseconds.value for row in times.operators), reverse=True
    )


def test_a_file_of_one_operator(tmp_path: Path) -> None:
    times = times_of(chain(tmp_path / "m.tflite", "TANH"))
    (row,) = times.operators
    assert row.name == "TANH"
    assert times.dispatch_floor_us.value + row.microseconds.value == pytest.approx(times.whole_us.value)


def test_a_graph_of_branches() -> None:
    times = times_of(BRANCHES)
    interpreter = Interpreter(str(BRANCHES))
    names = [node["op_name"] for node in interpreter._get_ops_details() if node["op_name"] != "DELEGATE"]
    assert [row.name for row in sorted(times.operators, key=lambda row: row.first)] == names
    assert {"ADD", "CONCATENATION"} <= set(names)


def test_a_prefix_keeps_the_branches_that_are_read_later(tmp_path: Path) -> None:
    content = BRANCHES.read_bytes()
    whole = Interpreter(str(BRANCHES), experimental_preserve_all_tensors=True)
    whole.allocate_tensors()
    sample = np.random.default_rng(1).integers(-128, 127, (1, 28, 28, 1), np.int8)
    whole.set_tensor(whole.get_input_details()[0]["index"], sample)
    whole.invoke()
    operators = [node for node in whole._get_ops_details() if node["op_name"] != "DELEGATE"]
    several = 0
    for count in range(1, len(operators)):
        read_later = {int(index) for operator in operators[count:] for index in operator["inputs"]}
        expected = [int(i) for node in operators[:count] for i in node["outputs"] if int(i) in read_later]
        expected.sort(key=lambda index: index != int(operators[count - 1]["outputs"][0]))  # the last one's own first
        prefix = Interpreter(model_content=prefix_model(content, count, keep_branches=True))
        prefix.allocate_tensors()
        prefix.set_tensor(prefix.get_input_details()[0]["index"], sample)
        prefix.invoke()
        outputs = [prefix.get_tensor(details["index"]) for details in prefix.get_output_details()]
        assert len(outputs) == len(expected)
        for output, index in zip(outputs, expected, strict=True):
            assert np.array_equal(output, whole.get_tensor(index))
        several += len(outputs) > 1
    assert several


def test_who_computes_is_told_for_each_operator() -> None:
    times = times_of(MIXED)
    delegated = [row.name for row in times.operators if row.kernels == "XNNPACK delegate"]
    assert sorted(delegated) == ["FULLY_CONNECTED", "MAX_POOL_2D"]
    assert sum(row.kernels == "built-in kernels" for row in times.operators) == 7
    assert times.operators[0].name == "CONV_2D"


def test_an_interpreter_that_tells_otherwise_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(kernels(INT8)) == {"delegate"}
    told = iter([[{"index": 0, "op_name": "CONV_2D"}], [{"index": 0, "op_name": "ADD"}]])
    monkeypatch.setattr(Interpreter, "_get_ops_details", lambda self: next(told))
    assert kernels(INT8) == []


def test_a_deep_graph_is_cut_evenly(tmp_path: Path) -> None:
    answer = cut(chain(tmp_path / "m.tflite", *["TANH"] * 10), tmp_path, 4)
    assert answer["cuts"] == [3, 5, 8, 10]
    assert sorted(path.name for path in tmp_path.glob("after_*")) == [f"after_{n}.tflite" for n in (3, 5, 8)]


def constant_runner(nanoseconds: list[int]) -> Any:
    """Return a runner that gives these times, in the order of floor, prefixes, whole."""

    def run(models: Mapping[str, Path], samples: Any, settings: Settings) -> RunResult:
        order = ["floor", *(name for name in models if name.isdigit()), "whole"]
        assert sorted(models) == sorted(order)
        runs = {
            name: ModelRun(None, np.full((settings.rounds, 5), time, np.int64), "unknown")
            for name, time in zip(order, nanoseconds, strict=True)
        }
        return RunResult(Device(device_class="a", name="a", fingerprint={"a": "a"}), None, runs)

    return SimpleNamespace(run=run)


def test_estimates_are_differences_and_a_negative_one_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = chain(tmp_path / "m.tflite", "TANH", "FULLY_CONNECTED", "TANH")
    times = times_of(model, constant_runner([1_000, 5_000, 12_000, 10_000]), on_host=False)
    assert [(row.first, row.microseconds.value, row.within_noise) for row in times.operators] == [
        (1, 7.0, False),
        (0, 4.0, False),
        (2, -2.0, True),
    ]
    assert [row.share for row in times.operators] == pytest.approx([0.7, 0.4, -0.2])
    assert times.dispatch_floor_share == pytest.approx(0.1)
    assert {row.kernels for row in times.operators} == {"unknown"}
    print_operator_times(Console(width=160), times)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "-2.00 µs" in line]
    assert "-20.0%" in line
    assert "within noise" in line
    monkeypatch.setattr(module, "ROWS_MAX", 2)
    grouped = times_of(model, constant_runner([1_000, 5_000, 10_000]))
    assert [(row.first, row.last, row.name) for row in grouped.operators] == [
        (2, 2, "TANH"),
        (0, 1, "TANH + FULLY_CONNECTED"),
    ]


@pytest.mark.parametrize("content", [b"", INT8.read_bytes()[:1500]])
def test_a_file_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    with pytest.raises(BadModelFile) as caught:
        times_of(path)
    assert str(path) in caught.value.message


def test_a_file_without_operators(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="nothing to time"):
        times_of(chain(tmp_path / "m.tflite"))


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tasks.py").write_text("from pipeline.tasks import namespace\n")
    done = invoke(tmp_path, "bench", f"--model={INT8}", "--profile", "--json").stdout
    jsonschema.validate(json.loads(done), json.loads((REPOSITORY / "docs/schemas/bench.json").read_text()))
    document = BenchDocument.model_validate_json(done)
    assert sorted(row.name for row in document.results[0].profile.operators) == [
        "CONV_2D",
        "FULLY_CONNECTED",
        "RESHAPE",
    ]
    print_bench(document)
    table = capsys.readouterr().out
    for expected in ("time (estimate)", "dispatch", "XNNPACK delegate", "sandbox", "of the whole"):
        assert expected in table


def test_a_built_file(built: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(built, project)
    done = subprocess.run(
        command("bench", "--target=small", "--profile", "--json"), cwd=project, env=environment(), capture_output=True
    )
    (result,) = BenchDocument.model_validate_json(done.stdout).results
    assert result.target == "small"
    assert result.verdicts
    assert result.profile.operators[0].share > 0
