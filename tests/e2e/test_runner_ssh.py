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
from small_project import add_target, invoke

from pipeline.errors import EnvironmentUnsuited, PipelineError, RequestError, RunnerFailed
from pipeline.runner import Settings
from pipeline.runners import _ssh_remote, host, ssh, tflm

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
    assert time.monotonic() - started < 30
    error = caught.value
    assert error.received
    assert error.expected
    assert error.fix
    return error


def wrapper(path: Path, *lines: str) -> str:
    """Return a Python on the board that runs some lines of sh before it."""
    path.write_text("\n".join(["#!/bin/sh", *lines, f'exec {sys.executable} "$@"', ""]))
    path.chmod(0o755)
    return str(path)


def customized(folder: Path, code: str) -> str:
    """Return a Python on the board that runs some Python first."""
    (folder / "sitecustomize.py").write_text(code)
    return wrapper(folder / "python", f"export PYTHONPATH={folder}")


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
    here = host.device(Settings())
    assert found.device_class == here.device_class
    assert found.name == here.name
    assert not found.emulated
    assert found.fingerprint == here.fingerprint | {"processor": here.name, "numpy": np.__version__}
    conditions = ssh.run({"model": INT8}, make_samples(1), settings(board)).conditions
    assert {"load_before", "load_after"} <= set(conditions)
    assert ssh.device(settings(board, {"device_class": "raspberry-pi"})).device_class == "raspberry-pi"
    assert ssh.device(settings(board, {"emulated": True})).emulated


def test_what_slows_a_board_down_is_told_before_and_after(board: Board, tmp_path: Path) -> None:
    # What the Raspberry Pi's firmware answers: under-voltage and throttled now; all but the second since boot.
    (tmp_path / "vcgencmd").write_text('#!/bin/sh\n[ "$*" = get_throttled ] && echo throttled=0xd0005\n')
    (tmp_path / "vcgencmd").chmod(0o755)
    python = wrapper(tmp_path / "python", f"export PATH={tmp_path}:$PATH")
    found = ssh.run({"model": INT8}, make_samples(1), settings(board, {"remote_python": python})).conditions
    for when in ("before", "after"):
        assert found[f"throttling_{when}"] == "under-voltage, throttled"
        assert found[f"throttling_since_boot_{when}"] == "under-voltage, throttled, soft temperature limit"


def test_a_board_tells_model_governor_frequency_and_temperature(tmp_path: Path) -> None:
    for name, content in {
        "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1500000\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/class/thermal/thermal_zone1/temp": "51004\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert _ssh_remote.board(str(tmp_path))["model"] == "Raspberry Pi 4 Model B Rev 1.4"
    told = _ssh_remote.conditions(str(tmp_path))
    assert told["governor"] == "ondemand, performance"
    assert told["frequency_megahertz"] == "600, 1500"
    assert told["temperature_celsius"] == "51.0"
    assert "throttling" not in told  # nothing is told without the firmware's tool


@pytest.mark.skipif(not ARM64.exists(), reason=INSTALL)
def test_an_emulated_arm64_board_answers_as_the_host_does_and_is_marked(board: Board) -> None:
    samples = make_samples(48)
    result = ssh.run({"model": INT8}, samples, settings(board, {"remote_python": str(ARM64)}, rounds=1))
    assert result.device.emulated
    assert result.device.device_class == "linux-aarch64"
    assert result.device.fingerprint["tflite-runtime"] == "2.14.0"
    ours = host.run({"model": INT8}, samples, Settings()).models["model"].outputs
    theirs = result.models["model"].outputs
    step = np.unique(np.abs(np.diff(np.unique(ours)))).min()
    assert np.abs(ours - theirs).max() <= step * 1.001
    assert np.array_equal(theirs, tflm.run({"model": INT8}, samples, Settings()).models["model"].outputs)
    assert (result.models["model"].times_ns > 0).all()


def test_an_emulator_is_told_by_its_process(board: Board, tmp_path: Path) -> None:
    program = tmp_path / "qemu-mips-static"  # this Python under an emulator's name
    shutil.copy(Path(sys.executable).resolve(), program)
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\nexport PYTHONHOME={sys.base_prefix} PYTHONPATH={Path(np.__file__).parents[1]}\n"
        f'exec {program} "$@"\n'
    )
    python.chmod(0o755)
    found = ssh.device(settings(board, {"remote_python": str(python)}))
    assert found.emulated
    assert found.name.startswith(f"{os.uname().machine} emulated on ")
    assert not ssh.device(settings(board, {"remote_python": str(python), "emulated": False})).emulated


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "expected"),
    [
        ("aarch64", "processor\t: 0\nvendor_id\t: AuthenticAMD\n", True),
        ("armv7l", "processor\t: 0\nvendor_id\t: GenuineIntel\n", True),
        ("x86_64", "processor\t: 0\nCPU implementer\t: 0x41\n", True),
        ("aarch64", "processor\t: 0\nCPU implementer\t: 0x41\n", False),
        ("x86_64", "processor\t: 0\nvendor_id\t: AuthenticAMD\n", False),
        ("riscv64", "processor\t: 0\nisa\t: rv64imafdc\n", False),
        ("aarch64", "", False),
    ],
)
def test_an_emulator_is_told_by_a_processor_of_another_architecture(machine: str, cpuinfo: str, expected: bool) -> None:
    assert _ssh_remote.contradicts(machine, cpuinfo) is expected


