"""TFLite Micro on this machine: whether it runs a file, in how much arena, and with what answers.

Its reference kernels run in a child process within limits (`_child.py`). They are no microcontroller's,
so their times are not taken. The arena is (https://github.com/tensorflow/tflite-micro,
docs/memory_management.md) all the memory that the interpreter uses besides the file itself. TFLite Micro
records what it took; what counts here is the smallest arena in which it was seen to run.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import BadModelFile, DataError, EnvironmentUnsuited, PipelineError, RunnerFailed
from pipeline.runner import Device, Figure, ModelRun, RunResult, Settings
from pipeline.runners._child import answer_of, read_array, read_result, run_child
from pipeline.runners._files import check_model_file
from pipeline.runners._tflm_sources import sources
from pipeline.runners.host import error_of, save_samples

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "TFLite Micro's reference kernels: tensor arena, answers, C array and resolver"
VERSION = "1"
MEASURES_TIME = False
EVALUATED_BY = "host"
TAKES_BASELINE = False  # there is no time to compare
FLASHED = "model.tflite"  # what a firmware takes in: a release has its bytes as a C array

CHILD = Path(__file__).with_name("_tflm_child.py")
PACKAGE = "tflite-micro"
KERNELS = "TFLite Micro's reference kernels"
ERRORS: dict[str, Callable[..., PipelineError]] = {
    "model": BadModelFile,
    "data": DataError,
    "arena": RunnerFailed,
    "crash": RunnerFailed,
}


class Config(BaseModel):
    """The target's [device] table."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    arena_bytes_max: int | None = Field(
        None,
        gt=0,
        le=2**26,
        description="What the device has for the tensor arena, in bytes; a file that needs more is an error. "
        "Left out: no bound but that of the search, 64 MiB.",
    )


def device(settings: Settings) -> Device:
    """Return the stand-in for a microcontroller. Raises EnvironmentUnsuited where the package is missing."""
    try:
        found = version(PACKAGE)
    except PackageNotFoundError as error:
        raise EnvironmentUnsuited(
            f"the runner tflm needs the package {PACKAGE}",
            received="no such package in this Python",
            expected=f"{PACKAGE}, with TFLite Micro's interpreter",
            fix="pip install 'edge-deployment-pipeline[micro]'",
        ) from error
    return Device(
        device_class="microcontroller",
        name=f"{KERNELS} on {platform.machine()}",
        fingerprint={"machine": platform.machine(), "system": platform.system(), PACKAGE: found},
        emulated=True,
    )


def run(models: Mapping[str, Path], samples: np.ndarray | None, settings: Settings) -> RunResult:
    """Invoke the models on samples float32 [n, *input_shape], each in the smallest arena that is enough.

    Without samples, each gets 8 seeded random ones, as from the host runner. No times. Each model has
    the figure arena_bytes and the files model.cc, model.h and model_ops.h.

    Raises BadModelFile for a file that is no model, or that TFLite Micro does not run (an operator that it
    lacks, a number format, weights behind the flatbuffer); DataError for samples that the input cannot
    express; RunnerFailed for an arena beyond the bound, a crash or an overrun limit;
    EnvironmentUnsuited where the package is missing.
    """
    for path in models.values():
        check_model_file(path)
    here = device(settings)
    if not models:
        return RunResult(here, None)
    config = settings.config if isinstance(settings.config, Config) else Config()
    names = [str(path) for path in models.values()]
    with tempfile.TemporaryDirectory(prefix="pipeline-tflm-") as name:
        folder = Path(name).resolve()
        if samples is not None:
            save_samples(folder, samples)
        request = {
            "models": [str(path.resolve()) for path in models.values()],
            "names": names,
            "samples": samples is not None,
            "outputs": settings.outputs,
            "arena_bytes_max": config.arena_bytes_max,
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        # -P: without the current folder on its path, whose files could pass for modules.
        sandbox = run_child([sys.executable, "-P", str(CHILD), str(folder)], folder, models.values(), settings)
        with answer_of(", ".join(names)):
            runs = _answer(folder, models, settings, None if samples is None else len(samples))
    # Its memory is this machine's and not a microcontroller's, so it is not told.
    return RunResult(here, None, runs, {"sandbox": sandbox})


def _answer(folder: Path, models: Mapping[str, Path], settings: Settings, count: int | None) -> dict[str, ModelRun]:
    """Read the files that the child's docstring names."""
    import numpy as np

    result = read_result(folder)
    if "error" in result:
        raise error_of(result["error"], ERRORS)
    return {
        name: ModelRun(
            outputs=read_array(folder / f"{index}.outputs.npy", "float32", 1, count) if settings.outputs else None,
            times_ns=np.empty((0, 0), np.int64),
            kernels=f"{KERNELS}, {len(told['operators'])} kinds of operators",
            figures={"arena_bytes": _arena(told)},
            files=sources(path.read_bytes(), told["operators"], str(path)),
        )
        for index, ((name, path), told) in enumerate(zip(models.items(), result["models"], strict=True))
    }


def _arena(told: dict[str, Any]) -> Figure:
    """Return the confirmed arena, with what TFLite Micro itself says of it."""
    arena, recorded = int(told["arena_bytes"]), told["recorded_bytes"]
    compared = "nothing" if recorded is None else "as much" if int(recorded) == arena else f"{int(recorded)} bytes"
    return Figure(
        value=arena,
        note=f"the smallest in steps of 16 bytes in which it answered the same; TFLite Micro records {compared}; "
        "with this machine's pointers of 64 bits, where a microcontroller's have 32",
    )
