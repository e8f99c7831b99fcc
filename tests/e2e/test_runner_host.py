"""The host runner: real child processes, on the tiny models of `tests/data`."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadModelFile, DataError, RunnerFailed
from pipeline.runner import Settings
from pipeline.runners import _child, _host_child, host
from tests.conformance import BOTH, FLOAT32, INT8, RunnerConformance, make_samples

REPOSITORY = Path(__file__).parents[2]
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


class TestHost(RunnerConformance):
    runner = host


def test_outputs_are_the_interpreters_own() -> None:
    samples = make_samples(5)
    runs: Any = host.run(BOTH, samples, Settings()).models
    for path, run in ((INT8, runs["model"]), (FLOAT32, runs["baseline"])):
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        for sample, output in zip(samples, run.outputs, strict=True):
            value, expected = sample[np.newaxis], output
            if path == INT8:
                scale, zero_point = source["quantization"]
                value = np.clip(np.round(value / scale) + zero_point, -128, 127).astype(np.int8)
                scale, zero_point = target["quantization"]
                expected = output / scale + zero_point
            interpreter.set_tensor(source["index"], value)
            interpreter.invoke()
            np.testing.assert_allclose(interpreter.get_tensor(target["index"])[0], expected, atol=1e-4)
    assert np.abs(runs["model"].outputs - runs["baseline"].outputs).max() < 0.05


def test_kernels_are_named() -> None:
    assert host.run({"model": INT8}, None, Settings()).models["model"].kernels == "XNNPACK delegate, 3 of 3 operators"


def test_it_tells_when_the_first_answer_came() -> None:
    run = host.run({"model": INT8}, make_samples(1), Settings()).models["model"]
    assert run.first_answer_ns is not None
    assert 10_000 < run.first_answer_ns < 10**10


def test_raw_samples_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        host.run({"model": INT8}, make_samples(2) * 255, Settings())
    assert str(INT8) in caught.value.message
    assert "0.999" in caught.value.expected  # the highest value that the input can express


@pytest.mark.parametrize(
    "samples",
    [make_samples(2).astype(np.uint8), make_samples(2)[:0], make_samples(2) * np.nan],
    ids=["raw dtype", "none", "not a number"],
)
def test_unusable_samples_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(DataError):
        host.run({"model": FLOAT32}, samples, Settings())


def test_another_input_shape_is_refused() -> None:
    with pytest.raises(BadModelFile, match="takes another input") as caught:
        host.run({"model": INT8}, make_samples(2)[:, :27], Settings())
    assert caught.value.received == "input shape [1, 28, 28, 1]"
    assert caught.value.expected == "input shape [1, 27, 28, 1]"


def test_time_limit_counts_for_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(host, "CHILD", child)
    with pytest.raises(RunnerFailed, match="time limit") as caught:
        host.run(BOTH, None, Settings(seconds=0.05))
    assert caught.value.received == "no end after 0.1 s"


@needs_proc
def test_memory_limit() -> None:
    with pytest.raises(RunnerFailed, match="memory limit"):  # NumPy alone takes more
        host.run({"model": INT8}, None, Settings(resident_megabytes=10))


def test_crash_names_signal_and_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import os, signal; os.write(2, b'goodbye'); os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(host, "CHILD", child)
    with pytest.raises(RunnerFailed, match="crashed") as caught:
        host.run({"model": INT8}, None, Settings())
    assert "SIGSEGV" in caught.value.received
    assert "goodbye" in caught.value.received
    assert str(INT8) in caught.value.message


def test_exit_code_of_a_child_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("raise SystemExit(7)")
    monkeypatch.setattr(host, "CHILD", child)
    with pytest.raises(RunnerFailed) as caught:
        host.run({}, None, Settings())
    assert "exit code 7" in caught.value.received


@needs_proc
def test_interrupt_kills_and_reaps_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def interrupt(peak: int | None, limit_bytes: int, names: str) -> None:
        time.sleep(0.1)
        seen.extend(_descendants(os.getpid()))
        raise KeyboardInterrupt

    monkeypatch.setattr(_child, "check_memory", interrupt)
    with pytest.raises(KeyboardInterrupt):
        host.run({"model": INT8}, None, Settings())
    assert seen
    deadline = time.monotonic() + 2  # killed when run() returns; the kernel takes a moment to say so
    while any(map(_runs, seen)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@needs_proc
def test_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from pipeline.runner import Settings; from pipeline.runners import host\n"
        f"host.run({{'model': Path({str(INT8)!r})}}, None, Settings(rounds=10_000, outputs=False))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, env=environment)
    try:
        _wait_for(lambda: any(tmp_path.glob("pipeline-host-*/log")))
        time.sleep(0.5)
        children = _descendants(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    assert children
    _wait_for(lambda: not any(map(_runs, children)))


def test_the_child_imports_no_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "imported"
    for name in ("tensorflow", "tf_keras", "pipeline"):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert host.run(BOTH, None, Settings(rounds=1)).models
    assert not marker.exists()


def test_this_process_imports_no_interpreter() -> None:
    code = (
        "import sys; from pipeline.runners import host; from pipeline.runner import Settings; host.device(Settings())\n"
        "print({'numpy', 'ai_edge_litert', 'tensorflow'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_threads_reach_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    received: dict[str, Any] = {}

    def interpreter(**arguments: Any) -> Interpreter:
        received.update(arguments)
        return Interpreter(**arguments)

    monkeypatch.setattr(_host_child, "Interpreter", interpreter)
    _host_child.Model(str(INT8), {"threads": 2, "outputs": True}, None)
    assert received["num_threads"] == 2


def test_rounds_are_interleaved_and_alternate_who_goes_first() -> None:
    turns: list[str] = []
    models: Any = [_fake_model(name, turns) for name in ("a", "b")]
    try:
        times = _host_child.time_rounds(models, 4)
    finally:
        gc.enable()
    assert turns == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [table.shape[0] for table in times] == [4, 4]


def test_slow_models_are_invoked_least(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10**12, 10**8))  # the clock goes on by 100 ms at each look
    monkeypatch.setattr(_host_child.time, "perf_counter_ns", lambda: next(now))
    assert _host_child._calibrate(lambda: None) == (3, 5)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([("CONV_2D", [0, 1], [2]), ("SOFTMAX", [2], [3])], (0, 2)),
        ([("CONV_2D", [0, 1], [2]), ("SOFTMAX", [2], [3]), ("DELEGATE", [0, 1], [3])], (2, 2)),
        ([("CONV_2D", [0, 1], [2]), ("CUMSUM", [2], [3]), ("DELEGATE", [0, 1], [2])], (1, 2)),
        ([("A", [0], [1]), ("B", [1], [2]), ("C", [2], [3]), ("DELEGATE", [0], [1]), ("DELEGATE", [2], [3])], (2, 3)),
    ],
    ids=["no delegate", "all", "first of two", "around the middle"],
)
def test_delegated_operators_are_counted(nodes: list[tuple], expected: tuple[int, int]) -> None:
    details = [
        {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}
        for index, (name, inputs, outputs) in enumerate(nodes)
    ]
    assert _host_child.count_delegated(SimpleNamespace(_get_ops_details=lambda: details)) == expected


def test_an_interpreter_that_does_not_tell_its_kernels() -> None:
    assert _host_child.count_delegated(object()) is None
    assert host._kernels(None, "") == "unknown"
    assert host._kernels([0, 4], "") == "built-in kernels, 4 operators"


@given(
    st.floats(0, 1),
    st.sampled_from(["int8", "uint8", "int16"]),
    st.floats(1e-4, 10),
    st.integers(-100, 100),
)
def test_quantized_values_lie_within_half_a_step(share: float, dtype: str, scale: float, zero_point: int) -> None:
    zero_point = abs(zero_point) if dtype == "uint8" else zero_point
    details = {"dtype": np.dtype(dtype).type, "quantization": (scale, zero_point)}
    low, high = _host_child._expressible(details)
    value = low + share * (high - low)
    quantized = _host_child.quantized(np.array([value]), details)
    assert quantized.dtype == dtype
    assert abs((float(quantized[0]) - zero_point) * scale - value) <= scale * 0.501


def _fake_model(name: str, turns: list[str]) -> SimpleNamespace:
    return SimpleNamespace(
        interpreter=SimpleNamespace(invoke=lambda: time.sleep(0.001)),
        set_sample=lambda index: turns.append(name),
    )


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("waited for 20 s in vain")
        time.sleep(0.01)


def _descendants(pid: int) -> list[int]:
    children = [child for child in _pids() if (stat := _stat(child)) and int(stat[1]) == pid]
    return [*children, *(below for child in children for below in _descendants(child))]


def _runs(pid: int) -> bool:
    stat = _stat(pid)
    return bool(stat) and stat[0] != "Z"  # a zombie only waits to be reaped by its new parent


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Return state, parent, … of a process, or nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


@pytest.mark.parametrize(("share", "refused"), [(0.005, False), (0.05, True)])
def test_rare_values_outside_the_range_are_clipped_and_many_are_refused(share: float, refused: bool) -> None:
    samples = make_samples(4)
    flat = samples.reshape(-1)
    outside = np.linspace(0, flat.size - 1, int(share * flat.size)).astype(int)
    flat[outside] = 3.0
    if refused:
        with pytest.raises(DataError, match="exceed") as caught:
            host.run({"model": INT8}, samples, Settings())
        assert "5.0% of them outside" in caught.value.received
    else:
        clipped = np.where(samples == 3.0, np.float32(1.0), samples)
        runs = [host.run({"model": INT8}, given, Settings()).models["model"].outputs for given in (samples, clipped)]
        assert np.array_equal(*runs)


def test_a_single_value_that_is_no_number_is_refused() -> None:
    samples = make_samples(4)
    samples[0, 3, 3, 0] = np.nan
    with pytest.raises(DataError, match="exceed"):
        host.run({"model": INT8}, samples, Settings())