def test_a_closed_port(board: Board) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "cannot be reached" in refused(board, {"port": port}).message


def test_a_port_that_never_answers(board: Board) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = {"port": silent.getsockname()[1], "connect_timeout_seconds": 2}
        assert "cannot be reached" in refused(board, config).message


def test_nobody_is_asked_anything(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    answer = tmp_path / "answer"
    answer.write_text(f"#!/bin/sh\ntouch {asked}\necho yes\n")
    answer.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(answer))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    known = tmp_path / "known_hosts"
    known.touch()
    assert "not known" in refused(board, {"known_hosts": str(known)}).message
    assert not asked.exists()


def test_an_unknown_name(board: Board) -> None:
    assert "has no address" in refused(board, {"host": "no-such-board.invalid"}).message


def test_a_wrong_key(board: Board) -> None:
    error = refused(board, {"key": str(board.folder / "other_key")})
    assert "does not let this user in" in error.message
    assert "ssh-copy-id" in error.fix


def test_a_key_that_others_can_read(board: Board, tmp_path: Path) -> None:
    key = tmp_path / "key"
    shutil.copy(board.folder / "user_key", key)
    key.chmod(0o644)
    assert refused(board, {"key": str(key)}).fix == f"chmod 600 {key}"


def test_a_changed_and_an_unknown_host_key(board: Board, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{board.port} {(board.folder / 'other_key.pub').read_text()}")
    changed = refused(board, {"known_hosts": str(known)})
    assert "another host key" in changed.message
    assert "ssh-keygen -R" in changed.fix
    known.write_text("")
    assert "host key that is not known" in refused(board, {"known_hosts": str(known)}).message


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize(
    ("kilobytes", "changes"), [(16, {}), (96, {"rounds": 50})], ids=["before it starts", "while it writes"]
)
def test_a_full_disk(board: Board, kilobytes: int, changes: dict[str, int]) -> None:
    full = board.folder / "full"
    full.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(full)], check=True)
    try:
        error = refused(board, {"remote_folder": str(full)}, **changes)
        assert "disk of the board" in error.message
        assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_a_folder_that_is_not_there(board: Board) -> None:
    assert "/no/such/folder" in refused(board, {"remote_folder": "/no/such/folder"}).received


def hanging(board: Board) -> str:
    """Return a Python on the board whose interpreter never comes back."""
    return wrapper(
        board.folder / "hanging_python",
        f'[ "$1" = -u ] || exec {sys.executable} -c "import time; time.sleep(600)" "$@"',
    )


def wait_for_the_interpreter(board: Board) -> dict[str, int]:
    """Return the processes of a run that hangs on the board: the one that watches, and the interpreter's."""
    deadline = time.monotonic() + 20
    found: dict[str, int] = {}
    while "interpreter" not in found:
        assert time.monotonic() < deadline, board.processes()
        time.sleep(0.05)
        for process, line in board.processes().items():
            if not line.startswith(("timeout", "sh")):
                found["interpreter" if "_host_child.py" in line else "watcher"] = process
    return found


