"""Whether a device answers as the evaluating runner does: the same file, on two sets of kernels.

Kernels round differently, by one step of an output's scale, so two classes that are a step apart
may change places; anything more means that the device computes another network than the one that
was evaluated. For graphs of up to 10 operators at most 2 of 1,000 answers may differ, each between
classes at most one step apart. A deeper graph adds up more roundings: one step more for every
further 10 operators, and 10 of 1,000 answers.

Where there is more, prefixes of the file (`prefix.py`) tell at which operator the two part.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.benchmark import DeviceCheck
from pipeline.errors import PipelineError, RunnerFailed
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
NO_NUMBER_STEPS = 1e9  # what an infinity, or what is no number, counts as
SLACK = 1e-3  # steps; float32 does not hold a multiple of a scale exactly


def check_device(
    runner: ModuleType, settings: Settings, evaluator: ModuleType, host: Settings, model: Path, workload: Workload
) -> DeviceCheck | None:
    """Return how the device's answers compare with the evaluator's; None where it gives none.

    Raises RunnerFailed for answers of another shape, and what the runners raise.
    """
    import numpy as np

    validation = workload.load("validation")[0][:SAMPLES]
    test, labels = (part[:SAMPLES] for part in workload.load("test"))
    samples = workload.preprocess(np.concatenate([validation, test]))
    theirs = runner.run({"model": model}, samples, settings).models["model"].outputs
    if theirs is None:
        return None
    ours = evaluator.run({"model": model}, samples, host).models["model"].outputs
    if theirs.shape != ours.shape:
        raise RunnerFailed(
            f"the device gives other outputs for {model} than the evaluating runner",
            received=f"outputs {list(theirs.shape)}",
            expected=f"outputs {list(ours.shape)}",
            fix="look whether the device has this file, and whether its runner brings back the right output",
        )
    file = read_model(model)
    operators = len(file.subgraphs[0].operators)
    steps_max = math.ceil(operators / OPERATORS_A_STEP)
    count = len(validation)
    share = DIFFERENT_MAX if operators <= OPERATORS_A_STEP else DIFFERENT_MAX_DEEPER
    step = _step(file, ours)
    told = np.isfinite(theirs[:count]).reshape(count, -1).all(axis=1)  # what is no number is no answer
    apart = workload.task.apart(ours[:count][told], theirs[:count][told], workload.threshold, step, operators)
    apart = np.append(apart, np.full(count - told.sum(), NO_NUMBER_STEPS))
    beyond = int((apart > steps_max + SLACK).sum())
    limit = math.ceil(share * count)
    differences = _differences(ours, theirs, step)
    first = ""
    if beyond or len(apart) > limit:
        worst = np.argsort(-differences[:count], kind="stable")[:SEARCHED]
        first = first_difference(runner, settings, evaluator, host, file, samples[worst])

    def score(outputs: np.ndarray) -> float:
        evidence = workload.task.evidence(outputs, samples[count:])
        return workload.task.scores(np.nan_to_num(evidence), labels, workload.threshold)[workload.metric]

    return DeviceCheck(
        samples=count,
        differences=len(apart),
        differences_max=limit,
        steps_max=steps_max,
        beyond_steps_max=beyond,
        largest_difference_steps=round(float(differences.max()), 3),
        first_difference=first,
        test_samples=len(labels),
        metric=workload.metric,
        score=score(theirs[count:]),
        host_score=score(ours[count:]),
    )


def first_difference(
    runner: ModuleType, settings: Settings, evaluator: ModuleType, host: Settings, file: ModelFile, samples: np.ndarray
) -> str:
    """Return number and name of the operator at which the outputs part, and by how many steps.

    Each operator may add a step of its own to what comes in: the first prefix that differs by more steps
    than it has operators. Where none does, the operator at which the difference grows most.
    """
    operators = file.subgraphs[0].operators
    with tempfile.TemporaryDirectory(prefix="pipeline-prefix-") as folder:
        paths = {}
        for number in (number for number, operator in enumerate(operators) if operator.outputs):
            paths[str(number)] = Path(folder) / f"{number}.tflite"
            paths[str(number)].write_bytes(prefix_model(file.content, number + 1))
        try:
            ours, theirs = (
                chosen.run(
                    paths, samples, replace(asked, resident_megabytes=asked.resident_megabytes * len(paths))
                ).models
                for chosen, asked in ((evaluator, host), (runner, settings))
            )
        except PipelineError as error:  # the verdict stands without the name
            return f"an operator that was not found: {error.message}"
        steps = {}
        for name, path in paths.items():
            outputs, others = ours[name].outputs, theirs[name].outputs
            steps[int(name)] = float(_differences(outputs, others, _step(read_model(path), outputs)).max())
    numbers = list(steps)
    growths = {number: steps[number] - steps[before] for before, number in zip(numbers, numbers[1:], strict=False)}
    growths[numbers[0]] = steps[numbers[0]]
    beyond = (number for number in numbers if steps[number] > number + 1 + SLACK)
    found = next(beyond, max(numbers, key=lambda number: growths[number]))
    return f"operator {found} {operators[found].name}, by {steps[found]:.3g} steps"


def _differences(ours: np.ndarray, theirs: np.ndarray, step: float) -> np.ndarray:
    """Return each sample's largest difference of one output, in steps: float64 [samples]."""
    import numpy as np

    with np.errstate(invalid="ignore"):  # infinity less infinity is no number
        steps = np.abs(ours.astype(np.float64) - theirs).reshape(len(ours), -1) / step
    return np.nan_to_num(steps, nan=NO_NUMBER_STEPS, posinf=NO_NUMBER_STEPS).clip(max=NO_NUMBER_STEPS).max(axis=1)


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
