"""Arm Ethos-U: the file compiled by Arm's Vela, which says what the NPU would take. Nothing runs.

Vela (`ethos-u-vela`, extra `micro`) turns what the NPU can compute into a command stream in one custom
operator, and leaves the rest to the CPU. Cycles, time and memory are its estimates, for the clock and
the memories that the system configuration and the memory mode assume; they hold for no other board.

Answers are not checked. Arm documents Ethos-U as bit-exact to TFLite Micro's reference kernels, but nothing
here executes a command stream: accuracy is that of the uncompiled file on the host.
"""

from __future__ import annotations

import configparser
import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from pipeline.errors import RunnerFailed
from pipeline.files import sha256_of
from pipeline.lookup import project_root
from pipeline.runner import Device, Figure, ModelRun, RunResult, Settings
from pipeline.runners._files import check_model_file
from pipeline.runners._vela_compile import NPU_OPERATOR, Compiled, compile_model, operator_names, vela_distribution

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "Arm Ethos-U: compiled by Vela, whose estimates it gives; nothing runs"
VERSION = "1"
MEASURES_TIME = False
TAKES_BASELINE = False  # a float file stays on the CPU
EVALUATED_BY = "host"

COMPILED = "model_vela.tflite"
FLASHED = COMPILED  # what a firmware takes in: a release has its bytes as a C array
SHIPPED_CONFIG = "ethosu/config_files/Arm/vela.ini"
ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
# What Vela takes by itself, said aloud: estimates mean nothing without it.
DEFAULTS = {
    "u55": {"System_Config": "Ethos_U55_High_End_Embedded", "Memory_Mode": "Shared_Sram"},
    "u65": {"System_Config": "Ethos_U65_Client_Server", "Memory_Mode": "Dedicated_Sram_384KB"},
    "u85": {"System_Config": "Ethos_U85_SYS_DRAM_Mid", "Memory_Mode": "Dedicated_Sram_384KB"},
}
# Columns of Vela's summary, in KiB. The last two are told where the configuration puts something there.
MEMORIES = {
    "sram_bytes": "sram_memory_used",
    "flash_bytes": "off_chip_flash_memory_used",
    "on_chip_flash_bytes": "on_chip_flash_memory_used",
    "dram_bytes": "dram_memory_used",
}


class Config(BaseModel):
    """What Vela compiles for: the target's [device] table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accelerator: str = Field(
        "ethos-u55-128", description="The NPU and its multiply-accumulates a cycle, such as ethos-u55-128."
    )
    config_file: Path | None = Field(
        None, description="A vela.ini that describes the board, from the project's root; left out: the one Vela ships."
    )
    system_config: str = Field(
        "",
        validate_default=True,
        description="Clock and memories, as the vela.ini names them; left out: what Vela takes for the accelerator.",
    )
    memory_mode: str = Field(
        "",
        validate_default=True,
        description="What lies in which memory, as the vela.ini names it; left out: what Vela takes.",
    )
    optimise: Literal["Performance", "Size"] = Field(
        "Performance", description="Whether Vela spends memory on speed, or the other way round."
    )
    arena_cache_size: int | None = Field(
        None, gt=0, le=2**40, description="SRAM in bytes that Vela plans with; left out: what the memory mode says."
    )

    @field_validator("accelerator")
    @classmethod
    def _known_accelerator(cls, name: str) -> str:
        return _known("accelerator", name, ACCELERATORS)

    @field_validator("config_file")
    @classmethod
    def _readable_config(cls, path: Path | None) -> Path | None:
        if path is not None:
            _sections(_config_path(path))
        return path

    @field_validator("system_config", "memory_mode")
    @classmethod
    def _known_section(cls, name: str, info: ValidationInfo) -> str:
        """Hold a name against the vela.ini; fill in Vela's own default, which no other file has."""
        if not {"accelerator", "config_file"} <= info.data.keys():
            return name  # they have their own complaint
        kind = {"system_config": "System_Config", "memory_mode": "Memory_Mode"}[str(info.field_name)]
        path = info.data["config_file"]
        if not name and path is None:
            name = DEFAULTS[info.data["accelerator"].split("-")[1]][kind]
        return _known(str(info.field_name), name, _sections(_config_path(path))[kind])


def device(settings: Settings) -> Device:
    """Return the NPU that is compiled for, of the class that Vela names, such as "ethos-u55-128".

    Raises EnvironmentUnsuited without Vela.
    """
    config = _config(settings)
    return Device(
        device_class=config.accelerator,
        name=f"Arm {config.accelerator.title()}, compiled for by Vela",
        fingerprint={
            "ethos-u-vela": vela_distribution().version,
            "system_config": config.system_config,
            "memory_mode": config.memory_mode,
            "optimise": config.optimise,
            "arena_cache_size": str(config.arena_cache_size or "as the memory mode says"),
            "config_file_sha256": sha256_of(_config_path(config.config_file)),
        },
    )


