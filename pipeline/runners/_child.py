"""Runs a child process that reads `.tflite` files, within limits: all that files from anyone are met with.

The child runs in the sandbox of `_sandbox.py` where there is one, and everywhere with the limits of
`_limited.py`. Its time, and the resident memory of all processes that come of it, are watched as
well: a hard limit counts what is reserved and not what is used, so it has to lie higher.

What it leaves in its folder comes from the file's author if the file has taken it over. `open_answer`
and what stands on it trust it with nothing.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pipeline.errors import RunnerFailed
from pipeline.runner import Settings
from pipeline.runners._sandbox import environment, sandboxed

if TYPE_CHECKING:
    import numpy as np

LAUNCHER = Path(__file__).with_name("_limited.py")
POLL_SECONDS = 0.02
# Address space that Python, NumPy and an interpreter reserve without a model (122 MB on x86-64), with room; and
# the stack and heap of each thread.
ADDRESS_BYTES, ADDRESS_BYTES_A_THREAD = 512_000_000, 144_000_000
SPARE_PROCESSOR_SECONDS = 5  # the time limit proper is the parent's; this one ends what has lost its parent
END_SECONDS = 10.0  # for the system to take down what was killed
LOG_BYTES = 65_536  # of its log's head and tail; nothing says that it stays short
JSON_BYTES = 100_000_000
# What reading an answer raises where somebody else wrote it.
_UNREADABLE = (
    *(OSError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError, MemoryError, RecursionError),
    StopIteration,
)


def run_child(command: Sequence[str], folder: Path, paths: Collection[Path], settings: Settings) -> str:
    """Run the command to its end within the limits, and return what confined it: "bubblewrap", or "none" and why.

    command: program and arguments, in absolute paths. folder: absolute; all that it can write,
    where `log` takes its output, where it leaves `result.json` and, at its end, a copy of its
    /proc/self/status. paths: the models. Raises RunnerFailed, never leaves it running.
    """
    names = ", ".join(str(path) for path in paths) or "no model"
    limit_bytes = settings.resident_megabytes * 1_000_000
    limit_seconds = settings.seconds * max(1, len(paths))
    readable = [Path(part) for part in command if part.startswith("/") and Path(part) != folder]
    confined, sandbox = sandboxed(command, folder, [*readable, *(path.resolve() for path in paths)])
    # Every process that comes of the child holds `held`, so `ended` tells when the last is gone.
    ended, held = os.pipe()
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), *hard_limits(settings, max(1, len(paths))), *confined],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                pass_fds=[held],
                start_new_session=True,  # one process group, so that it can be killed with its own children
            )
    finally:
        os.close(held)
    deadline = time.monotonic() + limit_seconds
    try:
        while _runs(process):
            check_memory(_peak_resident_bytes_together(process.pid), limit_bytes, names)
            if time.monotonic() > deadline:
                raise over_time(limit_seconds, names)
            time.sleep(POLL_SECONDS)
    finally:  # also on KeyboardInterrupt
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        select.select([ended], [], [], END_SECONDS)
        os.close(ended)
    judge_end(process.returncode, folder, limit_bytes, names)
    return sandbox


def _runs(process: subprocess.Popen) -> bool:
    # It is not reaped yet: its number is the group's, and must not be given to another before the group is killed.
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def hard_limits(settings: Settings, models: int) -> list[str]:
    """Return the arguments of `_limited.py`: this process, and the limits of its child."""
    limit_bytes = settings.resident_megabytes * 1_000_000
    threads = settings.threads * models
    address = limit_bytes + ADDRESS_BYTES + ADDRESS_BYTES_A_THREAD * threads
    seconds = math.ceil(settings.seconds * models * settings.threads) + SPARE_PROCESSOR_SECONDS
    return [str(number) for number in (os.getpid(), address, limit_bytes, seconds)]


def judge_end(code: int, folder: Path, limit_bytes: int, names: str) -> None:
    """Raise RunnerFailed unless a child ended well: exit code 0, a result, and no more memory than allowed."""
    check_memory(peak_resident_bytes(folder), limit_bytes, names)
    if code == 0 and (folder / "result.json").is_file():
        return
    log = read_log(folder)
    if "std::bad_alloc" in log or "MemoryError" in log:  # how C++ and Python meet the hard limit
        raise _over_memory("an allocation that the system refused", limit_bytes, names)
    raise _failed(
        f"the process with {names} crashed",
        f"{_ending(code)}; its last words: {log[-800:].strip() or 'none'}",
        "exit code 0",
        "the file may be damaged or use an operator that crashes: inspect it, or build it again",
    )


def over_time(limit_seconds: float, names: str) -> RunnerFailed:
    return _failed(
        f"the process with {names} overran its time limit",
        f"no end after {limit_seconds:g} s",
        f"an end within {limit_seconds:g} s",
        "raise limits.seconds in the target's TOML if the model is that slow",
    )


def check_memory(peak: int | None, limit_bytes: int, names: str) -> None:
    """Raise RunnerFailed for a peak resident size in bytes beyond the limit; None is not known."""
    # The peak and not the present size, so that nothing is missed between two looks.
    if peak is not None and peak > limit_bytes:
        raise _over_memory(f"{peak / 1e6:.0f} MB resident", limit_bytes, names)


def peak_resident_bytes(folder: Path) -> int | None:
    """Return the peak resident size of the child that ended, from its own copy of its status; None without one."""
    try:
        with open_answer(folder / "status") as stream:
            return _peak(stream.read(JSON_BYTES).decode(errors="replace"))
    except OSError:
        return None


def open_answer(path: Path) -> BinaryIO:
    """Open what a child left; raise OSError unless it is a file, and no link, pipe or device in its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no file")
    return os.fdopen(descriptor, "rb")


