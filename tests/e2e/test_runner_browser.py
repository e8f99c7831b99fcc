"""The browser runner: LiteRT.js in the system's real Chromium, on the tiny models of `tests/data`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from small_project import add_target, invoke

from pipeline.errors import EXIT_BUDGET, BadModelFile, BadTarget, DataError, EnvironmentUnsuited, RunnerFailed
from pipeline.flatbuffer import read_model
from pipeline.runner import Settings
from pipeline.runners import _browser_components, browser, host
from pipeline.runners.browser import Config
from pipeline.target import Target
from pipeline.target_runner import settings_of
from tests.conformance import DATA, FLOAT32, INT8, RunnerConformance, make_samples

REPOSITORY = Path(__file__).parents[2]
INT8_INSIDE, UINT8_OUTSIDE = DATA / "tiny_int8_float_io.tflite", DATA / "tiny_int8_uint8_io.tflite"
MARK = "BROWSER_TEST_MARK"

try:
    browser.device(Settings())
except EnvironmentUnsuited as error:  # continuous integration installs them all: .ci/devices/browser.sh
    pytest.skip(f"{error.message}: {error.fix}", allow_module_level=True)


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Mark every process that a test starts by its environment; none may be left after it."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    yield mark
    _wait_for(lambda: not _marked(mark), 20)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let temporary files lie in a folder that must be empty in the end."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)
        _wait_for(lambda: not list(Path(name).iterdir()), 20)


class TestBrowser(RunnerConformance):
    runner = browser
    model = INT8_INSIDE


def test_outputs_equal_the_hosts() -> None:
    models = {"float32": FLOAT32, "int8": INT8_INSIDE, "uint8": UINT8_OUTSIDE}
    ours, theirs = (runner.run(models, make_samples(50), Settings()).models for runner in (host, browser))
    for name, step in (("float32", 1e-5), ("int8", int8_step()), ("uint8", int8_step())):
        assert np.abs(ours[name].outputs - theirs[name].outputs).max() <= step * 1.001
        assert np.ptp(theirs[name].outputs) > 20 * step


def int8_step() -> float:
    """Return the scale of what the tiny model's last int8 operator gives."""
    graph = read_model(INT8).subgraphs[0]
    return graph.tensors[graph.outputs[0]].scale[0]


def test_a_timed_run_tells_what_a_page_costs() -> None:
    result = browser.run({"model": INT8_INSIDE, "baseline": FLOAT32}, make_samples(2), Settings(rounds=2, threads=2))
    assert result.device.device_class == "browser"
    assert result.device.fingerprint["litertjs"] == _wanted_litertjs()
    for path, run in ((INT8_INSIDE, result.models["model"]), (FLOAT32, result.models["baseline"])):
        figures = {name: figure.value for name, figure in run.figures.items()}
        assert not any(figure.estimated for figure in run.figures.values())
        assert 0 < figures["transfer_brotli_bytes"] < figures["transfer_gzip_bytes"] < path.stat().st_size
        assert 1e6 < figures["runtime_bytes"] < 1e7
        assert 0 < figures["load_ms"] < 1e4
        assert 0 < figures["runtime_load_ms"] < 1e5
        assert figures["clock_resolution_us"] <= 5  # else the page is not isolated
        assert run.kernels == "XNNPACK in WebAssembly on all operators; means of batches"
        assert run.first_answer_ns is not None
        assert 10_000 < run.first_answer_ns < 10**10
    assert result.models["baseline"].figures["load_ms"].note.startswith("median of 5")


def test_models_take_turns_and_a_batch_dwarfs_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    posted = _keep_report(monkeypatch)
    result = browser.run({"model": INT8_INSIDE, "baseline": FLOAT32}, None, Settings(rounds=3, outputs=False))
    report = posted()
    assert report["turns"] == [0, 1, 1, 0, 0, 1]
    for told, run in zip(report["models"], result.models.values(), strict=True):
        assert np.median(told["rounds"]) >= 100 * report["clock_step_ms"]
        np.testing.assert_allclose(run.times_ns, np.array(told["rounds"]) * 1e6 / told["batch"], atol=1)


