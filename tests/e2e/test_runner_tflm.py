"""The tflm runner: TFLite Micro's own interpreter, on the tiny models of `tests/data`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest
from pydantic import ValidationError
from small_project import REPOSITORY, add_target, invoke

from pipeline.device_check import first_difference
from pipeline.errors import BadModelFile, DataError, EnvironmentUnsuited, RunnerFailed
from pipeline.flatbuffer import read_model
from pipeline.prefix import prefix_model
from pipeline.runner import Settings
from pipeline.runners import _tflm_child, host, tflm
from pipeline.runners._tflm_child import Attempt, find_arena
from pipeline.steps._pack import pack
from tests.conformance import BOTH, DATA, FLOAT32, INT8, RunnerConformance, make_samples
from tests.e2e.test_slim import with_data_behind

BRANCHING = DATA / "depthwise_int8.tflite"


class TestTflm(RunnerConformance):
    runner = tflm
    gives_times = False


def arena_of(path: Path, **changes: object) -> float:
    run = tflm.run({"model": path}, None, Settings(outputs=False, **changes)).models["model"]  # type: ignore[arg-type]
    return run.figures["arena_bytes"].value


def altered(folder: Path, change: Callable[[schema.ModelT], None], source: Path = INT8) -> Path:
    model = schema.ModelT.InitFromPackedBuf(source.read_bytes())
    change(model)
    path = folder / "altered.tflite"
    path.write_bytes(pack(model))
    return path


def make_operator(number: int, code: int, custom: str = "") -> Callable[[schema.ModelT], None]:
    def change(model: schema.ModelT) -> None:
        entry = model.operatorCodes[model.subgraphs[0].operators[number].opcodeIndex]
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.customCode = code, min(code, 127), custom or None

    return change


# What it answers, and where.


@pytest.mark.parametrize("path", [INT8, FLOAT32, BRANCHING], ids=lambda path: path.stem)
def test_it_answers_as_litert_does(path: Path) -> None:
    samples = make_samples(50)
    ours = host.run({"model": path}, samples, Settings()).models["model"].outputs
    theirs = tflm.run({"model": path}, samples, Settings()).models["model"].outputs
    graph = read_model(path).subgraphs[0]
    step = (graph.tensors[graph.outputs[0]].scale or (1e-5,))[0]
    assert ours is not None
    assert theirs is not None
    assert np.ptp(theirs) > 10 * step
    assert np.abs(ours - theirs).max() <= step * 1.001


def test_its_device_is_a_microcontroller_that_is_emulated() -> None:
    device = tflm.device(Settings())
    assert (device.device_class, device.emulated) == ("microcontroller", True)
    assert device.fingerprint["tflite-micro"] == importlib.metadata.version("tflite-micro")


def test_a_microcontrollers_memory_is_not_this_machines() -> None:
    assert tflm.run({"model": INT8}, None, Settings()).peak_resident_bytes is None


def test_several_models_have_an_arena_each() -> None:
    runs = tflm.run(BOTH, make_samples(1), Settings()).models
    assert [run.figures["arena_bytes"].value for run in runs.values()] == [arena_of(INT8), arena_of(FLOAT32)]


# The arena: what is found is enough, and less is not.


@pytest.mark.parametrize("path", [INT8, FLOAT32, BRANCHING], ids=lambda path: path.stem)
def test_the_arena_is_enough_and_less_is_not(path: Path, tmp_path: Path) -> None:
    arena = int(arena_of(path))
    assert arena % 16 == 0

    def work(size: int) -> bytes:
        from tflite_micro import runtime

        interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=size)
        shape, dtype = (interpreter.get_input_details(0)[key] for key in ("shape", "dtype"))
        interpreter.set_input(np.zeros(shape, dtype), 0)
        interpreter.invoke()
        return interpreter.get_output(0).tobytes()

    found = {size: _tflm_child.attempt(lambda size=size: work(size), tmp_path) for size in (arena - 16, arena, 2**20)}
    assert found[arena - 16].code != 0
    assert found[arena].code == found[2**20].code == 0
    assert found[arena].answer == found[2**20].answer != b""


@pytest.mark.parametrize(("path", "compared"), [(INT8, "as much"), (BRANCHING, "3888 bytes")])
def test_what_tflite_micro_records_is_told(path: Path, compared: str) -> None:
    figure = tflm.run({"model": path}, None, Settings()).models["model"].figures["arena_bytes"]
    assert f"TFLite Micro records {compared};" in figure.note
    assert not figure.estimated


@pytest.mark.parametrize("least", [16, 17, 4096, 65_536, 65_537, 1_000_000])
def test_the_smallest_arena_is_found_whatever_it_is(least: int) -> None:
    asked: list[int] = []

    def attempt_with(size: int) -> Attempt:
        asked.append(size)
        return Attempt(0 if size >= least else -11, "", b"right")

    assert find_arena(attempt_with)[0] == -(-least // 16) * 16
    assert len(asked) < 30


def test_an_arena_in_which_it_answers_otherwise_is_too_small() -> None:
    assert find_arena(lambda size: Attempt(0, "", b"right" if size >= 500 else b"wrong"))[0] == 512


def test_no_arena_is_enough_for_what_needs_more_than_any() -> None:
    last = Attempt(-11, "Failed to allocate. Requested: 99, available 9, missing: 90", b"")
    assert find_arena(lambda size: last) == (None, last)
    fields = _tflm_child._unusable("a.tflite", ["CONV_2D"], last).fields  # type: ignore[attr-defined]
    assert fields["kind"] == "arena"
    assert "missing: 90" in fields["received"]
    assert "67108864 bytes" in fields["expected"]


def test_an_arena_beyond_the_devices_is_an_error() -> None:
    arena = int(arena_of(BRANCHING))
    assert arena_of(BRANCHING, config=tflm.Config(arena_bytes_max=arena)) == arena
    with pytest.raises(RunnerFailed, match="needs more tensor arena than there is") as caught:
        arena_of(BRANCHING, config=tflm.Config(arena_bytes_max=arena - 1))
    assert str(BRANCHING) in caught.value.message
    assert (caught.value.received, caught.value.expected) == (f"{arena} bytes needed", f"at most {arena - 1} bytes")
    assert "arena_bytes_max" in caught.value.fix


@pytest.mark.parametrize("settings", [{"arena_bytes_max": 0}, {"arena_bytes_max": 2**31}, {"arena": 4096}])
def test_settings_are_checked(settings: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        tflm.Config.model_validate(settings)


# What it does not run.


def test_operators_that_it_lacks_are_named_all_at_once(tmp_path: Path) -> None:
    def change(model: schema.ModelT) -> None:
        make_operator(0, schema.BuiltinOperator.CONV_3D)(model)
        make_operator(1, schema.BuiltinOperator.GELU)(model)

    path = altered(tmp_path, change)
    with pytest.raises(BadModelFile) as caught:
        tflm.run({"model": path}, None, Settings())
    assert caught.value.message == f"{path} uses operators that TFLite Micro lacks here: CONV_3D, GELU"
    assert caught.value.received == "operators CONV_3D, GELU, FULLY_CONNECTED"


@pytest.mark.parametrize("name", ["MyOwn", "ethos-u"])  # of the second the resolver has a method, for other processors
def test_a_custom_operator_that_it_lacks_is_named(tmp_path: Path, name: str) -> None:
    path = altered(tmp_path, make_operator(1, schema.BuiltinOperator.CUSTOM, name))
    with pytest.raises(BadModelFile) as caught:
        tflm.run({"model": path}, None, Settings())
    assert caught.value.message == f"{path} uses operators that TFLite Micro lacks here: {name}"


def test_number_formats_that_an_operator_lacks_are_named(tmp_path: Path) -> None:
    def change(model: schema.ModelT) -> None:  # a float layer with int8 weights, as dynamic range quantization makes
        graph = model.subgraphs[0]
        for tensor in (*graph.inputs, *(operator.outputs[0] for operator in graph.operators)):
            graph.tensors[tensor].type = schema.TensorType.FLOAT32

    with pytest.raises(BadModelFile, match="cannot be loaded and invoked by TFLite Micro") as caught:
        tflm.run({"model": altered(tmp_path, change)}, None, Settings())
    assert "Hybrid models are not supported" in caught.value.received
    assert "CONV_2D (number 0) failed to prepare" in caught.value.received
    assert "int8" in caught.value.fix


def test_weights_behind_the_flatbuffer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "behind.tflite"
    path.write_bytes(with_data_behind(schema.ModelT.InitFromPackedBuf(INT8.read_bytes())))
    with pytest.raises(BadModelFile, match="weights that lie behind its flatbuffer") as caught:
        tflm.run({"model": path}, None, Settings())
    assert str(path) in caught.value.message
    assert "slim takes them in" in caught.value.fix


def test_a_crash_that_no_arena_mends_is_named() -> None:
    crashed = Attempt(-11, "what it said last", b"")
    refused = _tflm_child._unusable("a.tflite", ["CONV_2D"], crashed)
    fields = refused.fields  # type: ignore[attr-defined]
    assert tflm.ERRORS[fields["kind"]] is RunnerFailed
    assert "SIGSEGV" in fields["received"]
    assert "what it said last" in fields["received"]


def test_raw_samples_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        tflm.run({"model": INT8}, make_samples(2) * 255, Settings())
    assert str(INT8) in caught.value.message


def test_another_input_shape_is_refused() -> None:
    with pytest.raises(BadModelFile, match="takes another input"):
        tflm.run({"model": INT8}, make_samples(2)[:, :27], Settings())


def test_its_time_is_limited() -> None:
    with pytest.raises(RunnerFailed, match="time limit"):
        tflm.run({"model": INT8}, None, Settings(seconds=0.01))


def test_its_memory_is_limited() -> None:
    with pytest.raises(RunnerFailed, match="memory limit"):
        tflm.run({"model": INT8}, None, Settings(resident_megabytes=10))


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflm, "PACKAGE", "no-such-package")
    for ask in (tflm.device, lambda settings: tflm.run({"model": INT8}, None, settings)):
        with pytest.raises(EnvironmentUnsuited) as caught:
            ask(Settings())
        assert caught.value.fix == "pip install 'edge-deployment-pipeline[micro]'"


def test_an_attempt_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pipeline.runners._tflm_child import attempt\n"
        "attempt(lambda: (Path('pid').write_text(str(__import__('os').getpid())), time.sleep(60)), Path.cwd())"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    try:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    finally:
        parent.kill()
        parent.wait()
    attempt = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    wait_for(lambda: not attempt.exists() or attempt.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited for 20 s in vain"
        time.sleep(0.02)


# What a firmware takes in.

READ_BACK = """
#include <cstdint>
#include <cstdio>
#include "model.h"
#include "model.h"
int main() {
  static_assert(__alignof__(g_model) == 16, "by declaration and not by luck");
  static_assert(g_model_size > 0, "a constant");
  if (reinterpret_cast<std::uintptr_t>(g_model) % 16 != 0) return 1;
  return std::fwrite(g_model, 1, g_model_size, stdout) == g_model_size ? 0 : 2;
}
"""


@pytest.mark.parametrize("path", [INT8, BRANCHING], ids=lambda path: path.stem)
def test_the_c_array_holds_the_files_bytes_aligned(path: Path, tmp_path: Path) -> None:
    written = tflm.run({"model": path}, None, Settings(outputs=False)).models["model"].files
    write(tmp_path, {**written, "main.cc": READ_BACK.encode()})
    compiled(tmp_path, "model.cc", "main.cc")
    done = subprocess.run([tmp_path / "program"], capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stdout == path.read_bytes()
    assert sha256(path.read_bytes()).hexdigest() in written["model.cc"].decode()


@pytest.mark.parametrize("namespace", ["tflite", "tflite::micro"])
@pytest.mark.parametrize("path", [INT8, BRANCHING], ids=lambda path: path.stem)
def test_the_resolver_adds_exactly_the_operators_that_are_used(path: Path, namespace: str, tmp_path: Path) -> None:
    used = {operator.name for operator in read_model(path).subgraphs[0].operators}
    written = tflm.run({"model": path}, None, Settings(outputs=False)).models["model"].files
    methods = {operator: re.sub("_", "", operator.title()) for operator in sorted(used | {"TANH", "MUL"})}
    stub = stub_resolver({f"Add{name}": operator for operator, name in methods.items()}, namespace)
    main = '#include "model_ops.h"\nint main() { model_ops::Resolver r; return model_ops::Add(r) ? 0 : 1; }\n'
    header = "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    write(tmp_path, {**written, "main.cc": main.encode(), header: stub.encode()})
    compiled(tmp_path, "main.cc")
    done = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=False)
    assert done.returncode == 0  # the stub refuses more than it was made for
    assert sorted(done.stdout.split()) == sorted([*used, f"room={len(used)}"])


def stub_resolver(methods: dict[str, str], namespace: str) -> str:
    """Return a stand-in for TFLite Micro's header: the same signatures, which print what is added."""
    added = "".join(f'  TfLiteStatus {method}() {{ return Add("{name}"); }}\n' for method, name in methods.items())
    return f"""
#pragma once
#include <cstdio>
namespace {namespace} {{
enum TfLiteStatus {{ kTfLiteOk = 0, kTfLiteError = 1 }};
template <unsigned int tOpCount>
class MicroMutableOpResolver {{
 public:
  MicroMutableOpResolver() {{ std::printf("room=%u\\n", tOpCount); }}
{added}
 private:
  TfLiteStatus Add(const char* name) {{
    std::printf("%s\\n", name);
    return ++count_ <= tOpCount ? kTfLiteOk : kTfLiteError;
  }}
  unsigned int count_ = 0;
}};
}}
"""


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def compiled(folder: Path, *sources: str) -> None:
    options = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-I.", "-o", "program"]
    done = subprocess.run(["g++", *options, *sources], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Where the two part, for real.


def test_a_broken_kernel_is_named(tmp_path: Path) -> None:
    """A device whose third operator takes its weights with the wrong sign."""

    def run(models: dict[str, Path], samples: np.ndarray, settings: Settings) -> object:
        return tflm.run({name: broken(path, tmp_path) for name, path in models.items()}, samples, settings)

    device, file = SimpleNamespace(run=run), read_model(BRANCHING)
    found = first_difference(device, Settings(), host, Settings(), file, make_samples(16))  # type: ignore[arg-type]
    assert found.startswith("operator 2 DEPTHWISE_CONV_2D, by ")
    sound = first_difference(tflm, Settings(), host, Settings(), file, make_samples(16))
    assert float(re.findall(r"by ([\d.]+) steps", sound)[0]) <= 3 < float(re.findall(r"by ([\d.]+) steps", found)[0])


def broken(path: Path, folder: Path) -> Path:
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    graph = model.subgraphs[0]
    if len(graph.operators) < 3:
        return path
    buffer = model.buffers[graph.tensors[graph.operators[2].inputs[1]].buffer]
    buffer.data = np.clip(-buffer.data.view(np.int8).astype(np.int16), -127, 127).astype(np.int8).view(np.uint8)
    altered = folder / f"broken_{len(graph.operators)}.tflite"
    altered.write_bytes(pack(model))
    return altered


@pytest.mark.parametrize("path", [INT8, BRANCHING], ids=lambda path: path.stem)
def test_a_prefix_of_all_operators_computes_what_the_file_does(path: Path, tmp_path: Path) -> None:
    count = len(read_model(path).subgraphs[0].operators)
    whole = tmp_path / "whole.tflite"
    whole.write_bytes(prefix_model(path.read_bytes(), count))
    runs = host.run({"file": path, "prefix": whole}, make_samples(20), Settings()).models
    assert np.array_equal(runs["file"].outputs, runs["prefix"].outputs)


# In a build.


def test_a_build_shows_arena_and_answers_and_publishes_the_sources(built: Path) -> None:
    add_target(
        built,
        "micro",
        ('input_dtype = "int8"', 'runner = "tflm"\ninput_dtype = "int8"'),
        ("memory_bytes = 20_000_000", "arena_bytes = 16_384"),
    )
    done = json.loads(invoke(built, "build", "--target=micro", "--workload=small", "--json").stdout)
    folder = (built / done["artifact"]).parent
    verdicts = {verdict["metric"]: verdict for verdict in done["verdicts"]}
    assert verdicts["arena_bytes"]["verdict"] == "pass"
    assert verdicts["arena_bytes"]["measured"] == arena_of(folder / "model.tflite")
    assert verdicts["device_differences_max"]["verdict"] == "pass"
    device = done["device"]
    assert device["runner"] == "tflm"
    assert device["device"]["emulated"] is True
    assert device["device_check"]["samples"] == 1000
    assert set(device["files"]) == {"model.cc", "model.h", "model_ops.h"}
    for name, digest in device["files"].items():
        assert sha256((folder / name).read_bytes()).hexdigest() == digest
    assert done["sha256"] in (folder / "model.cc").read_text()
    assert done["latency"] is None


def test_an_arena_beyond_its_budget_fails_the_build(built: Path) -> None:
    add_target(
        built,
        "micro_small",
        ('input_dtype = "int8"', 'runner = "tflm"\ninput_dtype = "int8"'),
        ("memory_bytes = 20_000_000", "arena_bytes = 2_048"),
    )
    done = json.loads(invoke(built, "build", "--target=micro_small", "--workload=small", "--json", expect=5).stdout)
    verdicts = {verdict["metric"]: verdict["verdict"] for verdict in done["verdicts"]}
    assert verdicts["arena_bytes"] == "fail"


# The table of operators.


def test_every_operator_of_the_installed_package_is_in_the_table() -> None:
    found = importlib.util.find_spec("tflite_micro")
    assert found is not None
    library = next(Path(found.submodule_search_locations[0]).rglob("_runtime.so")).read_bytes()  # type: ignore[index]
    registered = {name.decode() for name in re.findall(rb"micro\d+Register_([A-Z0-9_]+?)Ev", library)}
    from pipeline.runners import _tflm_sources

    table = set(_tflm_sources._BUILTINS.split())
    builtins = {name for name in vars(schema.BuiltinOperator) if name.isupper()}
    assert table == registered & builtins
    assert "CONV_2D" in table