def read_log(folder: Path) -> str:
    """Return what the child printed: where it is long, its head and its tail."""
    with open_answer(folder / "log") as stream:
        head = stream.read(LOG_BYTES)
        stream.seek(max(LOG_BYTES, os.fstat(stream.fileno()).st_size - LOG_BYTES))
        return (head + stream.read(LOG_BYTES)).decode(errors="replace")


def read_result(folder: Path) -> Any:
    """Return `result.json`. Read it in `answer_of`."""
    with open_answer(folder / "result.json") as stream:
        return json.loads(stream.read(JSON_BYTES))


def read_array(path: Path, dtype: str, dimensions: int, rows: int | None) -> np.ndarray:
    """Return an array that a child saved: so many dimensions or more, so many rows where they are known.

    Read it in `answer_of`: it raises where it is none, or another.
    """
    import numpy as np

    with open_answer(path) as stream:
        array = np.load(stream, allow_pickle=False)
    if array.dtype != dtype or array.ndim < dimensions or not array.size or rows not in (None, len(array)):
        raise ValueError(f"{path.name} holds {array.dtype} {list(array.shape)}")
    return array


@contextmanager
def answer_of(names: str) -> Iterator[None]:
    """Read a child's answer in this context: what is not as it says raises RunnerFailed.

    names: of the files that the child had. The project's own errors pass.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise _failed(
            f"the process with {names} gave no answer that can be read",
            f"{type(error).__name__}: {error}",
            "the files that it writes when nothing has altered it",
            "do not trust the file; build it again from its source",
        ) from error


def _over_memory(received: str, limit_bytes: int, names: str) -> RunnerFailed:
    return _failed(
        f"the process with {names} overran its memory limit",
        received,
        f"at most {limit_bytes / 1e6:.0f} MB",
        "raise limits.resident_megabytes in the target's TOML if the model is that large",
    )


def _peak_resident_bytes_together(pid: int) -> int | None:
    """Return the sum of the peak resident sizes of a process and all that come of it; None where there is no /proc."""
    peaks = [peak for peak in map(peak_of_process, _family(pid)) if peak is not None]
    return sum(peaks) if peaks else None


def _family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants: in a sandbox, the interpreter is bubblewrap's grandchild."""
    yield pid
    try:
        listed = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it has just ended
        return
    for child in " ".join(listed).split():
        yield from _family(int(child))


def peak_of_process(pid: int) -> int | None:
    """Return the peak resident size of a living process in bytes; None where the system does not tell."""
    try:
        return _peak(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None


def _peak(status: str) -> int | None:
    """Return VmHWM of a /proc/…/status in bytes, which starts anew at exec."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _ending(code: int) -> str:
    number = -code if code < 0 else code - 128  # bubblewrap says 128 + signal, as shells do
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        return f"exit code {code}"


def _failed(message: str, received: str, expected: str, fix: str) -> RunnerFailed:
    return RunnerFailed(message, received=received, expected=expected, fix=fix)