def test_a_hanging_interpreter_ends_at_its_limit(board: Board) -> None:
    error = refused(board, {"remote_python": hanging(board)}, seconds=1.0)
    assert "overran a limit" in error.message
    assert error.received == "no end after 1 s"


def test_a_memory_limit_holds_on_the_board(board: Board) -> None:
    assert "MB resident" in refused(board, resident_megabytes=5).received


def start_to_hang(board: Board) -> tuple[threading.Thread, list[PipelineError]]:
    """Start a run whose interpreter hangs on the board; return it, and where its error will be."""
    errors: list[PipelineError] = []
    running = threading.Thread(target=lambda: errors.append(refused(board, {"remote_python": hanging(board)})))
    running.start()
    return running, errors


def test_a_connection_that_is_cut(board: Board) -> None:
    running, errors = start_to_hang(board)
    wait_for_the_interpreter(board)
    board.cut()
    running.join(timeout=30)
    assert "ended without an answer" in errors[0].message
    board.wait_until_clean()


def test_a_connection_that_dies_without_a_word(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "ALIVE_SECONDS", 1)
    running, errors = start_to_hang(board)
    wait_for_the_interpreter(board)
    board.signal_sessions(signal.SIGSTOP)
    running.join(timeout=30)
    board.signal_sessions(signal.SIGCONT)
    assert "not responding" in errors[0].received
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
    wait_for_the_interpreter(board)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) != 0
    board.wait_until_clean()


def test_a_watcher_that_is_killed_takes_the_interpreter_with_it(board: Board) -> None:
    running, errors = start_to_hang(board)
    os.kill(wait_for_the_interpreter(board)["watcher"], signal.SIGKILL)
    running.join(timeout=30)
    assert "ended without an answer" in errors[0].message
    deadline = time.monotonic() + 15
    while board.processes():
        assert time.monotonic() < deadline, board.processes()
        time.sleep(0.05)
    shutil.rmtree(next(board.remote.iterdir()))  # nobody was left to do it


def test_a_python_that_never_starts_ends_on_the_board_as_well(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "TRANSFER_SECONDS", 2)
    error = refused(board, {"remote_python": wrapper(tmp_path / "python", "sleep 600")}, seconds=1.0)
    assert "gave no answer in time" in error.message


