"""A Linux board, such as a Raspberry Pi, reached by OpenSSH's own client, so that the user's configuration counts.

One connection a run: `_ssh_remote.py` goes over standard input to the board's Python and makes a
temporary folder; there the host runner's own child (`_host_child.py`) loads and times the models, so a
board is measured by the same loop as the host. The answer comes back on standard output. The board needs
Python 3.9, numpy, and ai-edge-litert or tflite-runtime. A cut connection, a hanging interpreter or a
full disk ends in an error within the limits, and nothing stays on the board.

An emulator of another architecture (qemu-user) is told by its process and marked: its time decides nothing.
"""

from __future__ import annotations

import functools
import io
import json
import math
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.errors import EnvironmentUnsuited, RequestError
from pipeline.lookup import project_root
from pipeline.runner import Device, RunResult, Settings
from pipeline.runners._files import check_model_file
from pipeline.runners._ssh_errors import board_error, connection_error
from pipeline.runners.host import CHILD, child_request, read_answer, save_samples

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "LiteRT or tflite-runtime on a Linux board, through OpenSSH"
VERSION = "1"
MEASURES_TIME = True
EVALUATED_BY = "host"

REMOTE = Path(__file__).with_name("_ssh_remote.py")
# Reads the script by its length; what follows on standard input is the script's own.
BOOTSTRAP = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
# Takes seconds, and what is run. It ends a Python that does not start, or waits for a connection that died without
# a word. Boards without coreutils do without. exec: no shell stays between, so that signals arrive.
WATCHED = 'command -v timeout >/dev/null || exec "$@"; exec timeout -k 5 "$0" "$@"'
ALIVE_SECONDS = 5  # between two questions whether the other side is still there; three may stay without an answer
TRANSFER_SECONDS = 60  # for both ways, and for Python to start; and besides, for what is sent:
SLOWEST_BYTES_A_SECOND = 500_000
END_SECONDS = 2  # for the board to end by itself what is out of time
POLL_SECONDS = 0.05
LOG_BYTES = 20_000
# What enters the fingerprint, of what the board tells.
DESCRIBED = ("machine", "system", "cores", "processor", "python", "ai-edge-litert", "tflite-runtime", "numpy")


