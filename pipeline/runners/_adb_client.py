"""The `adb` client: one call with a time limit, which phone is meant, and what it says of itself."""

from __future__ import annotations

import re
import shlex
import subprocess

from pipeline.errors import EnvironmentUnsuited, RunnerFailed
from pipeline.runners._adb_parse import parse_devices

ERROR_CHARACTERS = 800
_PROPERTIES = {
    "model": ("ro.product.model",),
    "abi": ("ro.product.cpu.abi",),
    "android": ("ro.build.version.release",),
    "build": ("ro.build.fingerprint",),
    "chip": ("ro.soc.model", "ro.board.platform"),  # the former since Android 12
}
_EMULATED = ("ro.boot.qemu", "ro.kernel.qemu")  # 1 in Android's emulator; the latter until Android 11
_STATES = {
    "unauthorized": ("does not trust this computer", "unlock it, and confirm the question that it shows"),
    "authorizing": ("does not trust this computer yet", "unlock it, and confirm the question that it shows"),
    "no permissions": (
        "may not be used by this user",
        "install the udev rules: apt-get install android-sdk-udev-rules",
    ),
}
_THROTTLING = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
# One call, and none of its parts fails the others: what a phone does not tell is left out.
_STATE_COMMAND = (
    "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor 2>/dev/null | sort -u | sed 's/^/governor: /'; "
    "dumpsys battery 2>/dev/null; dumpsys thermalservice 2>/dev/null; true"
)


def adb(serial: str | None, *arguments: str, seconds: float) -> str:
    """Return what the client prints. Raises EnvironmentUnsuited without it, RunnerFailed when it fails or hangs."""
    command = ["adb", *(("-s", serial) if serial else ()), *arguments]
    shown = f"`{shlex.join(command[:5])}{' …' if len(command) > 5 else ''}`"
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except (FileNotFoundError, PermissionError) as error:
        raise EnvironmentUnsuited(
            "there is no adb client",
            received="no program named adb",
            expected="Android's debug bridge",
            fix="apt-get install adb",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RunnerFailed(
            f"{shown} gave no answer",
            received=f"nothing within {seconds:g} s",
            expected="an answer of the device",
            fix="adb kill-server, reconnect the device, and look whether it asks something; or raise timeout_seconds "
            "of [device], or limits.seconds for a slow model",
        ) from error
    text, told = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    if done.returncode:
        raise RunnerFailed(
            f"{shown} failed",
            received=(told or text).strip()[-ERROR_CHARACTERS:] or f"exit code {done.returncode}",
            expected="exit code 0",
            fix="is the device still connected, and its remote_folder writable and not full?",
        )
    return text


def check_connection(serial: str | None, seconds: float) -> None:
    """Raise RunnerFailed unless exactly one device is meant, and lets itself be used."""
    states = parse_devices(adb(None, "devices", seconds=seconds))
    shown = ", ".join(f"{name} {state}" for name, state in states.items()) or "no device"
    if serial is None and len(states) > 1:
        raise _unusable("several devices are connected", shown, "give serial in [device]")
    meant = serial or next(iter(states), None)
    if meant not in states:
        what = f"the device {meant} is not connected" if meant else "no device is connected"
        raise _unusable(what, shown, "connect it, and turn on USB debugging in its developer options")
    for state, (what, fix) in _STATES.items():
        if states[meant].startswith(state):
            raise _unusable(f"the device {meant} {what}", shown, fix)
    if states[meant] != "device":
        raise _unusable(f"the device {meant} is {states[meant]}", shown, "reconnect it; adb kill-server may help")


def _unusable(what: str, received: str, fix: str) -> RunnerFailed:
    return RunnerFailed(what, received=received, expected="one device that adb lists as `device`", fix=fix)


def ask_properties(serial: str | None, seconds: float) -> tuple[dict[str, str], bool]:
    """Return model, ABI, Android version, build and chip, as far as it tells, and whether it is an emulator.

    Raises RunnerFailed for what does not tell its ABI, and what `adb` raises.
    """
    listed = dict(re.findall(r"^\[([^\]]+)\]: \[(.*?)\]\r?$", adb(serial, "shell", "getprop", seconds=seconds), re.M))
    told = {name: next((listed[key] for key in keys if listed.get(key)), "") for name, keys in _PROPERTIES.items()}
    if not told["abi"]:
        raise RunnerFailed(
            "the device does not tell its processor",
            received="no ro.product.cpu.abi in what getprop prints",
            expected="an Android system that has started",
            fix="try: adb shell getprop ro.product.cpu.abi",
        )
    emulated = any(listed.get(key) == "1" for key in _EMULATED)
    return {name: value for name, value in told.items() if value}, emulated


def ask_state(serial: str | None, seconds: float) -> dict[str, str]:
    """Return what varies and slows a phone down, as far as it tells: governor, battery, heat."""
    text = adb(serial, "shell", _STATE_COMMAND, seconds=seconds)
    found = {}
    if level := re.search(r"^\s*level: (\d+)", text, re.M):
        found["battery_percent"] = level[1]
    if temperature := re.search(r"^\s*temperature: (-?\d+)", text, re.M):  # in tenths of a degree
        found["battery_celsius"] = f"{int(temperature[1]) / 10:.1f}"
    if thermal := re.search(r"Thermal Status: (\d)", text):
        found["throttling"] = _THROTTLING[min(int(thermal[1]), len(_THROTTLING) - 1)]
    if governors := re.findall(r"^governor: (\S+)", text, re.M):
        found["governor"] = "+".join(governors)
    return found
