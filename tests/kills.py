"""Publishing that is killed at random moments, while a reader looks: for destinations that are servers.

Each process is a fork of the test's, which has done the imports: the kill falls into the publishing and not before.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def kill_at_random(action: Callable[[], object], longest: float, dice: random.Random) -> bool:
    """Run `action` in a fork, killed after 0..longest seconds; True where the kill came before its end."""
    child = _forked(action)
    time.sleep(dice.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError("the publishing itself failed before it was killed")
    return os.WIFSIGNALED(status)


@contextmanager
def polling(look: Callable[[], object], folder: Path) -> Iterator[None]:
    """Call `look` again and again in a fork; what it raises fails the test, with its text."""
    stop, said, looked = folder / "stop", folder / "said", folder / "looked"

    def loop() -> None:
        times = 0
        while not stop.exists():
            try:
                look()
            except BaseException:
                said.write_text(traceback.format_exc())
                raise
            times += 1
            looked.write_text(str(times))
            time.sleep(0.005)

    child = _forked(loop)
    try:
        yield
    finally:
        stop.touch()
        os.waitpid(child, 0)
    assert not said.exists(), said.read_text()
    assert int(looked.read_text()) > 10, "the reader hardly looked"


def _forked(action: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        action()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
