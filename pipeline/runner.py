"""The Runner contract: one module of `pipeline/runners/` (or the project's `runners/`) a device kind.

A runner takes `.tflite` files to a device, invokes them there and brings samples back. It
knows nothing of training, targets or budgets. It defines:

    DESCRIPTION: str              one line for tables
    VERSION: str                  enters every stored measurement; raised when timing code changes
    MEASURES_TIME: bool           false where there are no times, or they mean nothing: no benchmark lock is
                                  taken, and a comparison takes its times from the evaluating runner
    Config                        optional: frozen pydantic model of the target's [device] table; without
                                  it the runner takes no settings of its own
    EVALUATED_BY: str             optional: the runner that evaluates and verifies files for this one, "host"
                                  for a device that is slow to reach; the device's own outputs are then
                                  compared with that runner's on some images (device_check.py)
    TAKES_BASELINE: bool          optional, default true: whether the float file is sent to the device as well
    device(settings) -> Device    what it runs on, without running a model; the same at every call
    run(models, samples, settings) -> RunResult
        models:  {name: path of a .tflite}; variants that are compared go into one call, which
                 loads all of them in one process and interleaves their rounds; may be empty,
                 which gives the resident size of the bare process
        samples: float32 [n, *input_shape], preprocessed; the runner applies the input's scale
                 and zero point itself and refuses values outside what they can express; None:
                 seeded random values
        Raises BadModelFile for a file that is no model, RunnerFailed when the device cannot be reached, its
        process crashes, hangs, or overruns a limit. EnvironmentUnsuited when a component is missing, with
        the command that installs it.
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


class Device(BaseModel):
    """What a number was measured on. Two measurements compare only where all of it is equal."""

    model_config = ConfigDict(frozen=True)

    device_class: str = Field(description="What a latency budget's device_class is matched with.")
    name: str = Field(description="Processor or board, as the device names itself.")
    fingerprint: dict[str, str] = Field(description="Cores, architecture, system and interpreter versions.")
    emulated: bool = Field(
        False, description="True where another processor stands in for the device's: its times decide no verdict."
    )


class Figure(BaseModel):
    """One number that a device tells of a file, besides times."""

    model_config = ConfigDict(frozen=True)

    value: float = Field(description="The number, in the unit that its name ends with.")
    estimated: bool = Field(False, description="True where a tool computed it and nothing was run.")
    note: str = Field("", description="Where it comes from, or what it leaves out.")


@dataclass(frozen=True)
class Settings:
    """How a device is asked to run."""

    threads: int = 1
    rounds: int = 0  # timed rounds of each model; 0 invokes each sample once, for its outputs
    outputs: bool = True  # bring back every sample's output
    resident_megabytes: int = 2048  # limits of the device's process; a crash there is an error here
    seconds: float = 60.0  # for each model
    config: BaseModel | None = None  # the runner's own Config; None: its defaults


@dataclass(frozen=True)
class ModelRun:
    """What one model did."""

    outputs: np.ndarray | None  # float32 [n, *output_shape], scale and zero point applied; None where it has none
    times_ns: np.ndarray  # int64 [rounds, invocations a round]; empty without timed rounds
    kernels: str  # who computed: "XNNPACK delegate, 5 of 5 operators", "reference kernels", …
    first_answer_ns: int | None = None  # from the file on disk to its first output; None where it is not measured
    invocations_a_time: int = 1  # that each of times_ns is the mean or median of
    first_inference_ns: int | None = None  # the first invocation alone, of a model that is loaded
    memory_bytes: int | None = None  # growth of its own process's peak resident size, where the device tells just that
    figures: dict[str, Figure] = field(default_factory=dict)  # such as arena_bytes; budgets name them
    files: dict[str, bytes] = field(default_factory=dict)  # what is published beside the model, by file name


@dataclass(frozen=True)
class RunResult:
    """What came back from one process on the device."""

    device: Device
    peak_resident_bytes: int | None  # the process's highest resident size; None where it does not tell
    models: dict[str, ModelRun] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)  # governor, temperature, load: what varies by itself


def find_runner(name: str, root: Path | None = None, *, where: str = "") -> ModuleType:
    """Return the runner's module. Raises UnknownName with the nearest known one."""
    return find_module("runners", name, root, kind="runner", marker="def run(", where=where)
