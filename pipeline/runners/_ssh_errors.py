"""What can go wrong between here and a board, each with the way out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.errors import EnvironmentUnsuited, PipelineError, RequestError, RunnerFailed

if TYPE_CHECKING:
    from pipeline.runners.ssh import Config

# OpenSSH's own words, and what to do. The first that is found counts.
_REFUSALS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "answers with another host key than the known one",
        "find out why: a new system on the board, or another machine in its place. If it is yours: "
        "ssh-keygen -R {host}, then connect once by hand",
    ),
    (
        "Host key verification failed",
        "has a host key that is not known",
        "connect once by hand, `ssh {host}`, and compare the fingerprint with the board's",
    ),
    (
        "Bad configuration option|[Uu]nsupported option|bad configuration options",
        "is not asked, since ssh does not take an option",
        "correct options in [device] or devices.toml, or ssh's configuration",
    ),
    ("UNPROTECTED PRIVATE KEY FILE", "is not asked, since others can read the key", "chmod 600 {key}"),
    (
        "Permission denied",
        "does not let this user in",
        "ssh-copy-id {host}, or give user and key in [device] or devices.toml; ssh-add a key that has a passphrase",
    ),
    (
        "Could not resolve hostname",
        "has no address",
        "correct host in [device] or devices.toml, or give the board's address",
    ),
    (
        "Connection refused|No route to host|Network is unreachable|Connection timed out|Operation timed out"
        "|timed out during banner exchange",
        "cannot be reached",
        "is the board on, in this network, and its ssh server running (port in [device] or devices.toml)?",
    ),
)
_OUT_OF_TIME = (124, 137)  # how `timeout` ends on the board
# Of a board's disk or quota, as Linux numbers them, which need not be this system's numbers.
_FULL = (28, 122)
# NumPy writes past Python, and has words of its own.
_FULL_TEXT = re.compile(r"\[Errno (28|122)\]|No space left on device|\d+ requested and \d+ written")
_WHEELS = ("aarch64", "x86_64")  # what ai-edge-litert is made for; tflite-runtime also for 32-bit boards


def connection_error(code: int | None, log: str, config: Config, names: str, seconds: float) -> PipelineError:
    """Return why no answer came. code: ssh's exit code, None where it was out of time; log: its standard error."""
    said = log.strip()[-800:] or "nothing"
    if code in (None, *_OUT_OF_TIME):
        return RunnerFailed(
            f"the board {config.host} gave no answer in time, with {names}",
            received=said,
            expected=f"an answer within {seconds:g} s and the time for the transfer",
            fix="raise limits.seconds in the target's TOML if the board is that slow",
        )
    for words, what, fix in _REFUSALS if code == 255 else ():
        if re.search(words, log):
            return RunnerFailed(
                f"the board {config.host} {what}",
                received=said,
                expected="a connection without a question: known host key, key that is accepted",
                fix=fix.format(host=config.host, key=config.key or "the key"),
            )
    if code in (126, 127):
        return EnvironmentUnsuited(
            f"there is no {config.remote_python} on the board {config.host}",
            received=said,
            expected="Python 3.9 or newer",
            fix="apt-get install python3 on the board, or give remote_python in [device] or devices.toml",
        )
    return RunnerFailed(
        f"the connection to the board {config.host} ended without an answer, with {names}",
        received=f"exit code {code}: {said}",
        expected="the answer of the board's Python",
        fix="was it cut, or switched off? Run the command again",
    )


def board_error(result: dict[str, Any], config: Config, names: str) -> PipelineError:
    """Return why the board could not do it. result: what `_ssh_remote.py` answers."""
    text = result.get("text", "") or result.get("log", "").strip()
    kind = result.get("error")
    if result.get("errno") in _FULL or (result.get("code") and _FULL_TEXT.search(text)):
        return RunnerFailed(
            f"the disk of the board {config.host} is full",
            received=text[-800:],
            expected=f"room for the model, the samples, their outputs and times in {_folder(config)}",
            fix="free some space there, or give another remote_folder in [device] or devices.toml",
        )
    if kind == "limit":
        return RunnerFailed(
            f"the interpreter on the board {config.host} overran a limit, with {names}",
            received=text,
            expected="an end within the target's limits",
            fix="raise limits.seconds or limits.resident_megabytes in the target's TOML if the model needs it",
        )
    if kind == "python":
        return EnvironmentUnsuited(
            f"the Python of the board {config.host} is too old",
            received=f"{config.remote_python} is Python {text}",
            expected="Python 3.9 or newer",
            fix="install a newer one there, and give its path as remote_python in [device] or devices.toml",
        )
    if kind == "cpus":
        return RequestError(
            f"the board {config.host} lacks a core that cpus names",
            received=f"cpus = {list(config.cpus or ())}",
            expected=f"some of its cores: {text}",
            fix="correct cpus in [device] or devices.toml",
        )
    if kind == "system":
        return RunnerFailed(
            f"the board {config.host} refuses a file operation",
            received=text,
            expected=f"a folder {_folder(config)} that can be written, and {config.remote_python} that starts",
            fix="give another remote_folder or remote_python in [device] or devices.toml",
        )
    errors = "; ".join(re.findall(r"^\w*Error: .*", text, re.MULTILINE))
    if "numpy.core.multiarray failed to import" in errors:
        return EnvironmentUnsuited(
            f"the NumPy of the board {config.host} is newer than its interpreter was made for",
            received=errors,
            expected="NumPy 1 with tflite-runtime",
            fix=f"on the board: {config.remote_python} -m pip install 'numpy<2'",
        )
    if found := re.search(r"No module named '(\w+)", text):
        litert = "ai-edge-litert" if result["board"]["machine"] in _WHEELS else "tflite-runtime 'numpy<2'"
        package = litert if found[1] in ("ai_edge_litert", "tflite_runtime") else found[1]
        return EnvironmentUnsuited(
            f"the Python of the board {config.host} has no {package.partition(' ')[0]}",
            received=errors,
            expected="numpy, and ai-edge-litert or tflite-runtime",
            fix=f"on the board: {config.remote_python} -m pip install {package}. Where the system's Python takes no "
            f"packages: python3 -m venv litert && litert/bin/pip install {litert}, and "
            'remote_python = "~/litert/bin/python" in [device] or devices.toml',
        )
    return RunnerFailed(
        f"the interpreter on the board {config.host} crashed, with {names}",
        received=f"exit code {result.get('code')}; its last words: {text[-800:] or 'none'}",
        expected="exit code 0",
        fix="the file may use an operator that the board's interpreter lacks: try a newer interpreter there",
    )


def _folder(config: Config) -> str:
    return config.remote_folder or "its TMPDIR or /tmp"
