"""The process in which steps run, one for a whole build: `python -m pipeline.worker ROOT`.

TensorFlow's log lines, crashes, memory and choice of Keras stay out of the caller's process,
and TensorFlow loads once however many stages need it. Requests come as JSON lines on stdin;
answers go as JSON lines to the stdout that the process started with. Everything that a step
or a library prints goes to stderr, which the caller has turned into a log file.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from pipeline.errors import DiskFull, PipelineError, StepFailed, is_disk_full

_FULL_BELOW = 64 * 1024  # bytes free; libraries report a full disk in many ways


def main() -> None:
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    root = Path(sys.argv[1])

    def answer(kind: str, value: object) -> None:
        answers.write(json.dumps({kind: value}) + "\n")

    for line in sys.stdin:
        request = json.loads(line)
        try:
            started = time.perf_counter()
            facts = _run(root, request, lambda progress: answer("progress", progress))
            answer("done", {"facts": facts, "seconds": time.perf_counter() - started})
        except PipelineError as error:
            answer("error", error.as_dict())
        except Exception as error:
            traceback.print_exc()
            answer("error", _unexpected(error, Path(request["out"])).as_dict())


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that `kill -9` leaves no orphan."""
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _run(root: Path, request: dict[str, Any], report: Any) -> dict[str, Any]:
    from pipeline.lookup import load_module
    from pipeline.workload import load_workload

    step = load_module(Path(request["step"]), "step")
    workload = load_workload(request["workload"], root)
    source = Path(request["source"]) if request["source"] else None
    out = Path(request["out"])
    facts = step.run(source, workload, step.Config.model_validate(request["config"]), out, report)
    if step.PRODUCES == "tflite":
        from pipeline.verify import verify

        promises = {**request["promises"], **facts.get("promises", {})}
        facts["file"] = verify(out, workload, promises, request["runner"])
    return facts


def _unexpected(error: Exception, out: Path) -> PipelineError:
    full = is_disk_full(error)
    with contextlib.suppress(OSError):
        full = full or shutil.disk_usage(out).free < _FULL_BELOW
    if full:
        return DiskFull.at(out)
    return StepFailed(
        f"the step failed: {type(error).__name__}: {str(error).strip()[:500]}",
        received=type(error).__name__,
        expected="a step that ends without an exception",
        fix="the log that is named below holds the traceback",
    )


if __name__ == "__main__":
    main()