def test_int8_input_is_refused_in_litertjs_words() -> None:
    with pytest.raises(BadModelFile, match="LiteRT.js") as caught:
        browser.run({"model": INT8}, make_samples(1), Settings())
    assert str(INT8) in caught.value.message
    assert "INT8 is not supported" in caught.value.received
    assert "input_dtype" in caught.value.fix


def test_an_operator_that_litertjs_lacks_is_named(tmp_path: Path) -> None:
    def lacks(model: Any) -> None:
        code = model.operatorCodes[model.subgraphs[0].operators[0].opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = "NoSuchOperator"

    path = _edited(tmp_path, lacks)  # LiteRT.js gives numbers for it all the same
    with pytest.raises(BadModelFile) as caught:
        browser.run({"baseline": FLOAT32, "model": path}, make_samples(1), Settings())
    assert str(path) in caught.value.message
    assert "NoSuchOperator" in caught.value.received


@pytest.mark.parametrize(("which", "received"), [("inputs", "2 inputs, 1 outputs"), ("outputs", "1 inputs, 2 outputs")])
def test_several_inputs_or_outputs_are_refused(tmp_path: Path, which: str, received: str) -> None:
    def twice(model: Any) -> None:
        tensors = list(getattr(model.subgraphs[0], which))
        setattr(model.subgraphs[0], which, [*tensors, model.subgraphs[0].operators[0].outputs[0]])

    with pytest.raises(BadModelFile, match="several inputs or outputs") as caught:
        browser.run({"model": _edited(tmp_path, twice)}, make_samples(1), Settings())
    assert caught.value.received == received


def test_an_input_that_no_page_can_give_is_refused(tmp_path: Path) -> None:
    def text(model: Any) -> None:
        model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].type = schema.TensorType.STRING

    with pytest.raises(BadModelFile) as caught:
        browser.run({"model": _edited(tmp_path, text)}, make_samples(1), Settings())
    assert "string" in caught.value.received


@pytest.mark.parametrize("samples", [make_samples(2).astype(np.uint8), make_samples(2)[:0]], ids=["raw dtype", "none"])
def test_unusable_samples_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(DataError):
        browser.run({"model": FLOAT32}, samples, Settings())


def test_raw_samples_and_another_input_shape_are_refused() -> None:
    with pytest.raises(DataError, match="exceed"):  # before the browser sees the file
        browser.run({"model": INT8}, make_samples(2) * 255, Settings())
    with pytest.raises(BadModelFile, match="takes another input"):
        browser.run({"model": FLOAT32}, make_samples(2)[:, :27], Settings())


def test_more_threads_than_a_page_has() -> None:
    with pytest.raises(RunnerFailed, match="threads") as caught:
        browser.run({"model": FLOAT32}, make_samples(1), Settings(threads=200))
    assert f"at most {os.cpu_count()}" in caught.value.expected


@pytest.mark.parametrize(
    ("script", "seconds", "message", "received"),
    [
        ("await fetch('/result/state', {method: 'POST', body: 'busy'}); for (;;);", 10, "time limit", "page was busy"),
        ("", 1, "overran its time limit", "no end after 1 s; the page was not there yet"),
        ("fetch('http://192.0.2.1/model');", 60, "outside loopback", "http://192.0.2.1/model"),
        ("new Image().src = 'http://localhost:1/';", 60, "outside loopback", "http://localhost:1/"),
    ],
    ids=["hangs", "never answers", "another host", "another port"],
)
def test_a_page_that_misbehaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, seconds: float, message: str, received: str
) -> None:
    _serve(tmp_path, monkeypatch, script)
    started = time.monotonic()
    with pytest.raises(RunnerFailed, match=message) as caught:
        browser.run({"model": FLOAT32}, make_samples(1), Settings(seconds=seconds))
    assert received in caught.value.received
    assert time.monotonic() - started < 30


def test_a_runtime_that_does_not_load(tmp_path: Path) -> None:
    core = tmp_path / "@litertjs" / "core"
    (core / "dist").mkdir(parents=True)
    (core / "package.json").write_text('{"version": "0.0.1"}')
    (core / "dist" / "index.js").write_text(
        "export const loadLiteRt = () => { throw new Error('a broken runtime') }, loadAndCompile = 0, Tensor = 0;"
    )
    (tmp_path / "@litertjs" / "wasm-utils").mkdir()
    settings = Settings(config=Config(assets=tmp_path))
    assert browser.device(settings).fingerprint["litertjs"] == "0.0.1"
    with pytest.raises(RunnerFailed, match="page failed") as caught:
        browser.run({}, None, settings)
    assert "a broken runtime" in caught.value.received
    assert "npm install" in caught.value.fix


