"""The sandbox around a child process that reads a file from anyone: bubblewrap, where it is there and works.

Inside are the system's libraries, this Python and the files named, all read-only, and one folder
that can be written. There is no network, no other process, no home folder and no socket of the
system: with a socket such as Docker's, a process without network would still command the machine.
"""

from __future__ import annotations

import functools
import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
TRIAL_SECONDS = 20
INSTALL = "apt-get install bubblewrap"
# What programs and libraries lie in; the processor's description is what XNNPACK chooses kernels by.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix"),
    *("/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu"),
)
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")


def sandboxed(command: Iterable[str], folder: Path, paths: Iterable[Path]) -> tuple[list[str], str]:
    """Return the command as it is run, and what confines it: "bubblewrap", or "none" and why.

    folder: absolute; all that the command can write. paths: what it may read besides Python.
    """
    refused = why_unusable()
    if refused:
        return list(command), f"none ({refused})"
    return [*_bubblewrap(folder, paths), *command], "bubblewrap"


@functools.cache
def why_unusable() -> str:
    """Return why bubblewrap cannot be used here, or "". It is tried once: containers often refuse it."""
    if shutil.which("bwrap") is None:
        return f"bubblewrap is not installed: {INSTALL}"
    with tempfile.TemporaryDirectory(prefix="pipeline-sandbox-") as name:
        command = [*_bubblewrap(Path(name).resolve(), ()), sys.executable, "-P", "-c", "import numpy"]
        try:
            done = subprocess.run(
                command, env=environment(), capture_output=True, text=True, timeout=TRIAL_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bwrap fails: {error}"
    words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return f"bwrap fails: {words[-1]}" if done.returncode else ""


def environment() -> dict[str, str]:
    """Return what of the environment a child needs; the rest may hold secrets."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # NumPy's own threads compute nothing in these children, and their buffers would blur the memory.
    return {**kept, "OPENBLAS_NUM_THREADS": "1"}


def _bubblewrap(folder: Path, paths: Iterable[Path]) -> list[str]:
    command = [str(shutil.which("bwrap")), "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    bound = [*_SYSTEM, *_python_folders()]
    # What lies in these is there already, and bubblewrap mounts nothing upon a link such as venv/bin/python.
    bound += [str(path) for path in paths if not any(path.is_relative_to(known) for known in bound)]
    for place in dict.fromkeys(bound):
        command += ["--ro-bind-try", place, place]
    command += ["--proc", "/proc", "--dev", "/dev", "--bind", str(folder), str(folder)]
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(folder), "--"]


def _python_folders() -> list[str]:
    """Return where this Python, its packages and this one lie."""
    named = [part for name in ("PYTHONPATH", "LD_LIBRARY_PATH") for part in os.environ.get(name, "").split(os.pathsep)]
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    found = [sys.base_prefix, sys.prefix, *site.getsitepackages(), *user, *named, str(PACKAGE)]
    return [os.path.abspath(part) for part in dict.fromkeys(found) if part]
