"""The reference runner: LiteRT's interpreter on this machine, in a child process with limits.

A model that crashes the interpreter, eats memory or never ends is an error here, not the end
of the build. The child loads no TensorFlow and dies with this process, however this one ends.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import BadModelFile, DataError, RequestError, RunnerFailed
from pipeline.runner import Device, ModelRun, RunResult, Settings
from pipeline.runners._files import check_model_file

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "LiteRT's interpreter on this machine, in a child process"
VERSION = "1"
MEASURES_TIME = True

CHILD = Path(__file__).with_name("_host_child.py")
POLL_SECONDS = 0.02
ERRORS: dict[str, type[RequestError]] = {"model": BadModelFile, "data": DataError}


def device(settings: Settings) -> Device:
    """Return this machine, for instance of class "linux-x86_64"."""
    return _this_machine()


@functools.cache
def _this_machine() -> Device:
    system, machine = platform.system(), platform.machine()
    return Device(
        device_class=f"{system}-{machine}".lower(),
        name=_processor_name() or platform.processor() or machine,
        fingerprint={
            "cores": str(os.cpu_count()),
            "machine": machine,
            "system": system,
            "python": platform.python_version(),
            "ai-edge-litert": version("ai-edge-litert"),
        },
    )


def run(models: Mapping[str, Path], samples: np.ndarray | None, settings: Settings) -> RunResult:
    """Invoke the models on samples float32 [n, *input_shape] in one fresh child process.

    Without samples, each model gets 8 seeded random ones of its own input shapes, over the range
    that a quantized input can express and 0 to 1 otherwise; so any file can be measured, with any
    number of inputs. The outputs mean nothing then.

    Raises BadModelFile for a file that is no model or does not fit the samples, DataError for
    samples that the input cannot express, RunnerFailed when the child crashes or overruns a limit.
    """
    import numpy as np

    for path in models.values():
        check_model_file(path)
    with tempfile.TemporaryDirectory(prefix="pipeline-host-") as name:
        folder = Path(name)
        if samples is not None:
            check_samples(samples)
            np.save(folder / "samples.npy", samples)
        request = {
            "parent": os.getpid(),
            "models": [str(path) for path in models.values()],
            "samples": samples is not None,
            "threads": settings.threads,
            "rounds": settings.rounds,
            "outputs": settings.outputs,
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        _run_child(folder, models.values(), settings)
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if "error" in result:
            raise error_of(result["error"])
        log = _log(folder)
        runs = {
            name: ModelRun(
                outputs=np.load(folder / f"{index}.outputs.npy") if settings.outputs else None,
                times_ns=np.load(folder / f"{index}.times.npy") if settings.rounds else np.empty((0, 0), np.int64),
                kernels=_kernels(result["operators"][index], log),
                first_answer_ns=result["first_answer_ns"][index],
            )
            for index, name in enumerate(models)
        }
        return RunResult(device(settings), _peak_resident_bytes(folder / "status"), runs)


def _run_child(folder: Path, paths: Collection[Path], settings: Settings) -> None:
    """Run the child to its end within the limits. Raises RunnerFailed; never leaves it running."""
    names = ", ".join(str(path) for path in paths) or "no model"
    limit_bytes = settings.resident_megabytes * 1_000_000
    limit_seconds = settings.seconds * max(1, len(paths))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            # -P: without the current folder on its path, whose files could pass for modules.
            [sys.executable, "-P", str(CHILD), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # NumPy's own threads compute nothing here, and their buffers would blur the memory.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    deadline = time.monotonic() + limit_seconds
    status = Path(f"/proc/{process.pid}/status")
    try:
        while process.poll() is None:
            _check_memory(status, limit_bytes, names)
            if time.monotonic() > deadline:
                raise _failed(
                    f"the interpreter's process with {names} overran its time limit",
                    f"no end after {limit_seconds:g} s",
                    f"an end within {limit_seconds:g} s",
                    "raise limits.seconds in the target's TOML if the model is that slow",
                )
            time.sleep(POLL_SECONDS)
    finally:  # also on KeyboardInterrupt
        process.kill()
        process.wait()
    _check_memory(folder / "status", limit_bytes, names)
    if process.returncode or not (folder / "result.json").is_file():
        raise _failed(
            f"the interpreter's process with {names} crashed",
            f"{_ending(process.returncode)}; its last words: {_log(folder)[-800:].strip() or 'none'}",
            "exit code 0",
            "the file may be damaged or use an operator that crashes: inspect it, or build it again",
        )


def _check_memory(status: Path, limit_bytes: int, names: str) -> None:
    # The peak and not the present size, so that nothing is missed between two looks.
    peak = _peak_resident_bytes(status)
    if peak is not None and peak > limit_bytes:
        raise _failed(
            f"the interpreter's process with {names} overran its memory limit",
            f"{peak / 1e6:.0f} MB resident",
            f"at most {limit_bytes / 1e6:.0f} MB",
            "raise limits.resident_megabytes in the target's TOML if the model is that large",
        )


def _peak_resident_bytes(status: Path) -> int | None:
    """Return VmHWM of a /proc/…/status, which starts anew at exec; None where there is no /proc."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def error_of(refused: dict[str, str]) -> RequestError:
    """Return the project's error for what the child refused: its fields and their kind."""
    return ERRORS[refused["kind"]](**{key: value for key, value in refused.items() if key != "kind"})


def check_samples(samples: np.ndarray) -> None:
    """Raise DataError unless these are float32 [n, *input_shape], at least one."""
    if samples.dtype != "float32" or samples.ndim < 2 or not samples.size:
        raise DataError(
            "the samples are not what a runner takes",
            received=f"{samples.dtype} {list(samples.shape)}",
            expected="preprocessed samples, float32 [n, *input_shape], at least one",
            fix="pass what the workload's preprocess() returns",
        )


def _kernels(operators: list[int] | None, log: str) -> str:
    """Say who computed, for instance "XNNPACK delegate, 5 of 5 operators"."""
    if operators is None:
        return "unknown"
    delegated, total = operators
    if not delegated:
        return f"built-in kernels, {total} operators"
    # The interpreter names the delegate that it applies by default in its log and nowhere else.
    name = "XNNPACK delegate" if "XNNPACK delegate" in log else "unnamed delegate"
    return f"{name}, {delegated} of {total} operators"


def _log(folder: Path) -> str:
    return (folder / "log").read_text(encoding="utf-8", errors="replace")


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _failed(message: str, received: str, expected: str, fix: str) -> RunnerFailed:
    return RunnerFailed(message, received=received, expected=expected, fix=fix)


def _processor_name() -> str | None:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None
