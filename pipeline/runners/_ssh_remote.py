"""What the ssh runner sends ahead: runs the interpreter's child on the board, and leaves nothing behind.

It comes over the connection's standard input and is never written to the board's disk. After it,
on the same input: a line of JSON, which asks, and the contents of the files that it names, for the
child (`_host_child.py`) to read. The answer goes to standard output: the request's marker on a
line, a line of JSON, and the contents of the files that the child wrote and that this line names.

    request  {"marker", "python", "folder": or null, "cpus": or null, "seconds", "bytes",
              "files": {name: bytes}}
    answer   {"board": {…}, "before": {…}, "after": {…}, "emulated", "code", "log", "files": {name: bytes}}
             or {"error": "system" | "limit" | "python" | "cpus", "text", "errno", "board": {…}}

The input stays open until the answer is there. Its end means that the other side is gone: without a
terminal, sshd tells nobody. So the child and the folder go as soon as the connection does. Where
one dies without a word, the child's time limit ends the wait, and SIGTERM at the end of all time.

Python 3.9 and its standard library; the child needs numpy and an interpreter.
"""

import contextlib
import glob
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

POLL_SECONDS = 0.05
LOG_CHARACTERS = 2000
CHUNK_BYTES = 1 << 20
LEAST_PYTHON = (3, 9)
PACKAGES = ("ai-edge-litert", "tflite-runtime", "numpy")
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# The bits of the Raspberry Pi's `vcgencmd get_throttled`; the same 16 bits higher: since it was switched on.
THROTTLED = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")


class Stop(Exception):
    """The other side is gone, or a signal asks to end."""


class Refused(Exception):
    """What was asked cannot be done: the kind of error, and the text that tells more."""


def main():
    for number in SIGNALS:
        signal.signal(number, _stop)
    source = sys.stdin.buffer
    request = json.loads(source.readline())
    files: dict = {}
    try:
        result = _within_a_folder(source, request, files)
    except OSError as error:
        result = {"error": "system", "text": str(error), "errno": error.errno}
    except Refused as refused:
        result = {"error": refused.args[0], "text": refused.args[1]}
    # The folder is gone: from here on, a signal may just end this process.
    for number in (*SIGNALS, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    sizes = {name: len(content) for name, content in files.items()}
    answer = json.dumps(dict(result, board=board(), files=sizes))
    out = sys.stdout.buffer
    out.write(f"\n{request['marker']}\n{answer}\n".encode())
    for content in files.values():
        out.write(content)
    out.flush()


def _within_a_folder(source, request, files):
    """Make the folder, run the child in it, put what it wrote into `files`, and remove the folder in any case."""
    if sys.version_info < LEAST_PYTHON:
        raise Refused("python", platform.python_version())
    if request["cpus"]:
        allowed = os.sched_getaffinity(0)
        if not allowed.issuperset(request["cpus"]):
            raise Refused("cpus", ", ".join(map(str, sorted(allowed))))
        os.sched_setaffinity(0, request["cpus"])  # the child inherits it
    parent = request["folder"] and os.path.expanduser(request["folder"])
    folder = tempfile.mkdtemp(prefix="pipeline-", dir=parent)
    try:
        for name, count in request["files"].items():
            with open(os.path.join(folder, name), "wb") as stream:
                _copy(source, stream, count)
        return _run(folder, request, files)
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)


def _copy(source, stream, count):
    while count:
        content = source.read(min(count, CHUNK_BYTES))
        if not content:
            raise Stop("the connection is gone")
        stream.write(content)
        count -= len(content)


def _run(folder, request, files):
    """Run the child in the folder; put what it wrote into `files`."""
    before = conditions()
    log_path = os.path.join(folder, "log")
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [program(request["python"]), "_host_child.py", folder],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # one signal ends it with all that it started
            preexec_fn=_die_with_parent,
            env=dict(os.environ, OPENBLAS_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1"),
        )
    try:
        emulated = _watch(process, request)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for name in sorted(os.listdir(folder)):
        if name in ("result.json", "status", "log") or name.endswith((".outputs.npy", ".times.npy")):
            with open(os.path.join(folder, name), "rb") as stream:
                files[name] = stream.read()
    text = files["log"].decode(errors="replace")[-LOG_CHARACTERS:]
    return {"code": process.returncode, "log": text, "before": before, "after": conditions(), "emulated": emulated}


def program(python):
    """Return the program's name or, where it is one, its absolute path: the child starts in another folder."""
    path = os.path.expanduser(python)
    return os.path.abspath(path) if os.sep in path else path


