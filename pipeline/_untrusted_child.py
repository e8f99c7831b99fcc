"""The child process of `untrusted.py`: does one task on one `.tflite` file, writes the answer down, ends.

python -P _untrusted_child.py FOLDER

FOLDER/request.json     {"task": a name of TASKS, "model": path, "name": as the user wrote it, "options": {…}}
FOLDER/result.json      {"answer": …} or {"error": {…}}
FOLDER/status           this process's /proc/self/status at the end
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def inspect(model: Path, folder: Path) -> dict[str, Any]:
    """Return the Inspection as JSON's types."""
    from pipeline.inspect import inspect_file

    return inspect_file(model).model_dump(mode="json")


def cut(model: Path, folder: Path, cuts_max: int) -> dict[str, Any]:
    """Write prefixes of the model into the folder; return what `operator_times.py` needs to know of them."""
    from pipeline.operator_cuts import cut as cut_model

    return cut_model(model, folder, cuts_max)


def dissect(model: Path, folder: Path) -> dict[str, Any]:
    """Return the Dissection as JSON's types."""
    from pipeline.anatomy.dissect import dissect as dissect_model

    return dissect_model(model, folder).model_dump(mode="json")


TASKS: dict[str, Callable[..., Any]] = {"inspect": inspect, "cut": cut, "dissect": dissect}


def main(folder: Path) -> None:
    from pipeline.errors import PipelineError

    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    model, name = request["model"], request["name"]
    try:
        result = {"answer": TASKS[request["task"]](Path(model), folder, **request["options"])}
    except PipelineError as error:
        result = {"error": {field: text.replace(model, name) for field, text in error.as_dict().items()}}
    if sys.platform == "linux":
        shutil.copyfile("/proc/self/status", folder / "status")
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package, wherever it lies
    main(Path(sys.argv[1]))
