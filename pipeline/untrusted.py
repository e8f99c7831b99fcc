"""Reads `.tflite` files that may come from anyone, in a child process with limits and a sandbox.

`inspect.py` reads any file safely as far as we know; here it is shown to nothing that could be lost.
The interpreters' own children are the runners' (`runners/_child.py`, which these share).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.errors import error_from
from pipeline.flatbuffer import read_model
from pipeline.inspect import Inspection
from pipeline.runner import Settings
from pipeline.runners._child import answer_of, read_log, read_result, run_child

CHILD = Path(__file__).with_name("_untrusted_child.py")
# Beyond what Python and NumPy take: the file, its deflated copy, and the sorted values of a kernel.
MEGABYTES, MEGABYTES_A_MEGABYTE = 512, 12
SECONDS, SECONDS_A_MEGABYTE = 60.0, 1.0  # compressing takes most of it


def inspect_untrusted(path: Path) -> Inspection:
    """Return what `inspect_file` does. Raises BadModelFile, and RunnerFailed for a file that overruns a limit."""
    with tempfile.TemporaryDirectory(prefix="pipeline-inspect-") as name:
        folder = Path(name).resolve()
        answer, _ = ask("inspect", path, folder)
        with answer_of(str(path)):
            return Inspection.model_validate(answer)


def ask(task: str, path: Path, folder: Path, *, limits: Settings | None = None, **options: Any) -> tuple[Any, str]:
    """Let a child do a task of `_untrusted_child.py` on the file; return its answer and its log.

    folder: absolute; the child can write there and nowhere else. limits: None where the file is only read.
    """
    if not path.is_file():
        read_model(path)  # says what it is, and reads nothing
    size = path.stat().st_size / 1e6
    limits = limits or Settings(
        resident_megabytes=round(MEGABYTES + MEGABYTES_A_MEGABYTE * size),
        seconds=SECONDS + SECONDS_A_MEGABYTE * size,
    )
    request = {"task": task, "model": str(path.resolve()), "name": str(path), "options": options}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    run_child([sys.executable, "-P", str(CHILD), str(folder)], folder, [path], limits)
    with answer_of(str(path)):
        result = read_result(folder)
        if "error" in result:
            raise error_from(result["error"])
        return result["answer"], read_log(folder)