class Config(BaseModel):
    """How to reach the board: the target's [device], or its table in devices.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(description="Name or address of the board, or a Host of the user's ssh configuration.")
    port: int | None = Field(None, ge=1, le=65_535, description="Port; left out: as ssh's configuration says.")
    user: str | None = Field(None, description="User on the board; left out: as ssh's configuration says.")
    key: str | None = Field(None, description="Path of the private key; left out: as ssh's configuration says.")
    known_hosts: str | None = Field(None, description="Path of the known hosts; left out: as ssh's configuration says.")
    config_file: str | None = Field(None, description="Path of an ssh configuration to read instead of the user's.")
    remote_python: str = Field(
        "python3", min_length=1, description="Python on the board: a name or a path, ~/ allowed."
    )
    remote_folder: str | None = Field(
        None, min_length=1, description="Folder on the board for the temporary folder; left out: its TMPDIR, or /tmp."
    )
    cpus: tuple[int, ...] | None = Field(
        None, min_length=1, description="Numbers of the cores that the interpreter may use; left out: all."
    )
    connect_timeout_seconds: int = Field(10, ge=1, le=600, description="Seconds until the connection must stand.")
    options: tuple[str, ...] = Field((), description="Further options for ssh -o, such as ProxyJump=gateway.")
    device_class: str | None = Field(None, min_length=1, description="Class for latency budgets; else linux-<machine>.")
    emulated: bool | None = Field(None, description="Whether an emulator stands in; left out: found out.")

    @field_validator("host", "user")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        # It goes to a command line, where a leading - is an option.
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_\[:%.][\w.:%@\]\[-]*", value):
            raise ValueError("a name or address, which has no spaces and does not start with -")
        return value

    @field_validator("options")
    @classmethod
    def _are_options(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not re.fullmatch(r"[A-Za-z]+[ =]\S.*", value):
                raise ValueError("options of ssh_config, each Name=value")
        return values

    @field_validator("key", "known_hosts", "config_file")
    @classmethod
    def _is_a_file(cls, value: str | None) -> str | None:
        if value is None:
            return None
        path = project_root() / Path(value).expanduser()  # where relative paths start
        if not path.is_file():
            raise ValueError("the path of a file that exists")
        return str(path.resolve())


def device(settings: Settings) -> Device:
    """Return the board. Raises what `run` raises: it is asked over the connection, once a process."""
    return _board(_config(settings))


@functools.cache
def _board(config: Config) -> Device:
    with tempfile.TemporaryDirectory(prefix="pipeline-ssh-") as name:
        return _ask(config, {}, None, Settings(), Path(name))[0]


def run(models: Mapping[str, Path], samples: np.ndarray | None, settings: Settings) -> RunResult:
    """Invoke the models on samples float32 [n, *input_shape] in one fresh process on the board.

    Raises BadModelFile and DataError as the host runner does, RunnerFailed when the board cannot be
    reached, refuses, or overruns a limit, EnvironmentUnsuited when something is not installed here or
    there, RequestError without a host.
    """
    for path in models.values():
        check_model_file(path)
    with tempfile.TemporaryDirectory(prefix="pipeline-ssh-") as name:
        folder = Path(name)
        found, remote = _ask(_config(settings), models, samples, settings, folder)
        conditions = {f"{key}_before": value for key, value in remote["before"].items()}
        conditions |= {f"{key}_after": value for key, value in remote["after"].items()}
        count = None if samples is None else len(samples)
        return read_answer(folder, models, settings, found, conditions, count)


def _config(settings: Settings) -> Config:
    if isinstance(settings.config, Config):
        return settings.config
    raise RequestError(
        "the ssh runner does not know which board",
        received="no [device] table",
        expected='host = "…" in the target\'s [device] table or in devices.toml',
        fix='write [<target>] and host = "raspberrypi.local" into devices.toml beside tasks.py',
    )


def _ask(
    config: Config, models: Mapping[str, Path], samples: np.ndarray | None, settings: Settings, folder: Path
) -> tuple[Device, dict[str, Any]]:
    """Run the child on the board; put its files into `folder`; return the board, and its answer but for the files."""
    marker = f"answer-{secrets.token_hex(8)}"
    seconds = settings.seconds * max(1, len(models))
    names = ", ".join(map(str, models.values())) or "no model"
    sent_as = [f"{number}.tflite" for number in range(len(models))]
    asked = child_request(models, samples, settings) | {"models": sent_as}
    (folder / "request.json").write_text(json.dumps(asked), encoding="utf-8")
    files = {
        "request.json": folder / "request.json",
        CHILD.name: CHILD,
        **dict(zip(sent_as, models.values(), strict=True)),
    }
    if samples is not None:
        save_samples(folder, samples)
        files["samples.npy"] = folder / "samples.npy"
    sizes = {name: path.stat().st_size for name, path in files.items()}
    transfer_seconds = TRANSFER_SECONDS + sum(sizes.values()) // SLOWEST_BYTES_A_SECOND
    request = {
        "marker": marker,
        "python": config.remote_python,
        "folder": config.remote_folder,
        "cpus": config.cpus,
        "seconds": seconds,
        "bytes": settings.resident_megabytes * 1_000_000,
        "files": sizes,
    }
    script = REMOTE.read_bytes()
    head = f"{len(script)}\n".encode() + script + json.dumps(request).encode() + b"\n"
    code, out, log = _connect(config, head, list(files.values()), transfer_seconds + math.ceil(seconds), folder)
    answer = _read(out, marker)
    if answer is None:
        raise connection_error(code, log, config, names, seconds)
    told, contents = answer
    if "error" in told or told["code"] or "result.json" not in contents:
        raise board_error(told, config, names)
    for name, content in contents.items():
        (folder / Path(name).name).write_bytes(content)
    return _device(told, config), told


def _connect(
    config: Config, head: bytes, paths: Sequence[Path], seconds: int, folder: Path
) -> tuple[int | None, bytes, str]:
    """Return exit code (None: out of time), standard output and the last of standard error of `ssh`.

    Its standard input, which gets `head` and the files, stays open until it ends: on the board, the
    end of it means that this side is gone.
    """
    with (folder / "ssh.out").open("w+b") as out, (folder / "ssh.log").open("w+b") as log:
        try:
            process = subprocess.Popen(_command(config, seconds), stdin=subprocess.PIPE, stdout=out, stderr=log)
        except FileNotFoundError as error:
            raise no_client() from error
        writer = threading.Thread(target=_write, args=(process.stdin, head, paths), daemon=True)
        writer.start()
        deadline = time.monotonic() + config.connect_timeout_seconds + seconds + END_SECONDS
        try:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            code = process.poll()
        finally:  # also on KeyboardInterrupt
            process.kill()
            process.wait()
            writer.join(timeout=1)
        out.seek(0)
        log.seek(max(0, log.seek(0, io.SEEK_END) - LOG_BYTES))
        return code, out.read(), log.read().decode(errors="replace")


def no_client() -> EnvironmentUnsuited:
    """Return the error of a machine without `ssh`, with the command that installs it."""
    return EnvironmentUnsuited(
        "there is no ssh client",
        received="no program named ssh",
        expected="OpenSSH's client",
        fix="apt-get install openssh-client",
    )


def _write(pipe: BinaryIO, head: bytes, paths: Sequence[Path]) -> None:
    try:
        pipe.write(head)
        for path in paths:
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, pipe)
        pipe.flush()
    except OSError:
        pass  # ssh has ended, and says itself why


def _command(config: Config, seconds: int) -> list[str]:
    # The first value of an option counts: none of these is left to the user's configuration.
    options = [
        "BatchMode=yes",  # nobody is there to type a password
        f"ConnectTimeout={config.connect_timeout_seconds}",
        f"ServerAliveInterval={ALIVE_SECONDS}",
        "ServerAliveCountMax=3",
        "RemoteCommand=none",
        "ClearAllForwardings=yes",
        *([f"UserKnownHostsFile={_literally(config.known_hosts)}"] if config.known_hosts else []),
        *([f"IdentityFile={_literally(config.key)}", "IdentitiesOnly=yes"] if config.key else []),
        *config.options,
    ]
    command = ["ssh", "-T", *(part for option in options for part in ("-o", option))]
    for flag, value in (("-F", config.config_file), ("-p", config.port), ("-l", config.user)):
        command += [flag, str(value)] if value is not None else []
    python = shlex.quote(config.remote_python)
    if config.remote_python.startswith("~/"):
        python = f'"$HOME"/{shlex.quote(config.remote_python[2:])}'
    # -u: an answer must not wait in a buffer.
    watched = f"exec sh -c {shlex.quote(WATCHED)} {seconds} {python} -u -c {shlex.quote(BOOTSTRAP)}"
    return [*command, "--", config.host, watched]


def _literally(path: str) -> str:
    """Return a path as ssh's options take it, where spaces part several and % starts the name of something."""
    return '"' + path.replace("%", "%%") + '"'


def _device(told: dict[str, Any], config: Config) -> Device:
    board = told["board"]
    emulated = told["emulated"] if config.emulated is None else config.emulated
    name = board["model"] or board["processor"] or board["machine"]
    cpus = {"cpus": ", ".join(map(str, config.cpus))} if config.cpus else {}
    return Device(
        device_class=config.device_class or f"{board['system']}-{board['machine']}".lower(),
        name=f"{board['machine']} emulated on {name}" if emulated else name,
        fingerprint={key: board[key] for key in DESCRIBED if board.get(key)} | cpus,
        emulated=emulated,
    )


def _read(out: bytes, marker: str) -> tuple[dict[str, Any], dict[str, bytes]] | None:
    """Return the answer and its files, which follow the marker, whatever a login shell said before.

    None where it is not whole.
    """
    _, _, rest = out.partition(f"\n{marker}\n".encode())
    line, newline, rest = rest.partition(b"\n")
    if not newline:
        return None
    told = json.loads(line)
    contents = {}
    for name, count in told["files"].items():
        contents[name], rest = rest[:count], rest[count:]
        if len(contents[name]) < count:
            return None
    return told, contents
