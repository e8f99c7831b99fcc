"""A target says where a model must run: runner, number formats, limits, budgets and recipe.

It is data: `targets/<name>.toml`, the project's own or a shipped one. Every mistake in the
file is found here or in `plan.py`, before anything runs, and is named by file and key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, RootModel

from pipeline.errors import BadTarget, UnknownName
from pipeline.lookup import find_file, is_plain_name, known_names, project_root
from pipeline.toml_files import Strict, read_toml

DEVICES = "devices.toml"
Dtype = Literal["float32", "int8", "uint8", "int16"]


class LatencyBudget(Strict):
    """A latency limit that binds on one class of device and is not applicable elsewhere."""

    limit: float = Field(gt=0, description="Highest latency in milliseconds; decided by the whole interval.")
    device_class: str = Field(
        min_length=1, description="Class of device on which the limit binds, as its runner names it."
    )


class Budgets(Strict):
    """What the file may cost at most and must give at least. A limit that is left out does not bind."""

    size_bytes: int | None = Field(None, gt=0, le=2**53, description="Highest size of the .tflite in bytes.")
    accuracy_min: float | None = Field(
        None, ge=0, le=1, description="Lowest share of test samples classified correctly, 0 to 1."
    )
    accuracy_drop_max: float | None = Field(
        None, ge=0, le=1, description="Highest loss of test accuracy against the float32 file, 0 to 1."
    )
    f1_min: float | None = Field(None, ge=0, le=1, description="Lowest F1 on the test split, 0 to 1.")
    f1_drop_max: float | None = Field(
        None, ge=0, le=1, description="Highest loss of F1 against the float32 file, 0 to 1."
    )
    auc_min: float | None = Field(
        None, ge=0, le=1, description="Lowest area under the ROC curve on the test split, 0 to 1."
    )
    auc_drop_max: float | None = Field(
        None, ge=0, le=1, description="Highest loss of that area against the float32 file, 0 to 1."
    )
    mean_absolute_error_max: float | None = Field(
        None, ge=0, description="Highest mean absolute error on the test split, in the labels' unit."
    )
    mean_absolute_error_rise_max: float | None = Field(
        None, ge=0, description="Highest rise of that error against the float32 file, in the labels' unit."
    )
    latency_p50_ms: LatencyBudget | None = Field(None, description="Highest median latency.")
    latency_p90_ms: LatencyBudget | None = Field(None, description="Highest 90th percentile of latency.")
    speedup_min: float | None = Field(
        None, gt=0, description="Lowest ratio of the float32 file's median latency to this file's."
    )
    memory_bytes: int | None = Field(
        None, gt=0, le=2**53, description="Highest growth in bytes of the interpreter process's peak resident size."
    )
    arena_bytes: int | None = Field(
        None, gt=0, le=2**53, description="Highest tensor arena of TFLite Micro, in bytes, weights not counted."
    )
    sram_bytes: int | None = Field(
        None, gt=0, le=2**53, description="Highest use of SRAM as the NPU's compiler computes it, in bytes."
    )
    flash_bytes: int | None = Field(
        None, gt=0, le=2**53, description="Highest use of off-chip flash as the NPU's compiler computes it, in bytes."
    )
    npu_operator_share_min: float | None = Field(
        None, ge=0, le=1, description="Lowest share of operators that the NPU computes, 0 to 1."
    )
    npu_cycles_max: int | None = Field(
        None, gt=0, le=2**53, description="Highest cycles of one inference as the NPU's compiler estimates them."
    )
    transfer_gzip_bytes: int | None = Field(
        None, gt=0, le=2**53, description="Highest size of the file when sent with gzip, in bytes."
    )
    transfer_brotli_bytes: int | None = Field(
        None, gt=0, le=2**53, description="Highest size of the file when sent with brotli, in bytes."
    )


class Limits(Strict):
    """What the interpreter's process may use before it is stopped."""

    resident_megabytes: int = Field(2048, gt=0, le=1_048_576, description="Resident memory in megabytes.")
    seconds: float = Field(60.0, gt=0, le=86_400, description="Wall time in seconds for each model.")


