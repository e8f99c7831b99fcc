"""A model that a user's own Python function gives: `invoke new --model=net.py:make`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline.errors import BadWorkload
from pipeline.lookup import load_file


def call_function(path: Path, function: str, *arguments: Any) -> Any:
    """Return what a function in a Python file returns; the file may import its neighbours.

    Raises RequestError where the file cannot be imported, BadWorkload where it returns no legacy Keras model.
    """
    if (folder := str(path.parent)) not in sys.path:
        sys.path.insert(0, folder)
    model = getattr(load_file(path, "model"), function)(*arguments)
    if not type(model).__module__.startswith("keras.") and hasattr(model, "layers"):
        return model
    raise BadWorkload(
        f"{function}() in {path} does not return a legacy Keras model",
        received=f"{type(model).__module__}.{type(model).__name__}",
        expected="a model of tf_keras, untrained, logits out",
        fix="build it with `from pipeline.keras_legacy import keras`, or save it and give the .keras file",
    )
