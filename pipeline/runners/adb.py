"""An Android device through the `adb` client and TFLite's own benchmark_model, which the user supplies.

The tool is a program from elsewhere, so the target names its SHA-256 and nothing else is pushed. It prints
summaries, no single times: a round is one start of it, and its time the median of its invocations, or
their average where an older version prints no median. So the spread of these times is that between
starts, and no 90th percentile of invocations can be had; where the tool prints the 95th, that bounds it.
It gives no outputs either: answers are the evaluating runner's. Memory is how much the tool says that its peak
resident size grew since its start, its own parts included. Sources and downloads of the tool:
https://ai.google.dev/edge/litert/models/measurement.

No phone was used to test this: the client is real, the phone behind it is a stand-in.
"""

from __future__ import annotations

import contextlib
import functools
import re
import secrets
import shlex
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import RequestError, RunnerFailed
from pipeline.files import sha256_of
from pipeline.lookup import project_root
from pipeline.runner import Device, Figure, ModelRun, RunResult, Settings
from pipeline.runners._adb_client import adb, ask_properties, ask_state, check_connection
from pipeline.runners._adb_errors import check_report, tool_error
from pipeline.runners._adb_parse import Report, parse
from pipeline.runners._files import check_model_file

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "Android device through adb, with TFLite's benchmark_model"
VERSION = "1"
MEASURES_TIME = True
EVALUATED_BY = "host"

TOOL = "benchmark_model"
NUM_RUNS, WARMUP_RUNS = 50, 10  # invocations of one start; the tool goes on until its least time is over as well
LEAST_SECONDS = 0.2
_DELEGATES = {
    "xnnpack": ("--use_xnnpack=true",),
    "none": ("--use_xnnpack=false",),
    "nnapi": ("--use_xnnpack=false", "--use_nnapi=true"),
    "gpu": ("--use_xnnpack=false", "--use_gpu=true"),
    "default": (),
}


