"""What can go wrong between here and a board, each with the way out."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any

from pipeline.errors import EnvironmentUnsuited, PipelineError, RunnerFailed

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
    ("Permission denied", "does not let this user in", "ssh-copy-id {host}, or give user and key in [device]"),
    ("Could not resolve hostname", "has no address", "correct host in [device], or give the board's address"),
    (
        "Connection refused|No route to host|Network is unreachable|Connection timed out|Operation timed out"
        "|timed out during banner exchange",
        "cannot be reached",
        "is the board on, in this network, and its ssh server running (port in [device])?",
    ),
)
_MODULES = {
    "numpy": "numpy",
    "ai_edge_litert": "ai-edge-litert",
    "tflite_runtime": "ai-edge-litert",
}


def connection_error(code: int | None, log: str, config: Config, names: str, seconds: float) -> PipelineError:
    """Return why no answer came. code: ssh's exit code, None where it was out of time; log: its standard error."""
    said = log.strip()[-800:] or "nothing"
    if code is None:
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
                fix=fix.format(host=config.host),
            )
    if code in (126, 127):
        return EnvironmentUnsuited(
            f"there is no {config.remote_python} on the board {config.host}",
            received=said,
            expected="Python 3.9 or newer",
            fix="apt-get install python3 on the board, or give remote_python in [device]",
        )
    return RunnerFailed(
        f"the connection to the board {config.host} ended without an answer, with {names}",
        received=f"exit code {code}: {said}",
        expected="the answer of the board's Python",
        fix="was it cut, or switched off? Run the command again",
    )


def board_error(result: dict[str, Any], config: Config, names: str) -> PipelineError:
    """Return why the board could not do it. result: `remote-result.json`."""
    text = result.get("text", "") or result.get("log", "").strip()
    if result.get("errno") == errno.ENOSPC or "No space left on device" in text:
        return RunnerFailed(
            f"the disk of the board {config.host} is full",
            received=text,
            expected=f"room for the model, the samples and their outputs in {config.remote_folder}",
            fix="free some space there, or give another remote_folder in [device]",
        )
    if result.get("error") == "limit":
        return RunnerFailed(
            f"the interpreter on the board {config.host} overran a limit, with {names}",
            received=text,
            expected="an end within the target's limits",
            fix="raise limits.seconds or limits.resident_megabytes in the target's TOML if the model needs it",
        )
    if result.get("error") == "system":
        return RunnerFailed(
            f"the board {config.host} refuses a file operation",
            received=text,
            expected=f"a folder {config.remote_folder} that can be written, and {config.remote_python} that starts",
            fix="give another remote_folder or remote_python in [device]",
        )
    if found := re.search(r"No module named '(\w+)", text):
        package = _MODULES.get(found[1], found[1])
        return EnvironmentUnsuited(
            f"the Python of the board {config.host} has no {package}",
            received=text.splitlines()[-1],
            expected="numpy, and ai-edge-litert or tflite-runtime",
            fix=f"on the board: {config.remote_python} -m pip install {package}",
        )
    return RunnerFailed(
        f"the interpreter on the board {config.host} crashed, with {names}",
        received=f"exit code {result.get('code')}; its last words: {text[-800:] or 'none'}",
        expected="exit code 0",
        fix="the file may use an operator that the board's interpreter lacks: try a newer interpreter there",
    )
