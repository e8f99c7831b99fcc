"""The vela runner's child process: Arm's compiler, ended with its parent.

    python -P _vela_child.py PARENT ARGUMENT…    ARGUMENTs are those of the command `vela`

The console script does the same but outlives a parent that is killed, and is not always beside the interpreter.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):  # it ended before the line above
        sys.exit("the parent is gone")
    from ethosu.vela.vela import main

    sys.exit(main(sys.argv[2:]))
