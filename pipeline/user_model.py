"""A model that a user's own Python function gives: `invoke new --model=net.py:make`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline.errors import BadWorkload
from pipeline.lookup import load_file


def call_function(path: Path, function: str, *arguments: Any, **options: Any) -> Any:
    """Return what a function in a Python file returns; the file may import its neighbours.

    A Keras 3 model is rebuilt from legacy layers, weights and outputs equal. Raises RequestError where the file
    cannot be imported, BadModelFile for a layer that legacy Keras lacks, BadWorkload where it returns no model.
    """
    if (folder := str(path.parent)) not in sys.path:
        sys.path.insert(0, folder)
    model = getattr(load_file(path, "model"), function)(*arguments, **options)
    from pipeline.keras_legacy import keras

    if isinstance(model, keras.Model):
        return model
    if type(model).__module__.startswith("keras.") and getattr(model, "inputs", None):
        from pipeline.steps._keras3 import rebuild

        return rebuild(model)
    raise BadWorkload(
        f"{function}() in {path} does not return a Keras model",
        received=f"{type(model).__module__}.{type(model).__name__}",
        expected="an untrained sequential or functional model with inputs of known shapes, logits out",
        fix="build it with `from pipeline.keras_legacy import keras`, or save it and give the .keras file",
    )
