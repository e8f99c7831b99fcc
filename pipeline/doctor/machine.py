"""This Python and this machine: system, processor, memory, disk, and whether files can be written."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path

from pipeline.doctor.finding import Finding

NEEDED_PYTHON = (3, 11)
NEW_ENVIRONMENT = "python3.11 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt -e ."
TOLD_FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")
# The store of all five shipped targets takes 45 MB; TensorFlow in training, with MNIST, stays below a gigabyte.
FREE_BYTES, FREE_MEMORY_BYTES = 200_000_000, 2_000_000_000


def machine(root: Path) -> list[Finding]:
    """Return what this Python, the machine and the project's folder are like."""
    return [
        python(sys.version_info[:3], sys.executable),
        system(platform.system(), platform.machine()),
        processor(platform.machine(), _read("/proc/cpuinfo")),
        memory(_available_bytes()),
        disk(root),
        *(written(name, folder) for name, folder in (("artifacts", root / "artifacts"), ("temporary", _temporary()))),
    ]


def python(version: tuple[int, ...], executable: str) -> Finding:
    """Return whether this is the Python that the packages are for."""
    told = f"{'.'.join(map(str, version))}, {executable}"
    if version[:2] != NEEDED_PYTHON:
        return Finding("python", True, "failed", f"{told}, and 3.11 is needed", NEW_ENVIRONMENT)
    return Finding("python", True, "ok", told)


def system(name: str, architecture: str) -> Finding:
    """Return whether this is Linux on a processor that TensorFlow is published for."""
    told = f"{name} {architecture}"
    if name != "Linux":
        return Finding("system", True, "failed", f"{told}; needed is Linux, such as in", "docker run -it python:3.11")
    if architecture not in ("x86_64", "aarch64"):
        return Finding("system", True, "failed", f"{told}: TensorFlow is published for x86_64 and aarch64", "uname -m")
    return Finding("system", True, "ok", told)


def processor(architecture: str, cpuinfo: str) -> Finding:
    """Return what TensorFlow and the interpreter may use of the processor, from the text of /proc/cpuinfo."""
    flags = set(" ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)).split())
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    told = [model[1]] if model else []
    told += [f"{os.cpu_count()} cores", " ".join(flag for flag in TOLD_FLAGS if flag in flags) or "no vector flags"]
    if not flags:
        return Finding("processor", True, "warning", f"{architecture}, whose features are not told", "lscpu")
    if architecture == "x86_64" and "avx" not in flags:
        told.append("without AVX, TensorFlow ends with an illegal instruction; use another machine, or one that")
        return Finding("processor", True, "failed", ", ".join(told) + " shows it in", "grep -m1 -w avx /proc/cpuinfo")
    return Finding("processor", True, "ok", ", ".join(told))


def memory(available: int | None) -> Finding:
    """Return whether the free memory, in bytes, is enough for a training."""
    if available is None:
        return Finding("memory", True, "warning", "how much is free is not told", "free -h")
    told = f"{available / 1e9:.1f} GB free"
    if available < FREE_MEMORY_BYTES:
        told += ": a training may be ended by the system; end what takes it"
        return Finding("memory", True, "warning", told, "ps aux --sort=-rss | head")
    return Finding("memory", True, "ok", told)


def disk(root: Path) -> Finding:
    """Return whether the project's file system has room for the store."""
    free = shutil.disk_usage(_nearest(root)).free
    told = f"{free / 1e9:.1f} GB free"
    if free < FREE_BYTES:
        return Finding("disk", True, "failed", f"{told}, {FREE_BYTES / 1e9:.1f} GB are needed", "invoke store.gc")
    return Finding("disk", True, "ok", told)


def written(name: str, folder: Path) -> Finding:
    """Return whether files can be written to a folder, by writing one and removing it."""
    there = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(name, True, "failed", f"{there} cannot be written: {error.strerror}", f"ls -ld '{there}'")
    return Finding(name, True, "ok", f"{folder} can be written")


def _temporary() -> Path:
    """Return the folder for temporary files; where there is none that can be written, the one it should be."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return Path(os.environ.get("TMPDIR", "/tmp"))


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _available_bytes() -> int | None:
    """Return what is free of the machine's memory, or of the container's limit where that is less."""
    told = re.search(r"^MemAvailable:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    free = [int(told[1]) * 1024] if told else []
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        free.append(int(limit) - int(used))
    return min(free, default=None)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
