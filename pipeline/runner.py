"""The Runner contract: one module of `pipeline/runners/` (or the project's `runners/`) a device kind.

A runner takes `.tflite` files to a device, invokes them there and brings samples back. It
knows nothing of training, targets or budgets. It defines:

    DESCRIPTION: str              one line for tables
    VERSION: str                  enters every stored measurement; raised when timing code changes
    MEASURES_TIME: bool           false where the times mean nothing (no benchmark lock is taken)
    device() -> Device            what it runs on, without running anything
    run(models, samples, settings) -> RunResult
        models:  {name: path of a .tflite}; variants that are compared go into one call, which
                 loads all of them in one process and interleaves their rounds; may be empty,
                 which gives the resident size of the bare process
        samples: float32 [n, *input_shape], preprocessed; the runner applies the input's scale
                 and zero point itself and refuses values outside what they can express
        Raises BadModelFile for a file that is no model, RunnerFailed when the device's process
        crashes, hangs, or overruns a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from pipeline.lookup import find_module

if TYPE_CHECKING:
    import numpy as np

    from pipeline.target import Target


class Device(BaseModel):
    """What a number was measured on. Two measurements compare only where all of it is equal."""

    model_config = ConfigDict(frozen=True)

    device_class: str = Field(description="What a latency budget's device_class is matched with.")
    name: str = Field(description="Processor or board, as the device names itself.")
    fingerprint: dict[str, str] = Field(description="Cores, architecture, system and interpreter versions.")


@dataclass(frozen=True)
class Settings:
    """How a device is asked to run."""

    threads: int = 1
    rounds: int = 0  # timed rounds of each model; 0 invokes each sample once, for its outputs
    outputs: bool = True  # bring back every sample's output
    resident_megabytes: int = 2048  # limits of the device's process; a crash there is an error here
    seconds: float = 60.0  # for each model


@dataclass(frozen=True)
class ModelRun:
    """What one model did."""

    outputs: np.ndarray | None  # float32 [n, *output_shape], scale and zero point applied
    times_ns: np.ndarray  # int64 [rounds, invocations a round]; empty without timed rounds
    kernels: str  # who computed: "XNNPACK delegate, 5 of 5 operators", "reference kernels", …
    first_answer_ns: int | None = None  # from the file on disk to its first output; None where it is not measured


@dataclass(frozen=True)
class RunResult:
    """What came back from one process on the device."""

    device: Device
    peak_resident_bytes: int | None  # the process's highest resident size; None where it does not tell
    models: dict[str, ModelRun] = field(default_factory=dict)


def settings_of(target: Target, *, files: int = 1, outputs: bool = True) -> Settings:
    """Return how a target's runner is asked to run so many files, which all lie in one process."""
    limits = target.limits
    return Settings(
        target.threads,
        outputs=outputs,
        resident_megabytes=limits.resident_megabytes * files,
        seconds=limits.seconds,
    )


def find_runner(name: str, root: Path | None = None, *, where: str = "") -> ModuleType:
    """Return the runner's module. Raises UnknownName with the nearest known one."""
    return find_module("runners", name, root, kind="runner", marker="def run(", where=where)