def test_a_board_cleans_up_when_its_time_ends_while_it_waits_for_what_never_comes(tmp_path: Path) -> None:
    """A connection that dies without a word leaves an input that neither ends nor goes on."""
    request = {
        "marker": "marker",
        "python": sys.executable,
        "folder": str(tmp_path),
        "cpus": None,
        "seconds": 60,
        "bytes": 10**9,
        "files": {"request.json": 1000},
    }
    process = subprocess.Popen(
        [sys.executable, _ssh_remote.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(json.dumps(request).encode() + b"\n" + b"a part of it")
    process.stdin.flush()
    deadline = time.monotonic() + 10
    while not list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    assert process.wait(timeout=10) == 1
    assert b"signal 15" in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


def test_a_python_that_is_not_there(board: Board) -> None:
    error = refused(board, {"remote_python": "python9"})
    assert isinstance(error, EnvironmentUnsuited)
    assert "no python9 on the board" in error.message


def test_a_python_that_is_too_old(board: Board, tmp_path: Path) -> None:
    python = customized(
        tmp_path,
        "import platform, sys\nsys.version_info = (3, 8, 10)\nplatform.python_version = lambda: '3.8.10'\n",
    )
    error = refused(board, {"remote_python": python})
    assert isinstance(error, EnvironmentUnsuited)
    assert "Python 3.8.10" in error.received


def without(folder: Path, *modules: str, says: str = "No module named '{}'") -> Path:
    """Return a folder of modules that cannot be imported."""
    hidden = folder / "hidden"
    hidden.mkdir()
    for name in modules:
        (hidden / f"{name}.py").write_text(f"raise ImportError({says.format(name)!r})\n")
    return hidden


@pytest.mark.parametrize("missing", [("numpy",), ("ai_edge_litert", "tflite_runtime")])
def test_a_package_that_is_not_there(board: Board, tmp_path: Path, missing: tuple[str, ...]) -> None:
    hidden = without(tmp_path, *missing)
    python = wrapper(tmp_path / "python", f"export PYTHONPATH={hidden}")
    error = refused(board, {"remote_python": python})
    assert isinstance(error, EnvironmentUnsuited)
    assert f"on the board: {python} -m pip install {missing[0].replace('_', '-')}." in error.fix
    assert "No module named" in error.received


def test_a_32_bit_board_gets_the_package_that_is_made_for_it(board: Board, tmp_path: Path) -> None:
    hidden = without(tmp_path, "ai_edge_litert", "tflite_runtime")
    error = refused(
        board, {"remote_python": customized(hidden, "import platform\nplatform.machine = lambda: 'armv7l'\n")}
    )
    assert "-m pip install tflite-runtime 'numpy<2'." in error.fix


def test_a_numpy_that_is_too_new_for_the_interpreter(board: Board, tmp_path: Path) -> None:
    hidden = without(tmp_path, "ai_edge_litert", "tflite_runtime", says="numpy.core.multiarray failed to import")
    error = refused(board, {"remote_python": wrapper(tmp_path / "python", f"export PYTHONPATH={hidden}")})
    assert isinstance(error, EnvironmentUnsuited)
    assert "'numpy<2'" in error.fix


def test_an_interpreter_that_crashes(board: Board, tmp_path: Path) -> None:
    python = wrapper(tmp_path / "python", '[ "$1" = -u ] || { echo these are its last words; kill -SEGV $$; }')
    error = refused(board, {"remote_python": python})
    assert "crashed" in error.message
    assert "exit code -11" in error.received
    assert "these are its last words" in error.received


def test_what_a_login_shell_says_is_no_answer(board: Board, tmp_path: Path) -> None:
    python = wrapper(tmp_path / "python", "echo Welcome; echo 12")
    result = ssh.run({"model": INT8}, make_samples(1), settings(board, {"remote_python": python}))
    assert result.models["model"].outputs.shape == (1, 10)


def test_the_users_configuration_counts_and_does_not_get_in_the_way(board: Board, tmp_path: Path) -> None:
    odd = tmp_path / "a folder, 100%h"  # with what is not literal in ssh's options
    odd.mkdir()
    for name in ("known_hosts", "user_key"):
        shutil.copy(board.folder / name, odd / name)
    configuration = odd / "ssh_config"
    configuration.write_text(
        f"Host my-board\n HostName 127.0.0.1\n Port {board.port}\n HostKeyAlias [127.0.0.1]:{board.port}\n"
        f" RemoteCommand tmux attach\n RequestTTY force\n LocalForward 127.0.0.1:{board.port} localhost:80\n"
        " ExitOnForwardFailure yes\n"
    )
    config = {
        "host": "my-board",
        "port": None,
        "key": str(odd / "user_key"),
        "known_hosts": str(odd / "known_hosts"),
        "config_file": str(configuration),
    }
    assert ssh.run({"model": INT8}, make_samples(1), settings(board, config)).models["model"].outputs.shape == (1, 10)


def test_options_reach_ssh(board: Board) -> None:
    assert "does not let this user in" in refused(board, {"options": ("PubkeyAuthentication=no",)}).message


@pytest.mark.parametrize("option", ["NoSuchOption=yes", "StrictHostKeyChecking=perhaps"])
def test_an_option_that_ssh_does_not_take(board: Board, option: str) -> None:
    assert "does not take an option" in refused(board, {"options": (option,)}).message


@pytest.mark.parametrize("option", ["", "BatchMode", "-F/etc/passwd", "Port=", "Port=1\nHost=2"])
def test_what_is_no_option_is_refused(option: str) -> None:
    with pytest.raises(ValidationError, match="Name=value"):
        ssh.Config(host="pi", options=(option,))


def test_the_interpreter_runs_on_the_cores_that_are_named(board: Board, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    python = wrapper(tmp_path / "python", f"grep Cpus_allowed_list /proc/self/status >{seen}")
    core = max(os.sched_getaffinity(0))
    result = ssh.run({"model": INT8}, make_samples(1), settings(board, {"remote_python": python, "cpus": (core,)}))
    assert seen.read_text().split() == ["Cpus_allowed_list:", str(core)]
    assert result.device.fingerprint["cpus"] == str(core)


def test_a_core_that_is_not_there(board: Board) -> None:
    with pytest.raises(RequestError, match="lacks a core") as caught:
        ssh.run({"model": INT8}, make_samples(1), settings(board, {"cpus": (0, 4000)}))
    assert "0" in caught.value.expected


def test_the_boards_own_temporary_folder_and_a_python_of_the_users_home(board: Board, tmp_path: Path) -> None:
    home = Path.home() / f".{board.folder.name}-{os.getpid()}"
    home.mkdir()
    try:
        wrapper(home / "a python", f'export TMPDIR={board.remote}; [ "$1" = -u ] || pwd >{tmp_path}/seen')
        for python in (f"~/{home.name}/a python", f"{home.name}/a python"):
            config = {"remote_folder": None, "remote_python": python}
            ssh.run({"model": INT8}, make_samples(1), settings(board, config))
            assert Path((tmp_path / "seen").read_text().strip()).parent == board.remote
            (tmp_path / "seen").unlink()
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize("name", ["-oProxyCommand=touch /tmp/owned", "pi board", "", "pi;reboot", "$(reboot)"])
def test_a_host_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="host"):
        ssh.Config(host=name)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match="a file that exists"):
        ssh.Config(host="pi", key="/no/such/key")


def test_relative_paths_start_at_the_projects_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks.py").touch()
    (tmp_path / "board_key").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    assert ssh.Config(host="pi", key="board_key").key == str((tmp_path / "board_key").resolve())


def test_without_a_board_it_says_where_to_name_one() -> None:
    with pytest.raises(RequestError, match="which board") as caught:
        ssh.run({"model": INT8}, make_samples(1), Settings())
    assert "devices.toml" in caught.value.fix


def test_without_a_client_it_says_how_to_install_it(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentUnsuited) as caught:
        ssh.run({"model": INT8}, make_samples(1), settings(board))
    assert caught.value.fix == "apt-get install openssh-client"


def test_a_build_measures_on_the_board_that_devices_toml_names_and_on_the_host_without(
    board: Board, built: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(built, project)  # its devices.toml is the others' as well
    add_target(
        project,
        "board",
        ('input_dtype = "int8"', 'runner = "ssh"\nrunner_without_device = "host"\ninput_dtype = "int8"'),
        (
            "memory_bytes = 20_000_000",
            'memory_bytes = 20_000_000\nlatency_p50_ms = { limit = 1000.0, device_class = "raspberry-pi" }',
        ),
    )

    def build() -> tuple[dict[str, Any], dict[str, str]]:
        done = json.loads(invoke(project, "build", "--target=board", "--workload=small", "--json").stdout)
        return done, {verdict["metric"]: verdict["verdict"] for verdict in done["verdicts"]}

    here, verdicts = build()
    assert here["device"]["runner"] == "host"
    assert verdicts["latency_p50_ms"] == "not applicable"
    assert "device_differences_max" not in verdicts

    table = board.settings() | {"remote_python": sys.executable, "device_class": "raspberry-pi"}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    (project / "devices.toml").write_text(f"[board]\n{lines}\n")
    there, verdicts = build()
    assert there["device"]["runner"] == "ssh"
    assert there["latency"]["device"]["device_class"] == "raspberry-pi"
    assert set(verdicts.values()) == {"pass"}
    assert {"latency_p50_ms", "memory_bytes", "device_differences_max"} <= set(verdicts)
    assert there["device"]["device_check"]["samples"] > 0
    assert there["device"]["device_check"]["largest_difference_steps"] == 0  # the same kernels
    assert "load_after" in there["device"]["conditions"]
    assert there["sha256"] == here["sha256"]
