"""The machine-wide lock: trainings run side by side, a benchmark runs alone.

`flock` on two files in the machine's temporary folder. The operating system frees it when its
holder ends, `kill -9` included. filelock's ReadWriteLock does not serve: it creates its database
for one user (mode 0600), so a second user of the machine is refused. Here reading is enough.

The second file is a turnstile: everyone passes it to reach the lock, and a waiting benchmark
stands in it, so that trainings that keep overlapping cannot keep a benchmark out for ever.
A process must not take the lock again inside itself: it would wait for itself.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

QUIET_SECONDS = 0.5  # a shorter wait is not worth a line
POLL_SECONDS = 0.02


@contextmanager
def training(waiting: Callable[[str], None], folder: Path | None = None) -> Iterator[None]:
    """Hold the lock shared; `waiting` is called once with a line for a person if it takes long."""
    with _held(fcntl.LOCK_SH, "waiting for a benchmark on this machine, which runs alone", waiting, folder):
        yield


@contextmanager
def benchmarking(waiting: Callable[[str], None], folder: Path | None = None) -> Iterator[None]:
    """Hold the lock exclusively; `waiting` is called once with a line for a person if it takes long."""
    with _held(
        fcntl.LOCK_EX, "waiting for trainings and benchmarks on this machine: a benchmark runs alone", waiting, folder
    ):
        yield


@contextmanager
def _held(kind: int, message: str, waiting: Callable[[str], None], folder: Path | None) -> Iterator[None]:
    folder = folder or Path(tempfile.gettempdir())
    with _opened(folder / "edge-pipeline-turnstile.lock") as turnstile, _opened(folder / "edge-pipeline.lock") as lock:
        deadline = time.monotonic() + QUIET_SECONDS
        while not _take(turnstile, lock, kind, fcntl.LOCK_NB):
            if time.monotonic() > deadline:
                waiting(message)
                _take(turnstile, lock, kind, 0)
                break
            time.sleep(POLL_SECONDS)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        yield


def _take(turnstile: int, lock: int, kind: int, mode: int) -> bool:
    """Pass the turnstile and take the lock. False leaves us in the turnstile if we got that far."""
    try:
        fcntl.flock(turnstile, fcntl.LOCK_EX | mode)
        fcntl.flock(lock, kind | mode)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open for reading, which is all that flock needs; closing it frees the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444)
        os.fchmod(descriptor, 0o444)  # whatever this user's umask: other users of the machine read it too
    except FileExistsError:
        # Without O_CREAT: Linux refuses that on another user's file in a shared folder (fs.protected_regular).
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
