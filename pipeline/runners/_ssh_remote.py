"""What the ssh runner sends ahead: runs the interpreter's child on the board, and leaves nothing behind.

It comes over the connection's standard input and is never written to the board's disk. After it,
on the same input: a line with a number of bytes, and a tar of so many bytes, with what the child
reads (`_host_child.py`) and `remote.json`. The answer goes to standard output: the marker of
`remote.json` on a line, a line with a number of bytes, and a tar with what the child wrote and
`remote-result.json`.

The input stays open until the answer is there. Its end means that the other side is gone: without a
terminal, sshd tells nobody. So the child and the folder go as soon as the connection does.

Python 3.9 and its standard library; the child needs numpy and an interpreter.
"""

import contextlib
import glob
import io
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

POLL_SECONDS = 0.05
LOG_CHARACTERS = 2000
PACKAGES = ("ai-edge-litert", "tflite-runtime")


class Stop(Exception):
    """The other side is gone, or a signal asks to end."""


class Limit(Exception):
    """The child overran a limit; the text says which."""


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _stop)
    source = sys.stdin.buffer
    payload = source.read(int(source.readline()))
    with tarfile.open(fileobj=io.BytesIO(payload)) as sent:
        request = json.loads(sent.extractfile("remote.json").read())  # type: ignore[union-attr]
    answer = io.BytesIO()
    with tarfile.open(fileobj=answer, mode="w") as archive:
        try:
            folder = tempfile.mkdtemp(prefix="pipeline-", dir=request["folder"])
            try:
                result = _run(folder, payload, request, archive)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            result = {"error": "system", "text": str(error), "errno": error.errno}
        except Limit as limit:
            result = {"error": "limit", "text": str(limit)}
        _add(archive, "remote-result.json", json.dumps(dict(result, board=board(), after=conditions())).encode())
    content = answer.getvalue()
    out = sys.stdout.buffer
    out.write(f"\n{request['marker']}\n{len(content)}\n".encode())
    out.write(content)
    out.flush()


def _run(folder, payload, request, archive):
    """Run the child in the folder; put what it wrote into the archive."""
    with tarfile.open(fileobj=io.BytesIO(payload)) as sent:
        for member in sent.getmembers():
            with open(os.path.join(folder, os.path.basename(member.name)), "wb") as stream:
                stream.write(sent.extractfile(member).read())  # type: ignore[union-attr]
    before = conditions()
    log_path = os.path.join(folder, "log")
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [request["python"], "_host_child.py", folder],
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
            archive.add(os.path.join(folder, name), name)
    with open(log_path, errors="replace") as log:
        text = log.read()[-LOG_CHARACTERS:]
    return {"code": process.returncode, "log": text, "before": before, "emulated": emulated}


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
    emulated = False
    while process.poll() is None:
        emulated = emulated or _is_emulated(process.pid)
        if select.select([sys.stdin], [], [], POLL_SECONDS)[0] and not os.read(0, 1):
            raise Stop("the connection is gone")
        peak = _peak_bytes(process.pid)
        if peak > request["bytes"]:
            raise Limit(f"{peak // 10**6} MB resident, at most {request['bytes'] // 10**6} MB are allowed")
        if time.monotonic() > deadline:
            raise Limit(f"no end after {request['seconds']:g} s")
    return emulated


def _is_emulated(child):
    """True for a process that a user-mode emulator runs: its program is the emulator's, seen from another process."""
    try:
        return os.path.basename(os.readlink(f"/proc/{child}/exe")).startswith("qemu-")
    except OSError:
        return False


def _peak_bytes(pid):
    found = [line for line in _read(f"/proc/{pid}/status").splitlines() if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) * 1024 if found else 0


def board():
    """Return what the board is, text by name: the same at every call."""
    cpuinfo = _read("/proc/cpuinfo").splitlines()
    names = [line.split(":", 1)[1].strip() for line in cpuinfo if line.lower().startswith(("model name", "hardware"))]
    facts = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "processor": names[0] if names else "",
        "model": _read("/proc/device-tree/model").strip("\0 \n"),
        "python": platform.python_version(),
    }
    try:
        from importlib import metadata
    except ImportError:
        return facts
    for name in (*PACKAGES, "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts[name] = metadata.version(name)
    return facts


def conditions():
    """Return what varies and slows a board down, text by name, as far as it tells."""
    found = {}
    governors = {_read(path).strip() for path in glob.glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")}
    if governors - {""}:
        found["governor"] = ", ".join(sorted(governors - {""}))
    degrees = [_read(path).strip() for path in glob.glob("/sys/class/thermal/thermal_zone*/temp")]
    degrees = [int(text) / 1000 for text in degrees if text.lstrip("-").isdigit()]
    if degrees:
        found["temperature_celsius"] = f"{max(degrees):.1f}"
    if shutil.which("vcgencmd"):
        try:
            told = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=2).stdout
            bits = int(told.strip().split("=")[1], 16)
            names = ("under-voltage", "frequency capped", "throttled")
            now = [name for bit, name in enumerate(names) if bits >> bit & 1]
            found["throttling"] = ", ".join(now) or "none"
        except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
            pass
    with contextlib.suppress(OSError):
        found["load"] = f"{os.getloadavg()[0]:.2f}"
    return found


def _read(path):
    try:
        with open(path, errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _add(archive, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _stop(number, frame):
    raise Stop(f"signal {number}")


if __name__ == "__main__":  # also for what `python -c` executes
    try:
        main()
    except Stop as stop:
        sys.exit(str(stop))
