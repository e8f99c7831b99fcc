"""Whether a device answers as the evaluating runner does: the same file, on two sets of kernels.

Kernels round differently, by one step of an output's scale, so two classes that are a step apart
may change places; anything more means that the device computes another network than the one that
was evaluated. For graphs of up to 10 operators at most 2 of 1,000 answers may differ, each between
classes at most one step apart. A deeper graph adds up more roundings: one step more for every
further 10 operators, and 10 of 1,000 answers.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.benchmark import DeviceCheck
from pipeline.flatbuffer import ModelFile, read_model
from pipeline.prefix import prefix_model
from pipeline.runner import Settings

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload

SAMPLES = 1000  # of each split
SEARCHED = 16  # samples on which the operators are compared
OPERATORS_A_STEP = 10
DIFFERENT_MAX = 0.002  # share of the answers, for a graph of so few operators
DIFFERENT_MAX_DEEPER = 0.01
FLOAT_STEP = 1e-4  # of an output's range, where it is computed in float


def check_device(
    runner: ModuleType, settings: Settings, evaluator: ModuleType, host: Settings, model: Path, workload: Workload
) -> DeviceCheck | None:
    """Return how the device's answers compare with the evaluator's; None where it gives none.

    Raises what the runners raise.
    """
    import numpy as np

    validation = workload.load("validation")[0][:SAMPLES]
    test, labels = (part[:SAMPLES] for part in workload.load("test"))
    samples = workload.preprocess(np.concatenate([validation, test]))
    theirs = runner.run({"model": model}, samples, settings).models["model"].outputs
    if theirs is None:
        return None
    ours = evaluator.run({"model": model}, samples, host).models["model"].outputs
    file = read_model(model)
    operators = len(file.subgraphs[0].operators)
    steps_max = math.ceil(operators / OPERATORS_A_STEP)
    count = len(validation)
    share = DIFFERENT_MAX if operators <= OPERATORS_A_STEP else DIFFERENT_MAX_DEEPER
    step = _step(file, ours)
    apart = _steps_apart(ours[:count], theirs[:count], step)
    beyond = int((apart > steps_max + 1e-3).sum())
    limit = math.ceil(share * count)
    return DeviceCheck(
        samples=count,
        differences=len(apart),
        differences_max=limit,
        steps_max=steps_max,
        beyond_steps_max=beyond,
        largest_difference_steps=round(float(np.abs(ours - theirs).max()) / step, 3),
        first_difference=(
            first_difference(runner, settings, evaluator, host, file, samples[:SEARCHED])
            if beyond or len(apart) > limit
            else ""
        ),
        test_samples=len(labels),
        accuracy=float((theirs[count:].argmax(axis=1) == labels).mean()),
        host_accuracy=float((ours[count:].argmax(axis=1) == labels).mean()),
    )


def first_difference(
    runner: ModuleType, settings: Settings, evaluator: ModuleType, host: Settings, file: ModelFile, samples: np.ndarray
) -> str:
    """Return number and name of the first operator whose output differs by more than rounding; "" where none does."""
    import numpy as np

    operators = file.subgraphs[0].operators
    with tempfile.TemporaryDirectory(prefix="pipeline-prefix-") as folder:
        for number, operator in enumerate(operators):
            path = Path(folder) / f"{number}.tflite"
            path.write_bytes(prefix_model(file.content, number + 1))
            outputs = [
                chosen.run({"model": path}, samples, asked).models["model"].outputs
                for chosen, asked in ((evaluator, host), (runner, settings))
            ]
            steps = np.abs(outputs[0] - outputs[1]).max() / _step(read_model(path), outputs[0])
            if steps > math.ceil((number + 1) / OPERATORS_A_STEP) + 1e-3:
                return f"operator {number} {operator.name}, by {steps:.3g} steps"
    return ""


def _steps_apart(ours: np.ndarray, theirs: np.ndarray, step: float) -> np.ndarray:
    """Return, for each sample that the two put into different classes, how far apart the classes lie, in steps.

    The larger of both distances: float64 [differing samples].
    """
    import numpy as np

    one, other = ours.argmax(axis=1), theirs.argmax(axis=1)
    at = np.flatnonzero(one != other)
    distances = [np.abs(outputs[at, one[at]] - outputs[at, other[at]]) for outputs in (ours, theirs)]
    return np.maximum(*distances).astype(np.float64) / step


def _step(file: ModelFile, outputs: np.ndarray) -> float:
    """Return the least difference that the output can show, in its own unit."""
    graph = file.subgraphs[0]
    index = graph.outputs[0]
    last = next((operator for operator in graph.operators if index in operator.outputs), None)
    if last and last.name == "DEQUANTIZE":
        index = last.inputs[0]
    tensor = graph.tensors[index]
    if tensor.scale and not tensor.is_float:
        return tensor.scale[0]
    return FLOAT_STEP * max(1.0, float(abs(outputs).max()))
