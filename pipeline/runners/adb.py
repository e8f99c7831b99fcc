"""An Android device through the `adb` client and TFLite's own benchmark_model, which the user supplies.

The tool is a program from elsewhere, so the target names its SHA-256 and nothing else is pushed. It prints
summaries, no single times: a round is one start of it, and its time the median of its invocations, or
their average where an older version prints no median. So the spread of these times is that between
starts, and no 90th percentile of invocations can be had; where the tool prints the 95th, that bounds it.
It gives no outputs either: answers are the evaluating runner's. Sources and downloads of the tool:
https://ai.google.dev/edge/litert/models/measurement.

No phone was used to test this: the client is real, the phone behind it is a stand-in.
"""

from __future__ import annotations

import contextlib
import functools
import re
import secrets
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import BadModelFile, EnvironmentUnsuited, RequestError, RunnerFailed
from pipeline.files import sha256_of
from pipeline.runner import Device, Figure, ModelRun, RunResult, Settings
from pipeline.runners._adb_parse import Report, parse
from pipeline.runners._files import check_model_file

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "Android device through adb, with TFLite's benchmark_model"
VERSION = "1"
MEASURES_TIME = True
EVALUATED_BY = "host"

NUM_RUNS, WARMUP_RUNS = 50, 10  # invocations of one start; the tool goes on until its least time is over as well
LEAST_SECONDS = 0.2
ERROR_CHARACTERS = 800
_PROPERTIES = {
    "model": "ro.product.model",
    "abi": "ro.product.cpu.abi",
    "android": "ro.build.version.release",
    "build": "ro.build.fingerprint",
    "chip": "ro.board.platform",
}
_DELEGATES = {
    "xnnpack": ("--use_xnnpack=true",),
    "none": ("--use_xnnpack=false",),
    "nnapi": ("--use_xnnpack=false", "--use_nnapi=true"),
    "gpu": ("--use_xnnpack=false", "--use_gpu=true"),
}


