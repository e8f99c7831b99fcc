"""TensorFlow and the interpreter, tried: what is installed need not work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pipeline.doctor.finding import Finding, looked_at
from pipeline.doctor.requirements import ROOT, install_command
from pipeline.errors import EnvironmentUnsuited

MODEL = Path(__file__).with_name("tiny_int8.tflite")
TENSORFLOW_SECONDS = 180  # it loads in 8 s; on a machine that has just started from a slow disk in many more
_LOAD = """
from pipeline.keras_legacy import keras, tf
import tensorflow_model_optimization
print(f"TensorFlow {tf.__version__} with Keras {keras.__version__}")
"""


def interpreter() -> Finding:
    """Return whether the interpreter runs a tiny file in its child process, and by which kernels."""
    return looked_at("interpreter", True, _run_tiny_file)


def tensorflow(quick: bool = False) -> Finding:
    """Return whether TensorFlow loads, with the Keras that training needs, in a process of its own."""
    if quick:
        return Finding("tensorflow", True, "left out", "not loaded, which takes seconds; without --quick it is")
    return looked_at("tensorflow", True, _load_tensorflow)


def _run_tiny_file() -> str:
    from pipeline.runner import Settings
    from pipeline.runners import host

    result = host.run({"tiny": MODEL}, None, Settings(rounds=1))
    return f"LiteRT {result.device.fingerprint['ai-edge-litert']} ran a file: {result.models['tiny'].kernels}"


def _load_tensorflow() -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOAD],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TENSORFLOW_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _broken(f"no answer within {TENSORFLOW_SECONDS} s") from None
    if done.returncode == -signal.SIGILL:
        raise EnvironmentUnsuited(
            "TensorFlow does not run on this processor",
            received="illegal instruction; /proc/cpuinfo must name avx",
            expected="a processor with AVX",
            fix="grep -m1 -w avx /proc/cpuinfo",
        )
    if done.returncode < 0:
        raise _broken(f"signal {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise _broken((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300])
    return done.stdout.strip().splitlines()[-1]


def _broken(received: str) -> EnvironmentUnsuited:
    return EnvironmentUnsuited(
        "TensorFlow does not load",
        received=received,
        expected="TensorFlow, tf-keras and tensorflow-model-optimization",
        fix=install_command(anew="No module named" not in received),
    )
