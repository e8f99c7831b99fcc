"""Runs children as `pipeline.runners._child.run_child` does, thirty times as fast: for fuzzing.

A child takes 0.2 s to start, most of it for its imports. Here one process, started in the same
sandbox by the same launcher, has them done; each case is a fork of it with the same hard limits,
which does what the child's own program does in its folder. Only resident memory is not watched
while it runs: the hard limit and the peak at its end remain.

    python -P fork_server.py      a line {"program", "folder", "limits", "seconds"} on stdin,
                                  a line {"code", "seconds"} on stdout; code null: killed at its time limit
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class ForkServer:
    """A context manager; `run_child` stands in for that of `_child.py`. `folder`: what the children can write."""

    def __init__(self, folder: Path):
        from pipeline.runner import Settings
        from pipeline.runners import _child
        from pipeline.runners._sandbox import environment, sandboxed

        self.child = _child
        self.slowest_seconds = 0.0
        command = [sys.executable, "-P", str(Path(__file__).resolve())]
        confined, self.sandbox = sandboxed(command, folder.resolve(), [Path(__file__).resolve().parent])
        limits = _child.hard_limits(Settings(resident_megabytes=4096, seconds=3600), 1)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_child.LAUNCHER), *limits, *confined],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *raised: object) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()

    def run_child(self, command: Sequence[str], folder: Path, paths: Collection[Path], settings: Any) -> str:
        names = ", ".join(map(str, paths))
        _, *limits = map(int, self.child.hard_limits(settings, max(1, len(paths))))
        seconds = settings.seconds * max(1, len(paths))
        program = Path(command[-2]).stem
        request = {"program": program, "folder": str(folder), "limits": limits, "seconds": seconds}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server itself ended while it ran {names}")
        answer = json.loads(line)
        self.slowest_seconds = max(self.slowest_seconds, answer["seconds"])
        if answer["code"] is None:
            raise self.child.over_time(seconds, names)
        self.child.judge_end(answer["code"], folder, settings.resident_megabytes * 1_000_000, names)
        return self.sandbox


def serve() -> None:
    sys.path.insert(0, str(ROOT))
    # The programs import these where they first need them, np.unique does numpy.ma: longer than a case takes.
    import ai_edge_litert.schema_py_generated  # noqa: F401
    import numpy.ma  # noqa: F401

    import pipeline._untrusted_child as _untrusted_child
    import pipeline.inspect
    import pipeline.operator_cuts
    import pipeline.steps._pack
    import pipeline.steps.slim  # noqa: F401
    from pipeline.runners import _host_child, _limited

    gc.freeze()  # a collection in a fork would write to, and so copy, every page of it
    programs = {"_host_child": _host_child.main, "_untrusted_child": _untrusted_child.main}
    for line in sys.stdin:
        request = json.loads(line)
        folder, started = Path(request["folder"]), time.monotonic()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                _limited.limit(*request["limits"])
                programs[request["program"]](folder)
                code = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        code = _wait(child, started + request["seconds"])
        print(json.dumps({"code": code, "seconds": time.monotonic() - started}), flush=True)


def _wait(child: int, deadline: float) -> int | None:
    """Return the exit code, negative for a signal, or None for a child that had to be killed."""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return None
        time.sleep(0.0005)


if __name__ == "__main__":
    serve()
