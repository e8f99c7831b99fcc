"""What a child that a hostile file has taken over can do: programs in its place that try."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RunnerFailed
from pipeline.runner import Settings
from pipeline.runners import _child, _sandbox, host
from pipeline.untrusted import inspect_untrusted
from tests.conformance import FLOAT32, INT8

needs_bubblewrap = pytest.mark.skipif(
    bool(_sandbox.why_unusable()) and "CI" not in os.environ,
    reason=f"no sandbox here: {_sandbox.why_unusable()}; apt-get install bubblewrap, where namespaces are allowed",
)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap and /proc are Linux's")

ATTEMPTS = """
import json, os, socket, sys
from pathlib import Path
folder = Path(sys.argv[1])
private, model, tcp, local = json.loads((folder / "arguments.json").read_text())

def works(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True

def connect(family, address):
    with socket.socket(family) as line:
        line.settimeout(2)
        line.connect(address)

found = {
    "writes in its folder": works(lambda: (folder / "x").write_text("x")),
    "reads the model": works(lambda: open(model, "rb").close()),
    "writes the model": works(lambda: open(model, "ab").close()),
    "writes beside its folder": works(lambda: (folder.parent / "outside").write_text("x")),
    "writes in /": works(lambda: Path("/outside").write_text("x")),
    "writes in /dev/shm": works(lambda: Path("/dev/shm/outside").write_text("x")),
    "writes in the package": works(lambda: (Path(model).parents[2] / "pipeline/outside").write_text("x")),
    "reads a private file": works(lambda: open(private).close()),
    "connects over TCP": works(lambda: connect(socket.AF_INET, ("127.0.0.1", tcp))),
    "connects to a local socket": works(lambda: connect(socket.AF_UNIX, local)),
    "mounts": os.system("mount -t tmpfs none /mnt 2>/dev/null") == 0,
}
status = Path("/proc/self/status").read_text()
found["processes seen"] = sum(name.isdigit() for name in os.listdir("/proc"))
found["secret"] = os.environ.get("SECRET_TOKEN")
found["no new privileges"] = "NoNewPrivs:\\t1" in status
found["capabilities"] = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
(folder / "result.json").write_text(json.dumps(found))
"""


def run_program(folder: Path, code: str, **settings: Any) -> str:
    """Run a program as an interpreter's child, with its folder as argument."""
    program = folder.parent / "program.py"
    program.write_text(code)
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-P", str(program), str(folder)]
    return _child.run_child(command, folder, [INT8], Settings(**{"seconds": 20, **settings}))


@needs_bubblewrap
def test_inside_there_is_nothing_to_take_and_no_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "secret")
    private = tmp_path / "private"
    private.write_text("key")
    address = str(tmp_path / "socket")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind(address)
        local.listen()
        (tmp_path / "work").mkdir()
        arguments = [str(private), str(INT8), tcp.getsockname()[1], address]
        (tmp_path / "work" / "arguments.json").write_text(json.dumps(arguments))
        assert run_program(tmp_path / "work", ATTEMPTS) == "bubblewrap"
    found = _child.read_result(tmp_path / "work")
    assert found.pop("processes seen") <= 3
    assert found.pop("secret") is None
    assert found.pop("no new privileges") is True
    assert int(found.pop("capabilities"), 16) == 0
    assert {what for what, worked in found.items() if worked} == {"writes in its folder", "reads the model"}


def test_the_runner_says_what_confined_it() -> None:
    expected = _sandbox.why_unusable()
    sandbox = host.run({"model": INT8}, None, Settings()).conditions["sandbox"]
    assert sandbox == (f"none ({expected})" if expected else "bubblewrap")


