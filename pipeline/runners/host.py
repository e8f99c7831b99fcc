"""The reference runner: LiteRT's interpreter on this machine, in a child process with limits.

A model that crashes the interpreter, eats memory or never ends is an error here, not the end
of the build, and one that takes the interpreter over finds itself in a sandbox (`_child.py`). The
child loads no TensorFlow and dies with this process, however this one ends.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadModelFile, DataError, PipelineError
from pipeline.runner import Device, ModelRun, RunResult, Settings
from pipeline.runners._child import (
    answer_of,
    peak_resident_bytes,
    read_array,
    read_log,
    read_result,
    run_child,
)
from pipeline.runners._files import check_model_file

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "LiteRT's interpreter on this machine, in a child process"
VERSION = "1"
MEASURES_TIME = True

CHILD = Path(__file__).with_name("_host_child.py")
ERRORS: dict[str, Callable[..., PipelineError]] = {"model": BadModelFile, "data": DataError}


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
    for path in models.values():
        check_model_file(path)
    with tempfile.TemporaryDirectory(prefix="pipeline-host-") as name:
        folder = Path(name).resolve()
        if samples is not None:
            save_samples(folder, samples)
        (folder / "request.json").write_text(json.dumps(child_request(models, samples, settings)), encoding="utf-8")
        # -P: without the current folder on its path, whose files could pass for modules.
        command = [sys.executable, "-P", str(CHILD), str(folder)]
        sandbox = run_child(command, folder, models.values(), settings)
        count = None if samples is None else len(samples)
        return read_answer(folder, models, settings, device(settings), {"sandbox": sandbox, **governor()}, count)


def save_samples(folder: Path, samples: np.ndarray) -> None:
    """Write the child's samples. Raises DataError for what is no float32 [n, *input_shape]."""
    import numpy as np

    check_samples(samples)
    np.save(folder / "samples.npy", samples)


def child_request(models: Mapping[str, Path], samples: np.ndarray | None, settings: Settings) -> dict[str, Any]:
    """Return the child's `request.json`."""
    return {
        "models": [str(path.resolve()) for path in models.values()],
        "names": [str(path) for path in models.values()],
        "samples": samples is not None,
        "threads": settings.threads,
        "rounds": settings.rounds,
        "outputs": settings.outputs,
    }


def read_answer(
    folder: Path,
    models: Mapping[str, Path],
    settings: Settings,
    found: Device,
    conditions: dict[str, str],
    count: int | None,
) -> RunResult:
    """Return what the child left in its folder, where `count` samples were sent (None: random ones).

    Raises BadModelFile or DataError as the child says, RunnerFailed where the answer cannot be read.
    """
    import numpy as np

    with answer_of(", ".join(map(str, models.values()))):
        result = read_result(folder)
        if "error" in result:
            raise error_of(result["error"])
        log = read_log(folder)
        runs = {
            name: ModelRun(
                outputs=read_array(folder / f"{index}.outputs.npy", "float32", 1, count) if settings.outputs else None,
                times_ns=(
                    read_array(folder / f"{index}.times.npy", "int64", 2, settings.rounds)
                    if settings.rounds
                    else np.empty((0, 0), np.int64)
                ),
                kernels=_kernels(result["operators"][index], log),
                first_answer_ns=int(result["first_answer_ns"][index]),
                first_inference_ns=int(result["first_inference_ns"][index]),
            )
            for index, name in enumerate(models)
        }
        told = {name: f"{float(result[name]):.4f}" for name in ("other_load", "steal") if result.get(name) is not None}
        return RunResult(found, peak_resident_bytes(folder), runs, conditions | told)


def error_of(described: dict[str, str], kinds: Mapping[str, Callable[..., PipelineError]] = ERRORS) -> PipelineError:
    """Return the error that a child's `Refused` described, of one of these kinds."""
    fields = dict(described)
    return kinds[fields.pop("kind")](**fields)


def check_samples(samples: np.ndarray) -> None:
    """Raise DataError unless these are float32 [n, *input_shape], at least one."""
    if samples.dtype != "float32" or samples.ndim < 2 or not samples.size:
        raise DataError(
            "the samples are not what a runner takes",
            received=f"{samples.dtype} {list(samples.shape)}",
            expected="preprocessed samples, float32 [n, *input_shape], at least one",
            fix="pass what the workload's preprocess() returns",
        )


def governor() -> dict[str, str]:
    """Return the frequency governors of this machine's cores; empty where it does not tell."""
    found = set()
    for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with contextlib.suppress(OSError):
            found.add(path.read_text().strip())
    return {"governor": ", ".join(sorted(found))} if found else {}


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


def _processor_name() -> str | None:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None
