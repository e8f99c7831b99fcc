"""Sets hard limits on its own process and then becomes the command that it is given.

    python -I -S _limited.py PARENT ADDRESS_BYTES FILE_BYTES PROCESSOR_SECONDS COMMAND…

A program of its own and not `preexec_fn`, which may deadlock where threads run, as TensorFlow's do.
The limits and the promise to die with the parent outlive `exec`, and every process that comes of
this one has them; see setrlimit(2) and prctl(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38


def limit(address_bytes: int, file_bytes: int, processor_seconds: int) -> None:
    """Bound this process's memory, each file that it writes and its processor time; it leaves no core file."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, address_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CPU, processor_seconds),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)  # a limit that is there already stays
        resource.setrlimit(kind, (most, most))


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent ends, however that one ends; give up new privileges."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the lines above
        sys.exit("the parent is gone")


if __name__ == "__main__":
    parent, *limits = map(int, sys.argv[1:5])
    die_with_parent(parent)
    limit(*limits)
    os.execv(sys.argv[5], sys.argv[5:])
