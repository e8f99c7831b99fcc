"""Arm's compiler Vela on one file, in a child process with limits, and what it writes down.

The compiler reads an untrusted file in C++ and ends with a signal on some that are damaged.
"""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from pipeline.errors import BadModelFile, EnvironmentUnsuited, RunnerFailed
from pipeline.flatbuffer import ModelFile, read_model
from pipeline.runners._child import peak_of_process

CHILD = Path(__file__).with_name("_vela_child.py")
POLL_SECONDS = 0.02
NPU_OPERATOR = "ethos-u"  # the custom operator that holds a command stream
# A warning's reason, without the tensor of this file that it was found at.
_REASON = re.compile(r"^Reason: (.*?)(?: \([^()]*\))?$", re.MULTILINE)


@dataclass(frozen=True)
class Compiled:
    """What Vela made of one file."""

    model: ModelFile  # the compiled file
    summary: dict[str, float]  # the numbers of the summary's only line, by column; memory in KiB, times in s
    reasons: tuple[str, ...]  # why operators stay on the CPU, in Vela's words, each once

    @property
    def cpu_operators(self) -> list[str]:
        """Names of the operators that stay on the CPU, in the file's order."""
        return [name for name in operator_names(self.model) if name != NPU_OPERATOR]


def operator_names(model: ModelFile) -> list[str]:
    """Return the operators' names over all graphs, in the file's order."""
    return [operator.name for graph in model.subgraphs for operator in graph.operators]


def vela_distribution() -> Distribution:
    """Return the installed compiler. Raises EnvironmentUnsuited with the command that installs it."""
    try:
        return distribution("ethos-u-vela")
    except PackageNotFoundError as error:
        raise EnvironmentUnsuited(
            "the runner 'vela' needs ethos-u-vela, which is not installed",
            received="no such distribution",
            expected="Arm's compiler for Ethos-U, the distribution ethos-u-vela",
            fix="pip install 'edge-deployment-pipeline[micro]'",
        ) from error


def compile_model(path: Path, options: list[str], *, seconds: float, megabytes: int) -> tuple[ModelFile, Compiled]:
    """Read and compile a file; return it as it was, and what became of it.

    Raises BadModelFile for a file that is no model, RunnerFailed when Vela refuses or crashes,
    overruns a limit, or writes what cannot be read.
    """
    source = read_model(path)
    _refuse_packed(path, source)
    with tempfile.TemporaryDirectory(prefix="pipeline-vela-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(source.content)  # the outputs are named after it
        _run(path, folder, options, seconds, megabytes * 1_000_000)
        try:
            model = read_model(folder / "out" / "model_vela.tflite")
            (summary,) = (folder / "out").glob("model_summary_*.csv")
            with summary.open(newline="", encoding="utf-8") as stream:
                (row,) = csv.DictReader(stream)
        except (BadModelFile, OSError, ValueError) as error:
            raise RunnerFailed(
                f"Vela gave nothing usable for {path}",
                received=str(error),
                expected="a readable model_vela.tflite and a summary of one line",
                fix=_reinstall(),
            ) from error
        return source, Compiled(model, _numbers(row), tuple(dict.fromkeys(_REASON.findall(_log(folder)))))


def _run(path: Path, folder: Path, options: list[str], seconds: float, limit_bytes: int) -> None:
    """Run the child to its end within the limits; never leave it running."""
    command = [sys.executable, "-P", str(CHILD), str(os.getpid()), "model.tflite", "--output-dir=out", *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    deadline = time.monotonic() + seconds
    try:
        while process.poll() is None:
            if (resident := peak_of_process(process.pid) or 0) > limit_bytes:
                raise RunnerFailed(
                    f"Vela overran its memory limit on {path}",
                    received=f"{resident / 1e6:.0f} MB resident",
                    expected=f"at most {limit_bytes / 1e6:.0f} MB",
                    fix="raise limits.resident_megabytes in the target's TOML if the model is that large",
                )
            if time.monotonic() > deadline:
                raise RunnerFailed(
                    f"Vela overran its time limit on {path}",
                    received=f"no end after {seconds:g} s",
                    expected=f"an end within {seconds:g} s",
                    fix="raise limits.seconds in the target's TOML if the model is that large",
                )
            time.sleep(POLL_SECONDS)
    finally:  # also on KeyboardInterrupt
        process.kill()
        process.wait()
    if process.returncode:
        code = process.returncode
        ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        words = _last_words(_log(folder))
        raise RunnerFailed(
            f"Vela cannot compile {path}",
            received=f"{ending}; Vela says: {words or 'nothing'}",
            expected="exit code 0",
            fix="change what Vela names: a setting of [device], or an operator that `invoke inspect` lists",
        )


def _refuse_packed(path: Path, model: ModelFile) -> None:
    """Raise RunnerFailed for weights of less than a byte: Vela 5.2 ends with SIGFPE on them and says nothing."""
    packed = [
        f"{operator.name} {number} ({graph.tensors[index].dtype})"
        for graph in model.subgraphs
        for number, operator in enumerate(graph.operators)
        for index in operator.inputs
        if index >= 0 and 0 < graph.tensors[index].element_bits < 8
    ]
    if packed:
        raise RunnerFailed(
            f"Vela cannot compile {path}: it takes no weights of less than a byte",
            received=", ".join(packed),
            expected="int8 or uint8 weights",
            fix='give these operators the scheme "int8", and leave pack_int4 out of the recipe',
        )


def _last_words(log: str) -> str:
    """Return the error that ended Vela, without the traceback before it."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith(("Warning: ", "Info: "))]
    return " ".join(lines[-1:] if "Traceback" in log else lines)[-800:]


def _numbers(row: dict[str, str]) -> dict[str, float]:
    found = {}
    for name, text in row.items():
        try:
            found[name] = float(text)
        except (TypeError, ValueError):  # names of configurations and memories
            continue
    return found


def _reinstall() -> str:
    return f"pip install 'edge-deployment-pipeline[micro]'; this is ethos-u-vela {vela_distribution().version}"


def _log(folder: Path) -> str:
    return (folder / "log").read_text(encoding="utf-8", errors="replace")
