"""The process in which steps run, one for a whole build: `python -m pipeline.worker ROOT PARENT`.

TensorFlow's log lines, crashes, memory and choice of Keras stay out of the caller's process,
and TensorFlow loads once however many stages need it. Requests come as JSON lines on stdin;
answers go as JSON lines to the stdout that the process started with. Everything that a step
or a library prints goes to stderr, which the caller has turned into a log file.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.errors import BadModelFile, DataError, DiskFull, PipelineError, StepFailed, is_disk_full

_FULL_BELOW = 64 * 1024  # bytes free; libraries report a full disk in many ways


def main() -> None:
    die_with_parent(int(sys.argv[2]))
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


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent dies, so that `kill -9` leaves no orphan."""
    with contextlib.suppress(OSError, AttributeError):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it was asked
        os._exit(1)


def _run(root: Path, request: dict[str, Any], report: Any) -> dict[str, Any]:
    from pipeline.lookup import load_module
    from pipeline.workload import load_workload

    step = load_module(Path(request["step"]), "step")
    workload = load_workload(request["workload"], root)
    source = Path(request["source"]) if request["source"] else None
    out = Path(request["out"])
    facts = step.run(source, workload, step.Config.model_validate(request["config"]), out, report)
    _refuse_unusable(facts)
    if step.PRODUCES == "tflite":
        from pipeline.verify import verify

        promises = {**request["promises"], **facts.get("promises", {})}
        try:
            facts["file"] = verify(out, workload, promises, request["runner"])
        except (BadModelFile, DataError) as error:  # not the user's file: the step's
            raise StepFailed(
                f"the step {Path(request['step']).stem} gave no model.tflite that can be used",
                received=error.received,
                expected=error.expected,
                fix="see the step that made the file",
            ) from error
    return facts


def _refuse_unusable(facts: Any) -> None:
    """Raise StepFailed for facts that the store cannot keep: they must be an object of JSON with finite numbers."""
    expected = "a dict of text, finite numbers, lists and dicts"
    if not isinstance(facts, dict):
        raise StepFailed(
            "the step does not return its facts", received=type(facts).__name__, expected=expected, fix="return {}"
        )
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise StepFailed(
            "the step's facts are not JSON",
            received=str(error),
            expected=expected,
            fix="convert them with float() or list()",
        ) from error
    except ValueError as error:
        raise StepFailed(
            "a number among the step's facts is not finite",
            received="; ".join(islice(_not_finite(facts), 3)),
            expected=expected,
            fix="a training that diverges gives nan: lower its learning_rate",
        ) from error


def _not_finite(value: Any, field: str = "") -> Iterator[str]:
    """Yield `field = nan` for each number that is not finite, by dotted field."""
    if isinstance(value, dict | list | tuple):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _not_finite(part, f"{field}.{name}" if field else str(name))
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{field} = {value}"


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