def run(models: Mapping[str, Path], samples: np.ndarray | None, settings: Settings) -> RunResult:
    """Compile the models one after the other. The samples are not looked at; there are no outputs and no times.

    Figures of each file: npu_operator_share, and where the NPU computes anything npu_cycles,
    estimated_latency_ms, sram_bytes and flash_bytes. Files: the compiled model_vela.tflite.

    Raises BadModelFile for a file that is no model, EnvironmentUnsuited without Vela, RunnerFailed when Vela
    refuses the file, crashes, or overruns a limit.
    """
    config = _config(settings)
    runs = {name: _compiled(path, config, settings) for name, path in models.items()}
    return RunResult(device(settings), peak_resident_bytes=None, models=runs)


def _compiled(path: Path, config: Config, settings: Settings) -> ModelRun:
    import numpy as np

    check_model_file(path)
    source, found = compile_model(
        path, _options(config), seconds=settings.seconds, megabytes=settings.resident_megabytes
    )
    total, on_npu = len(operator_names(source)), 0
    if NPU_OPERATOR in operator_names(found.model):  # what is in neither place was folded into the command stream
        on_npu = max(0, total - len(found.cpu_operators))
    return ModelRun(
        outputs=None,
        times_ns=np.empty((0, 0), np.int64),
        kernels=f"{config.accelerator.title()}, {on_npu} of {total} operators",
        figures=_figures(found, on_npu, total, config),
        files={COMPILED: found.model.content},
    )


def _figures(found: Compiled, on_npu: int, total: int, config: Config) -> dict[str, Figure]:
    """Return what Vela computed; of a file without any operator on the NPU the share alone."""
    note = f"{on_npu} of {total} operators, counted in the file before and after"
    if found.cpu_operators:
        names = ", ".join(f"{count} {name}" for name, count in Counter(found.cpu_operators).items())
        note = f"{note}; on the CPU: {names}; Vela's reasons: {', '.join(found.reasons) or 'none given'}"
    figures = {"npu_operator_share": Figure(value=on_npu / total if total else 0.0, note=note)}
    if not on_npu:
        return figures
    summary = found.summary
    if missing := {"cycles_total", "inference_time", "core_clock", *MEMORIES.values()} - summary.keys():
        raise RunnerFailed(
            "Vela's summary is not as it was",
            received=f"no number in {', '.join(sorted(missing))}",
            expected="the columns of Vela 5",
            fix="pip install 'edge-deployment-pipeline[micro]'",
        )
    where = f"by Vela for {config.system_config} and {config.memory_mode}"
    whole = "" if on_npu == total else ", without what the CPU computes"
    timing = f"{where}, {summary['core_clock'] / 1e6:g} MHz{whole}"
    figures["npu_cycles"] = Figure(value=summary["cycles_total"], estimated=True, note=f"{timing}, waits included")
    figures["estimated_latency_ms"] = Figure(value=summary["inference_time"] * 1e3, estimated=True, note=timing)
    for name, column in MEMORIES.items():
        if summary[column] or name in ("sram_bytes", "flash_bytes"):
            # Vela counts neither the command stream nor the flatbuffer around it.
            more = f"; all of {COMPILED} is {len(found.model.content):,} bytes" if name == "flash_bytes" else ""
            figures[name] = Figure(value=round(summary[column] * 1024), estimated=True, note=f"{where}{whole}{more}")
    return figures


def _options(config: Config) -> list[str]:
    options = {
        "accelerator-config": config.accelerator,
        "config": _config_path(config.config_file),
        "system-config": config.system_config,
        "memory-mode": config.memory_mode,
        "optimise": config.optimise,
        "arena-cache-size": config.arena_cache_size,
    }
    return [f"--{name}={value}" for name, value in options.items() if value is not None]


def _config(settings: Settings) -> Config:
    return settings.config if isinstance(settings.config, Config) else Config()


def _config_path(path: Path | None) -> Path:
    """Return the absolute path of the vela.ini; a relative one starts at the project's root."""
    return project_root() / path if path else Path(str(vela_distribution().locate_file(SHIPPED_CONFIG)))


def _sections(path: Path) -> dict[str, list[str]]:
    """Return the names of the system configurations and memory modes in a vela.ini. Raises ValueError."""
    parser = configparser.ConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise ValueError(f"{path} cannot be read as a vela.ini: {error}") from error
    found: dict[str, list[str]] = {"System_Config": [], "Memory_Mode": []}
    for section in parser.sections():
        kind, _, name = section.partition(".")
        found.setdefault(kind, []).append(name)
    if missing := [kind for kind in ("System_Config", "Memory_Mode") if not found[kind]]:
        raise ValueError(f"{path} is no vela.ini: it has no section [{missing[0]}.<name>]")
    return found


def _known(kind: str, name: str, names: Iterable[str]) -> str:
    names = tuple(names)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{kind} is one of {', '.join(names)}{hint}")
    return name
