"""The ssh runner against a real sshd on loopback, and an emulated arm64 board behind it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import BOTH, INT8, RunnerConformance, make_samples
from e2e.ssh_board import Board
from pydantic import ValidationError

from pipeline.errors import EnvironmentUnsuited, PipelineError, RequestError, RunnerFailed
from pipeline.runner import Settings
from pipeline.runners import host, ssh

ARM64 = Path(__file__).parents[1] / ".arm64" / "python3"
INSTALL = "bash .ci/devices/ssh.sh, as root"
pytestmark = pytest.mark.skipif(not (shutil.which("ssh") and Path("/usr/sbin/sshd").exists()), reason=INSTALL)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    running = Board(tmp_path_factory.mktemp("board")).start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def nothing_is_left(board: Board) -> Iterator[None]:
    yield
    board.wait_until_clean()


def settings(board: Board, config: dict[str, Any] | None = None, **changes: Any) -> Settings:
    return Settings(config=board.config(**({"remote_python": sys.executable} | (config or {}))), **changes)


def refused(board: Board, config: dict[str, Any] | None = None, **changes: Any) -> PipelineError:
    """Return the error of one short run, which has to come in bounded time."""
    started = time.monotonic()
    with pytest.raises((RunnerFailed, EnvironmentUnsuited)) as caught:
        ssh.run({"model": INT8}, make_samples(2), settings(board, config, **changes))
    assert time.monotonic() - started < 15
    error = caught.value
    assert error.received
    assert error.expected
    assert error.fix
    return error


class TestSsh(RunnerConformance):
    runner = ssh

    @pytest.fixture(autouse=True)
    def _reached(self, board: Board) -> None:
        self.board = board

    def settings(self, **changes: Any) -> Settings:
        return settings(self.board, **changes)


def test_it_computes_what_the_host_computes(board: Board) -> None:
    samples = make_samples(5)
    here = host.run(BOTH, samples, Settings()).models
    there = ssh.run(BOTH, samples, settings(board)).models
    assert all(np.array_equal(here[name].outputs, there[name].outputs) for name in BOTH)
    assert there["model"].kernels == here["model"].kernels


def test_the_board_is_described(board: Board) -> None:
    found = ssh.device(settings(board))
    assert found.device_class == "linux-x86_64" if os.uname().machine == "x86_64" else found.device_class
    assert not found.emulated
    assert {"machine", "python", "numpy", "ai-edge-litert"} <= set(found.fingerprint)
    conditions = ssh.run({"model": INT8}, make_samples(1), settings(board)).conditions
    assert {"load_before", "load_after"} <= set(conditions)
    assert ssh.device(settings(board, {"device_class": "raspberry-pi"})).device_class == "raspberry-pi"


@pytest.mark.skipif(not ARM64.exists(), reason=INSTALL)
def test_an_emulated_arm64_board_answers_as_the_host_does_and_is_marked(board: Board) -> None:
    samples = make_samples(24)
    result = ssh.run({"model": INT8}, samples, settings(board, {"remote_python": str(ARM64)}, rounds=1))
    assert result.device.emulated
    assert result.device.device_class == "linux-aarch64"
    assert result.device.fingerprint["tflite-runtime"] == "2.14.0"
    ours = host.run({"model": INT8}, samples, Settings()).models["model"].outputs
    theirs = result.models["model"].outputs
    step = np.unique(np.abs(np.diff(np.unique(ours)))).min()
    assert np.abs(ours - theirs).max() <= step * 1.001
    assert (result.models["model"].times_ns > 0).all()


def test_a_closed_port(board: Board) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "cannot be reached" in refused(board, {"port": port}).message


def test_a_port_that_never_answers(board: Board) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "cannot be reached" in refused(board, {"port": silent.getsockname()[1]}).message


def test_an_unknown_name(board: Board) -> None:
    assert "has no address" in refused(board, {"host": "no-such-board.invalid"}).message


def test_a_wrong_key(board: Board) -> None:
    error = refused(board, {"key": str(board.folder / "other_key")})
    assert "does not let this user in" in error.message
    assert "ssh-copy-id" in error.fix


def test_a_changed_and_an_unknown_host_key(board: Board, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{board.port} {(board.folder / 'other_key.pub').read_text()}")
    changed = refused(board, {"known_hosts": str(known)})
    assert "another host key" in changed.message
    assert "ssh-keygen -R" in changed.fix
    known.write_text("")
    assert "host key that is not known" in refused(board, {"known_hosts": str(known)}).message


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk(board: Board) -> None:
    full = board.folder / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(full)], check=True)
    try:
        error = refused(board, {"remote_folder": str(full)})
        assert "disk of the board" in error.message
        assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_a_folder_that_is_not_there(board: Board) -> None:
    assert "/no/such/folder" in refused(board, {"remote_folder": "/no/such/folder"}).received


def hanging(board: Board) -> str:
    """Return a Python on the board whose interpreter never comes back."""
    path = board.folder / "hanging_python"
    path.write_text(
        f'#!/bin/sh\ncase "$1" in -u) exec {sys.executable} "$@";; esac\nexec {sys.executable} -c "\n'
        'import time\ntime.sleep(600)\n" "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def test_a_hanging_interpreter_ends_at_its_limit(board: Board) -> None:
    error = refused(board, {"remote_python": hanging(board)}, seconds=1.0)
    assert "overran a limit" in error.message
    assert error.received == "no end after 1 s"


def test_a_memory_limit_holds_on_the_board(board: Board) -> None:
    assert "MB resident" in refused(board, resident_megabytes=5).received


def test_a_connection_that_is_cut(board: Board) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            ssh.run({"model": INT8}, make_samples(2), settings(board, {"remote_python": hanging(board)}))
        except PipelineError as error:
            failures.append(error)

    running = threading.Thread(target=run)
    running.start()
    deadline = time.monotonic() + 10
    while not any(board.remote.glob("*/request.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert board.left()
    board.cut()
    running.join(timeout=15)
    assert not running.is_alive()
    assert "ended without an answer" in failures[0].message
    board.wait_until_clean()


def test_ctrl_c_leaves_nothing_on_the_board(board: Board) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.runner import Settings; from pipeline.runners import ssh\n"
        "import numpy as np\n"
        "ssh.run({'model': Path(sys.argv[1])}, np.zeros((1, 28, 28, 1), np.float32),"
        " Settings(config=ssh.Config.model_validate_json(sys.argv[2])))"
    )
    config = board.config(remote_python=hanging(board)).model_dump_json()
    process = subprocess.Popen([sys.executable, "-c", code, str(INT8), config], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not any(board.remote.glob("*/request.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) != 0
    board.wait_until_clean()


def test_a_python_that_is_not_there(board: Board) -> None:
    error = refused(board, {"remote_python": "python9"})
    assert isinstance(error, EnvironmentUnsuited)
    assert "no python9 on the board" in error.message


@pytest.mark.parametrize("missing", ["numpy", "ai_edge_litert"])
def test_a_package_that_is_not_there(board: Board, tmp_path: Path, missing: str) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in {missing, "tflite_runtime"} if missing != "numpy" else {missing}:
        (hidden / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\")\n")
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={hidden} exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    error = refused(board, {"remote_python": str(wrapper)})
    assert isinstance(error, EnvironmentUnsuited)
    assert f"-m pip install {missing.replace('_', '-')}" in error.fix


def test_what_a_login_shell_says_is_no_answer(board: Board, tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho Welcome; echo 12\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    result = ssh.run({"model": INT8}, make_samples(1), settings(board, {"remote_python": str(wrapper)}))
    assert result.models["model"].outputs.shape == (1, 10)


@pytest.mark.parametrize("name", ["-oProxyCommand=touch /tmp/owned", "pi board", "", "pi;reboot", "$(reboot)"])
def test_a_host_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="host"):
        ssh.Config(host=name)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match="a file that exists"):
        ssh.Config(host="pi", key="/no/such/key")


def test_without_a_board_it_says_where_to_name_one() -> None:
    with pytest.raises(RequestError, match="which board") as caught:
        ssh.run({"model": INT8}, make_samples(1), Settings())
    assert "devices.toml" in caught.value.fix


def test_without_a_client_it_says_how_to_install_it(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentUnsuited) as caught:
        ssh.run({"model": INT8}, make_samples(1), settings(board))
    assert caught.value.fix == "apt-get install openssh-client"


def test_a_build_measures_on_the_board_that_devices_toml_names(board: Board, tmp_path: Path) -> None:
    from tests.null.cli import Project

    project = Project.create(tmp_path)
    content = (project.root / "targets" / "null.toml").read_text()
    assert content.count('runner = "null"') == 1
    project.add(
        "targets/null.toml", content.replace('runner = "null"', 'runner = "ssh"\nrunner_without_device = "null"')
    )
    without = project.built()
    assert without["device"]["runner"] == "null"
    table = board.settings() | {"remote_python": sys.executable}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    project.add("devices.toml", f"[null]\n{lines}\n")
    document = project.run("build", "--target=null", "--workload=grey", "--json", expect=None).json("build")
    assert document["device"]["runner"] == "ssh"
    assert document["latency"]["device"]["device_class"].startswith("linux-")
    assert document["device"]["device_check"]["samples"] > 0
    assert "load_after" in document["device"]["conditions"]