class Target(Strict):
    """One `targets/<name>.toml`."""

    description: str = Field(min_length=1, description="One line for tables: the device and what matters there.")
    runner: str = Field("host", description="Name of the runner that measures the file.")
    runner_without_device: str | None = Field(
        None, description="Runner that measures instead until [device], here or in devices.toml, says where to go."
    )
    device: dict[str, Any] = Field(
        {}, description="Settings of the runner: which device, and how to reach it. devices.toml adds to them."
    )
    input_dtype: Dtype = Field("float32", description="Number format of the file's input.")
    output_dtype: Dtype = Field("float32", description="Number format of the file's output.")
    threads: int = Field(1, ge=1, le=256, description="Interpreter threads.")
    expected_seconds: dict[str, float] = Field(
        {}, description="Seconds of a cold build by workload, shown until this machine has its own history."
    )
    workloads: tuple[str, ...] = Field(
        (), strict=False, description="Workloads that --target=all builds it for; left out: every one."
    )
    limits: Limits = Field(Limits(), description="Limits of the interpreter's process.")
    budgets: Budgets = Field(Budgets(), description="What the file is held against.")
    recipe: tuple[dict[str, Any], ...] = Field(
        strict=False, min_length=1, description="Ordered steps: each names a step and gives its parameters."
    )
    slim: bool | None = Field(
        None, description="Whether a slim step ends the recipe; left out: where there is a budget of size_bytes."
    )
    baseline: dict[str, Any] = Field(
        {"step": "quantize", "scheme": "float32"},
        description="Step that makes the float file, which the result is compared with, from the trained model.",
    )

    _name: str = PrivateAttr("")
    _path: Path = PrivateAttr(Path())
    _devices_path: Path | None = PrivateAttr(None)  # of devices.toml, where it has a table for this target
    _from_devices: frozenset[str] = PrivateAttr(frozenset())  # keys of `device` that devices.toml gives

    @property
    def name(self) -> str:
        return self._name

    @property
    def path(self) -> Path:
        return self._path

    def place_of(self, key: str) -> tuple[Path, tuple[str, ...]]:
        """Return the file, and the table in it, that a key of `device` comes from or belongs into."""
        if self._devices_path and (key in self._from_devices or key not in self.device):
            return self._devices_path, (self.name,)
        return self.path, ("device",)

    def named(self, name: str) -> Target:
        """Return a target that was made in Python under a name of its own, which its artifacts' folder gets."""
        _refuse_name(name)
        target = self.model_copy()
        target._name, target._path = name, Path(f"the target {name}")
        return target

    @property
    def measured_by(self) -> str:
        """Name of the runner that measures here: `runner`, unless it waits for a device to be configured."""
        if self.device or self._devices_path or self.runner_without_device is None:
            return self.runner
        return self.runner_without_device


class Devices(RootModel[dict[str, dict[str, Any]]]):
    """`devices.toml`: for each target the settings of its runner."""


def load_target(target: str | Path | Target, root: Path | None = None) -> Target:
    """Read and validate a target by its name or by the path of a `.toml` file; reads no step.

    A Target made in Python is returned as it is, and called `unnamed` where it was not `named`. Raises
    UnknownName or BadTarget.
    """
    if isinstance(target, Target):
        return target if target.name else target.named("unnamed")
    path, name = _found(target, root)
    loaded = read_toml(path, Target)
    settings = _own_device(name, root)
    if settings is not None:  # an empty table asks for a device too, and then lacks what it needs
        loaded = loaded.model_copy(update={"device": {**loaded.device, **settings}})
        loaded._devices_path = (root or project_root()) / DEVICES
        loaded._from_devices = frozenset(settings)
    loaded._name, loaded._path = name, path
    return loaded


def _found(target: str | Path, root: Path | None) -> tuple[Path, str]:
    """Return a target's file and its name."""
    if isinstance(target, Path) or (target.endswith(".toml") and Path(target).expanduser().is_file()):
        path = Path(target).expanduser()
        _refuse_name(path.stem)
        return path, path.stem
    found = find_file("targets", target, ".toml", root)
    if found is None:
        raise UnknownName("target", target, target_names(root), listed_by="invoke targets")
    return found, target


def _refuse_name(name: str) -> None:
    if not is_plain_name(name):
        raise BadTarget(
            "a target's name is the name of a folder",
            received=repr(name),
            expected="letters, digits, - and _",
            fix="give it such a name",
        )


def _own_device(target: str, root: Path | None) -> dict[str, Any] | None:
    """Return the project's [<target>] table of devices.toml, which is about one desk and not for the repository."""
    path = (root or project_root()) / DEVICES
    if not path.exists():
        return None
    devices = read_toml(path, Devices).root
    known = [*target_names(root), target]  # which may be given by its path
    for name in devices:
        if name not in known:
            raise UnknownName("target", name, known, where=str(path))
    return devices.get(target)


def plain_target() -> Target:
    """Return the target of a file that was built for none: this machine, one thread, no budgets."""
    return Target(description="any file", recipe=({"step": "none"},))


def target_names(root: Path | None = None) -> list[str]:
    """Return the names of all targets: the project's own and the shipped ones."""
    return known_names("targets", ".toml", root)


def recipe_toml(recipe: Iterable[dict[str, Any]]) -> str:
    """Return a recipe's steps as a target's TOML has them."""
    blocks = ["\n".join(f"{key} = {toml_value(value)}" for key, value in entry.items()) for entry in recipe]
    return "\n\n".join(f"[[recipe]]\n{block}" for block in blocks) + "\n"


def toml_value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {toml_value(part)}" for key, part in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)  # text, numbers and truth values are written alike
