"""The one place that chooses the Keras generation and makes TensorFlow repeatable.

TensorFlow Model Optimization works on Keras 2 alone (model-optimization#1141, #1181).
Training code imports `keras` and `tf` from here; users never set a switch. The switch
counts only when it is set before TensorFlow loads, so a process that already loaded
TensorFlow with Keras 3 is refused with the way out.
"""

from __future__ import annotations

import os
import sys

from pipeline.errors import EnvironmentUnsuited

_SWITCH = "TF_USE_LEGACY_KERAS"
if "tensorflow" in sys.modules and os.environ.get(_SWITCH) != "1":
    raise EnvironmentUnsuited(
        "TensorFlow was loaded with Keras 3 before this pipeline could choose Keras 2",
        received=f"tensorflow imported, {_SWITCH}={os.environ.get(_SWITCH)!r}",
        expected=f"{_SWITCH}=1 before TensorFlow loads",
        fix=f"import pipeline.keras_legacy before tensorflow, or set {_SWITCH}=1",
    )
os.environ[_SWITCH] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notices drown our own lines

import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402

__all__ = ["keras", "make_repeatable", "tf"]


def make_repeatable(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow and ask for deterministic kernels.

    With both, two processes on one machine write byte-identical `.tflite` files.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