class Config(BaseModel):
    """Which phone, and the tool: the target's [device], or its table in devices.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark_model: str = Field(min_length=1, description="Path of TFLite's benchmark_model for the device.")
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
    delegate: Literal["xnnpack", "none", "nnapi", "gpu"] = Field("xnnpack", description="Delegate that computes.")
    remote_folder: str = Field(
        "/data/local/tmp", pattern=r"^/[\w./-]*$", description="Folder on the device for the temporary folder."
    )
    device_class: str | None = Field(None, min_length=1, description="Class for latency budgets; else by the ABI.")
    timeout_seconds: float = Field(30.0, gt=0, le=3600, description="Seconds that one call of adb may take at most.")


def device(settings: Settings) -> Device:
    """Return the phone. Raises what `run` raises: it is asked over adb, once a process."""
    return _phone(_config(settings))


@functools.cache
def _phone(config: Config) -> Device:
    _check_connection(config)
    told = {name: _adb(config, "shell", "getprop", key).strip() for name, key in _PROPERTIES.items()}
    abi = "arm64" if told["abi"].startswith("arm64") else told["abi"]
    return Device(
        device_class=config.device_class or f"android-{abi}",
        name=told["model"] or "an Android device",
        fingerprint={
            **{name: value for name, value in told.items() if value},
            "benchmark_model": config.benchmark_model_sha256,
            "delegate": config.delegate,
            "cpu_affinity": config.cpu_affinity or "all",
        },
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
    reports: dict[str, list[Report]] = {name: [] for name in models}
    if not models:
        return RunResult(found, None, {}, _conditions(config))
    _check_tool(config)
    folder = f"{config.remote_folder.rstrip('/')}/pipeline-{secrets.token_hex(6)}"
    before = _conditions(config)
    try:
        _adb(config, "shell", "mkdir", folder)
        tool = f"{folder}/benchmark_model"
        _adb(config, "push", config.benchmark_model, tool)
        _adb(config, "shell", "chmod", "755", tool)
        remote = {name: f"{folder}/{number}.tflite" for number, name in enumerate(models)}
        for name, path in models.items():
            _adb(config, "push", str(path), remote[name])
        for number in range(max(1, settings.rounds)):
            for name in models if number % 2 == 0 else reversed(list(models)):
                reports[name].append(_start(config, settings, tool, remote[name], models[name], timed=settings.rounds))
    finally:  # also on KeyboardInterrupt
        _remove(config, folder)
    after = _conditions(config)
    conditions = {f"{name}_before": value for name, value in before.items()}
    conditions |= {f"{name}_after": value for name, value in after.items()}
    runs = {}
    for name, told in reports.items():
        times = np.array([[max(1, round(report.typical_us * 1e3))] for report in told], np.int64)
        runs[name] = ModelRun(
            outputs=None,
            times_ns=times if settings.rounds else np.empty((0, 0), np.int64),
            kernels=_kernels(told[0], config),
            first_answer_ns=_first_answer(told[0]),
            first_inference_ns=round(told[0].first_us * 1e3) if told[0].first_us else None,
            figures=_figures(told),
            invocations_a_time=told[0].count,
        )
    return RunResult(found, None, runs, conditions)


def _config(settings: Settings) -> Config:
    if isinstance(settings.config, Config):
        return settings.config
    raise RequestError(
        "the adb runner does not know which tool to run",
        received="no [device] table",
        expected="benchmark_model and benchmark_model_sha256 in the target's [device] table or in devices.toml",
        fix="write [<target>] with both into devices.toml beside tasks.py",
    )


def _check_tool(config: Config) -> None:
    path = Path(config.benchmark_model)
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


def _check_connection(config: Config) -> None:
    """Raise RunnerFailed unless exactly one device is meant, and lets itself be used."""
    lines = _call(config, ["adb", "devices"]).splitlines()
    states = dict(line.split()[:2] for line in lines[1:] if len(line.split()) >= 2)
    shown = ", ".join(f"{serial} {state}" for serial, state in states.items()) or "no device"
    if config.serial is None and len(states) > 1:
        raise _unreachable("several devices are connected", shown, "give serial in [device]")
    serial = config.serial or next(iter(states), None)
    if serial not in states:
        what = f"the device {serial} is not connected" if serial else "no device is connected"
        raise _unreachable(what, shown, "connect it, and turn on USB debugging in its developer options")
    if states[serial] == "unauthorized":
        raise _unreachable(f"the device {serial} does not trust this computer", shown, "confirm the question on it")
    if states[serial] != "device":
        raise _unreachable(f"the device {serial} is {states[serial]}", shown, "reconnect it; adb kill-server may help")


def _unreachable(what: str, received: str, fix: str) -> RunnerFailed:
    return RunnerFailed(what, received=received, expected="one device that adb lists as `device`", fix=fix)


def _start(config: Config, settings: Settings, tool: str, remote: str, model: Path, *, timed: int) -> Report:
    command = [
        *(("taskset", config.cpu_affinity) if config.cpu_affinity else ()),
        tool,
        f"--graph={remote}",
        f"--num_threads={settings.threads}",
        f"--num_runs={NUM_RUNS if timed else 1}",
        f"--warmup_runs={WARMUP_RUNS if timed else 1}",
        f"--min_secs={LEAST_SECONDS if timed else 0}",
        *_DELEGATES[config.delegate],
    ]
    # The tool writes to both streams, and adb gives the exit code of the shell alone since Android 7.
    text = _adb(config, "shell", f"{shlex.join(command)} 2>&1; echo exit=$?", seconds=settings.seconds)
    report = parse(text)
    ended = re.search(r"exit=(\d+)\s*$", text)
    if report is not None and ended and ended[1] == "0":
        return report
    last = text[-ERROR_CHARACTERS:].strip()
    if re.search(r"Failed to (?:load|mmap|open) model|not a valid|Failed to construct interpreter", text):
        raise BadModelFile(
            f"{model} cannot be loaded on the device",
            received=last,
            expected="a .tflite file with operators that this benchmark_model has",
            fix="take a newer benchmark_model, or build the file without that operator",
        )
    raise RunnerFailed(
        f"benchmark_model did not come to its end with {model}",
        received=last or "nothing",
        expected="the line that begins with Inference timings in us",
        fix="is it built for the device's processor, and does it know these options? "
        f"adb shell {shlex.join(command)} shows it",
    )


def _remove(config: Config, folder: str) -> None:
    with contextlib.suppress(RunnerFailed):  # the device is gone, and what went wrong is being told
        _adb(config, "shell", "rm", "-rf", folder)


def _adb(config: Config, *arguments: str, seconds: float = 0.0) -> str:
    serial = ("-s", config.serial) if config.serial else ()
    return _call(config, ["adb", *serial, *arguments], seconds)


def _call(config: Config, command: list[str], seconds: float = 0.0) -> str:
    """Return what the client prints. Raises RunnerFailed when it fails or hangs."""
    limit = max(config.timeout_seconds, seconds)
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise EnvironmentUnsuited(
            "there is no adb client",
            received="no program named adb",
            expected="Android's debug bridge",
            fix="apt-get install adb",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RunnerFailed(
            f"`{shlex.join(command[:4])} …` gave no answer",
            received=f"nothing within {limit:g} s",
            expected="an answer of the device",
            fix="adb kill-server, reconnect the device, and look whether it asks something; or raise timeout_seconds",
        ) from error
    text, told = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    if done.returncode:
        raise RunnerFailed(
            f"`{shlex.join(command[:4])} …` failed",
            received=(told or text).strip()[-ERROR_CHARACTERS:] or f"exit code {done.returncode}",
            expected="exit code 0",
            fix="is the device still connected, and its remote_folder writable and not full?",
        )
    return text


def _conditions(config: Config) -> dict[str, str]:
    """Return what varies and slows a phone down, as far as it tells."""
    battery = _adb(config, "shell", "dumpsys", "battery")
    told = dict(re.findall(r"^\s*(level|temperature|powered|AC powered|USB powered): (\S+)", battery, re.MULTILINE))
    found = {"battery_percent": told["level"]} if "level" in told else {}
    if told.get("temperature", "").isdigit():
        found["battery_celsius"] = f"{int(told['temperature']) / 10:.1f}"
    thermal = re.search(r"Thermal Status: (\d)", _adb(config, "shell", "dumpsys", "thermalservice"))
    if thermal:
        names = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
        found["throttling"] = names[min(int(thermal[1]), len(names) - 1)]
    governors = _adb(config, "shell", "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor 2>/dev/null; true")
    if governors.split():
        found["governor"] = "+".join(sorted(set(governors.split())))
    return found


def _kernels(report: Report, config: Config) -> str:
    what = "medians" if report.is_median else "averages"
    return f"{report.delegate or f'delegate {config.delegate}'}; {what} of {report.count} invocations"


def _first_answer(report: Report) -> int | None:
    if report.init_us is None or report.first_us is None:
        return None
    return round((report.init_us + report.first_us) * 1e3)


def _figures(reports: list[Report]) -> dict[str, Figure]:
    figures = {}
    p95 = [report.p95_us for report in reports if report.p95_us is not None]
    if len(p95) == len(reports):
        figures["p95_us"] = Figure(value=max(p95), note="of single invocations, the highest of the starts")
    memory = [report.memory_megabytes for report in reports if report.memory_megabytes is not None]
    if memory:
        note = "as benchmark_model tells it, from its start and with itself"
        figures["tool_memory_megabytes"] = Figure(value=round(max(memory), 3), note=note)
    return figures