def _die_with_parent():
    """Ask the system to end this process with the one that watches it, even where that one is killed outright."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass


def _watch(process, request):
    """Wait for the child within the limits and while the other side is there; tell whether it is emulated."""
    deadline = time.monotonic() + request["seconds"]
    emulated = contradicts(platform.machine(), _read("/proc/cpuinfo"))
    while process.poll() is None:
        emulated = emulated or _is_emulated(process.pid)
        if select.select([sys.stdin], [], [], POLL_SECONDS)[0] and not os.read(0, 1):
            raise Stop("the connection is gone")
        peak = _peak_bytes(process.pid)
        if peak > request["bytes"]:
            raise Refused("limit", f"{peak // 10**6} MB resident, at most {request['bytes'] // 10**6} MB are allowed")
        if time.monotonic() > deadline:
            raise Refused("limit", f"no end after {request['seconds']:g} s")
    return emulated


def _is_emulated(child):
    """True for a process that a user-mode emulator runs: its program is the emulator's, seen from another process."""
    try:
        return os.path.basename(os.readlink(f"/proc/{child}/exe")).startswith("qemu-")
    except OSError:
        return False


def contradicts(machine, cpuinfo):
    """True where the processor that the system lists is not of the architecture that programs are told."""
    if machine.startswith(("arm", "aarch64")):
        return "vendor_id" in cpuinfo  # x86
    return machine in ("x86_64", "i686") and "CPU implementer" in cpuinfo  # Arm


def _peak_bytes(pid):
    found = [line for line in _read(f"/proc/{pid}/status").splitlines() if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) * 1024 if found else 0


def board(root="/"):
    """Return what the board is, text by name: the same at every call."""
    cpuinfo = _read(f"{root}/proc/cpuinfo")
    facts = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "processor": _processors(cpuinfo, "model name") or _processors(_said("lscpu"), "Model name"),
        "model": _read(f"{root}/proc/device-tree/model").strip("\0 \n"),
        "python": platform.python_version(),
    }
    try:
        from importlib import metadata
    except ImportError:
        return facts
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts[name] = metadata.version(name)
    return facts


def _processors(text, key):
    """Return the kinds of cores that a list of `key: value` lines tells, such as "Cortex-A53, Cortex-A73"."""
    pairs = [line.partition(":") for line in text.splitlines()]
    return ", ".join(sorted({value.strip() for name, _, value in pairs if name.strip() == key} - {""}))


def conditions(root="/"):
    """Return what varies and slows a board down, text by name, as far as it tells."""
    cores = f"{root}/sys/devices/system/cpu/cpu[0-9]*/cpufreq"
    degrees = _numbers(f"{root}/sys/class/thermal/thermal_zone*/temp")
    found = {
        "governor": ", ".join(sorted(set(_all(f"{cores}/scaling_governor")))),
        "frequency_megahertz": ", ".join(
            str(hertz // 1000) for hertz in sorted(set(_numbers(f"{cores}/scaling_cur_freq")))
        ),
        "temperature_celsius": f"{max(degrees) / 1000:.1f}" if degrees else "",
        **throttling(_said("vcgencmd", "get_throttled")),
    }
    with contextlib.suppress(OSError):
        found["load"] = f"{os.getloadavg()[0]:.2f}"
    return {name: text for name, text in found.items() if text}


def throttling(said):
    """Return what the firmware says slows the processor down, from `throttled=0x50005`; empty for anything else."""
    try:
        bits = int(said.strip().partition("throttled=")[2], 16)
    except ValueError:
        return {}
    return {
        name: ", ".join(what for bit, what in enumerate(THROTTLED) if bits >> (bit + shift) & 1) or "none"
        for name, shift in (("throttling", 0), ("throttling_since_boot", 16))
    }


def _said(*command):
    """Return what a program says on standard output; empty where there is none, or it hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2, env=dict(os.environ, LC_ALL="C"))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _all(pattern):
    return [text for text in (_read(path).strip() for path in sorted(glob.glob(pattern))) if text]


def _numbers(pattern):
    return [int(text) for text in _all(pattern) if text.lstrip("-").isdigit()]


def _read(path):
    try:
        with open(path, errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _stop(number, frame):
    raise Stop(f"signal {number}")


if __name__ == "__main__":  # also for what `python -c` executes
    try:
        main()
    except Stop as stop:
        sys.exit(str(stop))