class Config(BaseModel):
    """Which phone, and the tool: the target's [device], or its table in devices.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark_model: str = Field(
        min_length=1, description="Path of TFLite's benchmark_model; a relative one starts at the project's root."
    )
    benchmark_model_sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 of that program, 64 hexadecimal digits; nothing else is run."
    )
    serial: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][\w.:-]*$",
        description="Serial number as `adb devices` shows it; needed where there are several.",
    )
    cpu_affinity: str | None = Field(
        None, pattern="^[0-9a-f]{1,8}$", description="Hexadecimal mask of the cores for taskset, such as f0."
    )
    delegate: Literal["xnnpack", "none", "nnapi", "gpu", "default"] = Field(
        "xnnpack",
        description="Delegate that computes; default asks for none, for a tool that knows none of the others.",
    )
    remote_folder: str = Field(
        "/data/local/tmp", pattern=r"^/[\w./-]*$", description="Folder on the device for the temporary folder."
    )
    device_class: str | None = Field(None, min_length=1, description="Class for latency budgets; else by the ABI.")
    timeout_seconds: float = Field(30.0, gt=0, le=3600, description="Seconds that one call of adb may take at most.")


def device(settings: Settings) -> Device:
    """Return the phone. Raises what `run` raises: phone and tool are looked at here, before anything is built."""
    config = _config(settings)
    _check_tool(config)
    return _phone(config)


@functools.cache  # its answers do not change, and a failure is not kept
def _phone(config: Config) -> Device:
    check_connection(config.serial, config.timeout_seconds)
    told, emulated = ask_properties(config.serial, config.timeout_seconds)
    abi = "arm64" if told["abi"].startswith("arm64") else told["abi"]
    return Device(
        device_class=config.device_class or f"android-{abi}",
        name=told.get("model", "an Android device"),
        fingerprint={
            **told,
            "benchmark_model": config.benchmark_model_sha256,
            "delegate": config.delegate,
            "cpu_affinity": config.cpu_affinity or "all",
        },
        emulated=emulated,
    )


def run(models: Mapping[str, Path], samples: np.ndarray | None, settings: Settings) -> RunResult:
    """Start the tool once a round for each model, in turns; without rounds once, which shows that the file runs.

    The tool feeds random values, so the samples are not sent and there are no outputs. times_ns:
    int64 [rounds, 1]. Raises BadModelFile for a file that the tool cannot load, RunnerFailed where the device
    cannot be reached or the tool fails, EnvironmentUnsuited without adb, RequestError without a [device].
    """
    import numpy as np

    config = _config(settings)
    for path in models.values():
        check_model_file(path)
    found = device(settings)
    before = ask_state(config.serial, config.timeout_seconds)
    reports = _reports(models, settings, config) if models else {}
    after = ask_state(config.serial, config.timeout_seconds)
    conditions = {f"{name}_before": value for name, value in before.items()}
    conditions |= {f"{name}_after": value for name, value in after.items()}
    runs = {}
    for name, told in reports.items():
        times = np.array([[max(1, round(report.typical_us * 1e3))] for report in told], np.int64)
        runs[name] = ModelRun(
            outputs=None,
            times_ns=times if settings.rounds else np.empty((0, 0), np.int64),
            kernels=_kernels(told, config),
            first_answer_ns=_first_answer(told[0]),
            first_inference_ns=round(told[0].first_us * 1e3) if told[0].first_us else None,
            memory_bytes=_memory(told),
            figures=_figures(told),
            invocations_a_time=min(report.count for report in told),
        )
    return RunResult(found, None, runs, conditions)


def _reports(models: Mapping[str, Path], settings: Settings, config: Config) -> dict[str, list[Report]]:
    """Copy tool and models into a new folder on the phone, run them there in turns, and remove it in any case."""
    reports: dict[str, list[Report]] = {name: [] for name in models}
    folder = f"{config.remote_folder.rstrip('/')}/pipeline-{secrets.token_hex(6)}"
    try:
        _adb(config, "shell", f"mkdir {folder}")
        _adb(config, "push", str(_tool(config)), f"{folder}/{TOOL}")
        _adb(config, "shell", f"chmod 755 {folder}/{TOOL}")
        files = {name: f"{number}.tflite" for number, name in enumerate(models)}
        for name, path in models.items():
            _adb(config, "push", str(path), f"{folder}/{files[name]}")
        for number in range(max(1, settings.rounds)):
            for name in models if number % 2 == 0 else reversed(list(models)):
                reports[name].append(_start(config, settings, folder, files[name], models[name]))
    except BaseException:  # also on KeyboardInterrupt
        with contextlib.suppress(RunnerFailed):  # the device is gone, and what went wrong is being told
            _remove(config, folder)
        raise
    _remove(config, folder)
    return reports


def _remove(config: Config, folder: str) -> None:
    # A tool whose client was stopped runs on, so its number lies in the folder while it runs.
    _adb(config, "shell", f"kill -9 $(cat {folder}/running) 2>/dev/null; rm -rf {folder}")


def _config(settings: Settings) -> Config:
    if isinstance(settings.config, Config):
        return settings.config
    raise RequestError(
        "the adb runner does not know which tool to run",
        received="no [device] table",
        expected="benchmark_model and benchmark_model_sha256 in the target's [device] table or in devices.toml",
        fix="write [<target>] with both into devices.toml beside tasks.py",
    )


def _tool(config: Config) -> Path:
    return project_root() / Path(config.benchmark_model).expanduser()


def _check_tool(config: Config) -> None:
    path = _tool(config)
    if not path.is_file():
        raise RequestError(
            f"there is no benchmark_model at {path}",
            received="no such file",
            expected="TFLite's benchmark_model for the device's processor",
            fix="give its path as benchmark_model in the target's [device] table or in devices.toml",
        )
    if (found := sha256_of(path)) != config.benchmark_model_sha256:
        raise RequestError(
            f"{path} is another program than the target names",
            received=f"SHA-256 {found}",
            expected=f"SHA-256 {config.benchmark_model_sha256}",
            fix="make sure where it comes from; if it is meant, put its SHA-256 into benchmark_model_sha256",
        )


def _adb(config: Config, *arguments: str, seconds: float = 0.0) -> str:
    return adb(config.serial, *arguments, seconds=max(config.timeout_seconds, seconds))


def _start(config: Config, settings: Settings, folder: str, file: str, model: Path) -> Report:
    timed = settings.rounds > 0
    command = shlex.join(
        [
            *(("taskset", config.cpu_affinity) if config.cpu_affinity else ()),
            f"./{TOOL}",
            f"--graph={file}",
            f"--num_threads={settings.threads}",
            f"--num_runs={NUM_RUNS if timed else 1}",
            f"--warmup_runs={WARMUP_RUNS if timed else 1}",
            f"--min_secs={LEAST_SECONDS if timed else 0}",
            f"--max_secs={settings.seconds / 4:g}",  # of warm-up and runs each: a slow model runs less often
            "--enable_op_profiling=false",
            *_DELEGATES[config.delegate],
        ]
    )
    # The tool writes to both streams, and adb gives the exit code of the shell alone since Android 7.
    text = _adb(
        config,
        "shell",
        f"cd {folder} && {{ {command} 2>&1 & echo $! > running; wait $!; code=$?; rm running; echo exit=$code; }}",
        seconds=settings.seconds,
    )
    report = parse(text)
    ended = re.search(r"exit=(\d+)\s*$", text)
    if report is None or ended is None or ended[1] != "0":
        raise tool_error(text, model, command)
    check_report(report, config.delegate, model)
    return report


def _kernels(reports: list[Report], config: Config) -> str:
    told = reports[0].delegate or f"delegate {config.delegate} was asked for, and the tool tells of none"
    what = "medians" if reports[0].is_median else "averages"
    return f"{told}; {what} of {min(report.count for report in reports)} invocations or more"


def _memory(reports: list[Report]) -> int | None:
    told = [report.memory_megabytes for report in reports if report.memory_megabytes is not None]
    return round(statistics.median(told) * 2**20) if told else None


def _first_answer(report: Report) -> int | None:
    if report.init_us is None or report.first_us is None:
        return None
    return round((report.init_us + report.first_us) * 1e3)


def _figures(reports: list[Report]) -> dict[str, Figure]:
    figures = {}
    p95 = [report.p95_us for report in reports if report.p95_us is not None]
    if len(p95) == len(reports):
        figures["p95_us"] = Figure(value=max(p95), note="of single invocations, the highest of the starts")
    return figures