def test_memory_limit() -> None:
    with pytest.raises(RunnerFailed, match="memory limit"):  # an empty page takes more
        browser.run({"model": FLOAT32}, None, Settings(resident_megabytes=50))


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(("kind", "message"), [("renderer", "crashed"), ("", "failed")], ids=["renderer", "browser"])
def test_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, kind: str, message: str) -> None:
    _serve(tmp_path, monkeypatch, "await fetch('/result/state', {method: 'POST', body: 'there'});")

    def kill() -> None:
        _wait_for(lambda: _chromiums(mark, "renderer"), 60)
        time.sleep(0.5)  # Playwright is told of the page by then
        for process in _chromiums(mark, kind):
            os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(RunnerFailed, match=message) as caught:
        browser.run({"model": FLOAT32}, make_samples(1), Settings(seconds=100))
    killer.join()
    assert str(FLOAT32) in caught.value.message


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(
    ("kind", "after_seconds"),
    [("", 0), ("renderer", 0), ("renderer", 0.5)],
    ids=["while it starts", "while it opens the page", "when the page is there"],
)
def test_a_browser_that_stands_still_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, kind: str, after_seconds: float
) -> None:
    _serve(tmp_path, monkeypatch, "")

    def stop() -> None:
        _wait_for(lambda: _chromiums(mark, kind), 60)
        time.sleep(after_seconds)
        for process in _chromiums(mark, ""):
            os.kill(process, signal.SIGSTOP)

    stopper = threading.Thread(target=stop)
    stopper.start()
    started = time.monotonic()
    with pytest.raises(RunnerFailed, match="time limit"):
        browser.run({"model": FLOAT32}, make_samples(1), Settings(seconds=6))
    assert time.monotonic() - started < 30  # Playwright waits for 30 s more, or without end
    stopper.join()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_an_ended_parent_leaves_no_browser(temporary: Path, mark: str, number: signal.Signals) -> None:
    code = (
        "from pathlib import Path; from pipeline.runner import Settings; from pipeline.runners import browser\n"
        f"browser.run({{'model': Path({str(FLOAT32)!r})}}, None, Settings(rounds=10_000, outputs=False))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        _wait_for(lambda: _chromiums(mark, "renderer"), 60)
    finally:
        parent.send_signal(number)
        _, said = parent.communicate(timeout=60)
    assert number == signal.SIGKILL or said.rstrip().endswith("KeyboardInterrupt")
    _wait_for(lambda: not _marked(mark), 20)
    for folder in temporary.glob("browser-*"):  # its own, which a killed process cannot remove
        shutil.rmtree(folder)


def test_a_long_path_of_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert browser.run({}, None, Settings()).models == {}


@pytest.mark.parametrize(
    ("config", "hidden", "fix"),
    [
        (Config(), "playwright", "pip install 'edge-deployment-pipeline[browser]'"),
        (Config(), "psutil", "pip install 'edge-deployment-pipeline[browser]'"),
        (Config(), "brotli", "pip install 'edge-deployment-pipeline[browser]'"),
        (Config(), "PATH", "apt-get install chromium"),
        (Config(chromium=Path("/no/such/chromium")), "", "apt-get install chromium"),
        (Config(chromium=Path("/bin/true")), "", "apt-get install --reinstall chromium"),
        (Config(assets=Path("/no/such/node_modules")), "", "npm install --no-package-lock --prefix"),
    ],
    ids=["no playwright", "no psutil", "no brotli", "no browser", "no such browser", "another program", "no LiteRT.js"],
)
def test_a_missing_component(config: Config, hidden: str, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _browser_components.importlib.util.find_spec
    if hidden == "PATH":
        monkeypatch.setenv("PATH", "/no/such/folder")
    elif hidden:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == hidden else found(name))
    with pytest.raises(EnvironmentUnsuited) as caught:
        browser.device(Settings(config=config))
    assert fix in caught.value.fix
    assert caught.value.received


@pytest.mark.parametrize(
    ("device", "key", "expected"),
    [
        ({"backend": "webgpu"}, "device.backend", "wasm"),
        ({"backends": "wasm"}, "device.backends", "assets, backend, chromium"),
        ({"chromium": 7}, "device.chromium", "path"),
    ],
)
def test_settings_that_it_does_not_take(device: dict[str, Any], key: str, expected: str) -> None:
    target = Target(description="page", runner="browser", device=device, recipe=({"step": "train"},))
    with pytest.raises(BadTarget, match=key) as caught:
        settings_of(target, runner=browser)
    assert expected in caught.value.expected


def test_the_projects_own_litertjs_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = tmp_path / "node_modules" / "@litertjs" / "core"
    core.mkdir(parents=True)
    (core / "package.json").write_text('{"version": "9.9.9"}')
    (core.parent / "wasm-utils").mkdir()
    (tmp_path / "tasks.py").touch()
    monkeypatch.chdir(tmp_path)
    assert browser.device(Settings()).fingerprint["litertjs"] == "9.9.9"


def test_a_build_on_the_browser(built: Path) -> None:
    budgets = "transfer_gzip_bytes = 1\ntransfer_brotli_bytes = 40_000\n"
    budgets += 'latency_p50_ms = { limit = 1000, device_class = "browser" }'
    add_target(
        built,
        "page",
        ('input_dtype = "int8"', 'runner = "browser"\ninput_dtype = "float32"'),
        ('output_dtype = "int8"', 'output_dtype = "float32"'),
        ("memory_bytes = 20_000_000", budgets),
    )
    done = invoke(built, "build", "--target=page", "--workload=small", "--json", expect=EXIT_BUDGET)
    document = json.loads(done.stdout)
    verdicts = {verdict["metric"]: verdict for verdict in document["verdicts"]}
    assert verdicts["transfer_gzip_bytes"]["verdict"] == "fail"  # one byte is what nothing fits into
    assert verdicts["transfer_brotli_bytes"]["verdict"] == "pass"
    assert verdicts["transfer_brotli_bytes"]["measured"] < verdicts["transfer_gzip_bytes"]["measured"]
    assert verdicts["latency_p50_ms"]["verdict"] == "pass"
    assert verdicts["device_differences_max"]["verdict"] == "pass"
    assert document["device"]["device_check"]["score"] > 0.8
    assert document["latency"]["runner"] == "browser"


def _serve(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let the runner serve another script than its own."""
    (folder / "page.html").write_bytes((browser.PAGE / "page.html").read_bytes())
    (folder / "page.js").write_text(script)
    monkeypatch.setattr(browser, "PAGE", folder)


def _keep_report(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """Return what gives the page's report, once it is there."""
    servers: list[browser.PageServer] = []

    def serve(answers: Any) -> browser.PageServer:
        servers.append(_server(answers))
        return servers[-1]

    _server = browser.PageServer
    monkeypatch.setattr(browser, "PageServer", serve)
    return lambda: json.loads(servers[-1].results["report"])


def _edited(folder: Path, change: Callable[[Any], None]) -> Path:
    """Return the float model with a change made to its tables."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(FLOAT32.read_bytes()))
    change(model)
    builder = flatbuffers.Builder(8192)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = folder / "edited.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


def _wanted_litertjs() -> str:
    return json.loads((browser.FOLDER / "package.json").read_text())["dependencies"]["@litertjs/core"]


def _marked(mark: str) -> set[int]:
    """Return the processes whose environment has the mark, and their children: a page's loses its environment."""
    parents, found = {}, set()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            process = int(folder.name)
            parents[process] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if mark.encode() in (folder / "environ").read_bytes():
                found.add(process)
    while more := {process for process, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _chromiums(mark: str, kind: str) -> list[int]:
    """Return Chromium's processes of a kind; "" is the browser itself."""
    found = []
    for process in _marked(mark):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
            kinds = [word.partition("=")[2] for word in words if word.startswith("--type=")]
            if words and Path(words[0]).name == "chromium" and kinds == ([kind] if kind else []):
                found.append(process)
    return found


def _wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited for {seconds} s in vain")
        time.sleep(0.02)