@pytest.mark.parametrize(
    "program", [None, "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1"]
)
def test_without_a_sandbox_it_runs_and_says_why(
    program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program:
        (tmp_path / "bwrap").write_text(program)
        (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    _sandbox.why_unusable.cache_clear()
    try:
        result = host.run({"model": INT8}, None, Settings())
        assert inspect_untrusted(INT8).size_bytes == INT8.stat().st_size
    finally:
        monkeypatch.undo()
        _sandbox.why_unusable.cache_clear()
    assert result.models["model"].outputs is not None
    told = "bwrap: No permissions to create new namespace" if program else "apt-get install bubblewrap"
    assert result.conditions["sandbox"].startswith("none (")
    assert told in result.conditions["sandbox"]


@pytest.mark.parametrize("sandboxed", [True, False])
class TestLimits:
    @pytest.fixture(autouse=True)
    def _confine(self, sandboxed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if not sandboxed:
            monkeypatch.setattr(_sandbox, "why_unusable", lambda: "not wanted here")

    @pytest.mark.parametrize(
        "code",
        ["block = bytearray(2_000_000_000)", "import numpy; numpy.ones(250_000_000)"],
        ids=["Python", "NumPy"],
    )
    def test_a_burst_of_memory_meets_the_hard_limit(self, tmp_path: Path, code: str) -> None:
        with pytest.raises(RunnerFailed, match="memory limit") as caught:
            run_program(tmp_path / "work", code, resident_megabytes=100)
        assert caught.value.expected == "at most 100 MB"
        assert caught.value.received == "an allocation that the system refused"  # not what a look at it found

    def test_memory_is_summed_over_all_processes(self, tmp_path: Path) -> None:
        code = (
            "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n"
            "        block = b'x' * 60_000_000\n        time.sleep(60)\ntime.sleep(60)"
        )
        with pytest.raises(RunnerFailed, match="memory limit"):
            run_program(tmp_path / "work", code, resident_megabytes=150)

    def test_a_file_that_grows_without_end(self, tmp_path: Path) -> None:
        code = "import sys\nwith open(sys.argv[1] + '/x', 'wb') as file:\n    while True: file.write(bytes(10**6))"
        with pytest.raises(RunnerFailed, match="crashed") as caught:
            run_program(tmp_path / "work", code, resident_megabytes=50)
        assert "File too large" in caught.value.received
        assert (tmp_path / "work" / "x").stat().st_size <= 50_000_000

    def test_no_core_file(self, tmp_path: Path) -> None:
        code = "import json, resource, sys\nopen(sys.argv[1] + '/result.json', 'w').write("
        code += "json.dumps([*resource.getrlimit(resource.RLIMIT_CORE), *resource.getrlimit(resource.RLIMIT_CPU)]))"
        run_program(tmp_path / "work", code, seconds=20, threads=2)
        assert _child.read_result(tmp_path / "work") == [0, 0, 45, 45]

    def test_time_limit_ends_it_and_its_children(self, tmp_path: Path) -> None:
        code = "import os, time\nos.fork()\nwhile True:\n    open(__import__('sys').argv[1] + '/x', 'a').write('x')"
        with pytest.raises(RunnerFailed, match="time limit"):
            run_program(tmp_path / "work", code, seconds=0.5)
        size = (tmp_path / "work" / "x").stat().st_size
        time.sleep(0.1)
        assert (tmp_path / "work" / "x").stat().st_size == size

    def test_a_log_without_end_is_read_in_part(self, tmp_path: Path) -> None:
        code = "print('head')\nfor _ in range(300): print('x' * 9999)\nprint('last words')\nraise SystemExit(3)"
        with pytest.raises(RunnerFailed, match="crashed") as caught:
            run_program(tmp_path / "work", code)
        assert caught.value.received.startswith("exit code 3")
        assert caught.value.received.endswith("last words")
        log = _child.read_log(tmp_path / "work")
        assert "head\n" in log
        assert len(log) <= 2 * _child.LOG_BYTES


FORGERIES = {
    "a link to another file": "np.save(folder / '0.outputs.npy', np.zeros((8, 10), np.float32)); "
    "os.symlink(Path(__file__).with_name('answer.json'), folder / 'result.json')",
    "no JSON": "(folder / 'result.json').write_text('{')",
    "nested without end": "(folder / 'result.json').write_text('[' * 1000000)",
    "another type": "(folder / 'result.json').write_text('[1, 2]')",
    "missing fields": "(folder / 'result.json').write_text('{}')",
    "an unknown error": "(folder / 'result.json').write_text(json.dumps({'error': {'kind': 'x', 'code': 'x'}}))",
    "an error without words": "(folder / 'result.json').write_text(json.dumps({'error': {'kind': 'model'}}))",
    "a pipe as outputs": "write(); os.mkfifo(folder / '0.outputs.npy')",
    "a pickle as outputs": "write(); np.save(folder / '0.outputs.npy', np.array([{}]), allow_pickle=True)",
    "outputs of another type": "write(); np.save(folder / '0.outputs.npy', np.zeros((8, 10)))",
    "no outputs": "write(); np.save(folder / '0.outputs.npy', np.zeros((0, 10), np.float32))",
    "outputs beyond all memory": "write(); open(folder / '0.outputs.npy', 'wb').write(b'\\x93NUMPY\\x01\\0v\\0' + "
    "(str({'descr': '<f4', 'fortran_order': False, 'shape': (10**15,)}).ljust(117) + '\\n').encode())",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_answers_are_errors(forgery: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import json, os, sys\nimport numpy as np\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n"
        "os.mkfifo(folder / 'status')\n"
        "def write():\n    (folder / 'result.json').write_text("
        "json.dumps({'operators': [[1, 1]], 'first_answer_ns': [5]}))\n" + FORGERIES[forgery]
    )
    # What a link in the answer's place leads to: another file of the user's, which would even do as an answer.
    (tmp_path / "answer.json").write_text(json.dumps({"operators": [[1, 1]], "first_answer_ns": [5]}))
    monkeypatch.setattr(host, "CHILD", child)
    with pytest.raises(RunnerFailed, match="no answer that can be read"):
        host.run({"model": INT8}, None, Settings())
    if forgery in ("no JSON", "missing fields", "an unknown error", "another type"):
        monkeypatch.setattr("pipeline.untrusted.CHILD", child)
        with pytest.raises(RunnerFailed, match="no answer that can be read"):
            inspect_untrusted(INT8)


def test_inspecting_apart_gives_what_inspecting_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.inspect import inspect_file

    monkeypatch.chdir(FLOAT32.parent)
    assert inspect_untrusted(Path(FLOAT32.name)) == inspect_file(FLOAT32)


def test_several_threads_may_run_children_at_once() -> None:
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(host.run({"m": INT8}, None, Settings()))) for _ in "123"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outputs = [json.dumps(result.models["m"].outputs.tolist()) for result in results]
    assert len(outputs) == 3
    assert len(set(outputs)) == 1
