"""The small project's stages as sources of single steps, and the files that these end in."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from step_runs import varied

from pipeline.inspect import Inspection, inspect_file
from pipeline.store import Store
from pipeline.verify import verify

RUNNER = {"runner": "host", "threads": 1, "resident_megabytes": 4000, "seconds": 60}
INT8 = {"input_dtype": "int8", "output_dtype": "int8"}


def stage_folder(built: Path, document: dict, name: str) -> Path:
    """Return the folder of a stage of the small project's build."""
    key = next(stage["key"] for stage in document["stages"] if stage["name"] == name)
    entry = Store(built / "artifacts" / "store").get(key)
    assert entry is not None
    return entry.folder


def verified(out: Path, *facts: dict[str, Any]) -> Inspection:
    """Hold `out/model.tflite` against the promises of all steps, first to last, as a build does."""
    promises = {name: value for found in facts for name, value in found.get("promises", {}).items()}
    # A network that trained for seconds is unsure of many digits, and 8 bits decide those anew.
    with patch("pipeline.learning_tasks.classification.AGREEMENT_MIN", 0.95):
        verify(out, varied(), promises, RUNNER)
    return inspect_file(out / "model.tflite")


def int8_kernels(path: Path) -> dict[str, np.ndarray]:
    """Return the small network's kernels, int8 [outputs, weights of one output], as LiteRT holds them."""
    layers = {(8, 5, 5, 1): "conv", (16, 1152): "dense", (10, 16): "logits"}
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    found = {}
    for detail in interpreter.get_tensor_details():
        shape = tuple(detail["shape"])
        if shape in layers and detail["dtype"] == np.int8:
            found[layers[shape]] = interpreter.get_tensor(detail["index"]).reshape(shape[0], -1)
    return found
