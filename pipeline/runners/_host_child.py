"""The host runner's child process: loads models, invokes them, writes down what it saw, ends.

    python -P _host_child.py FOLDER

    FOLDER/request.json     what `host.py` asks for
    FOLDER/samples.npy      float32 [n, *input_shape]; without it, seeded random samples
    FOLDER/<i>.outputs.npy  float32 [n, *output_shape] of model i
    FOLDER/<i>.times.npy    int64 [rounds, invocations a round] of model i, nanoseconds
    FOLDER/result.json      {"operators": [[delegated, all] or null, …], "first_answer_ns": […],
                            **load,
        "first_inference_ns": […], "other_load": share or null, "steal": share or null}
                            or {"error": {…}}
    FOLDER/status           this process's /proc/self/status at the end

It imports nothing of the project and no TensorFlow, so that its memory is the interpreter's.
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:  # on a board, where the older package may be the one that fits
    from tflite_runtime.interpreter import Interpreter

RANDOM_SAMPLES = 8
WARM_UP_NS, LEAST_WARM_UP = 5_000_000, 3
ROUND_NS, LEAST_INVOCATIONS, MOST_INVOCATIONS = 20_000_000, 5, 2000
TOLERATED = 1 / 255  # how far values may lie outside a quantized input's range, as a share of it: an 8-bit step
SATURATED_MAX = 0.01  # share of values that may lie further outside and are clipped; more is another scale, or raw data
SATURATED_FEW, SATURATED_SHARE_OF_FEW = 3, 0.25  # of few values so many may, and no more than this share of them


class Refused(Exception):
    """The model or the samples cannot be used; the parent raises it as the project's error."""

    def __init__(self, kind: str, message: str, *, received: str, expected: str, fix: str):
        super().__init__(message)
        self.fields = {"kind": kind, "message": message, "received": received, "expected": expected, "fix": fix}


class Model:
    """One loaded model; applies scales and zero points."""

    def __init__(
        self,
        path: str,
        request: dict[str, Any],
        samples: np.ndarray | None,
        name: str = "",
        open_interpreter: Callable[..., Any] | None = None,  # another one, which is asked as LiteRT's is
    ):
        name = name or path  # as the user wrote it; the sandbox has no other path than the resolved one
        started = time.perf_counter_ns()
        self.interpreter = (open_interpreter or Interpreter)(model_path=path, num_threads=request["threads"])
        self.interpreter.allocate_tensors()
        self.inputs = self.interpreter.get_input_details()
        self.samples = samples
        self.count = RANDOM_SAMPLES if samples is None else len(samples)
        for details in self.inputs:
            _check_dtype(name, details)
            _check_scale(name, details)
        if samples is not None:
            check_samples(name, self.inputs, samples)
        outputs = self.interpreter.get_output_details()
        if request["outputs"] and len(outputs) != 1:
            raise _refused_model(name, "has several outputs", f"{len(outputs)} outputs", "one output")
        self.output = outputs[0]
        _check_scale(name, self.output)
        self.set_sample(0)
        invoked = time.perf_counter_ns()
        self.interpreter.invoke()
        self.first_inference_ns = time.perf_counter_ns() - invoked
        if request["outputs"] and not self.interpreter.get_tensor(self.output["index"]).size:
            raise _refused_model(
                name, "gives nothing", "an output without elements", "an output of at least one number"
            )
        self.first_answer_ns = time.perf_counter_ns() - started

    def set_sample(self, index: int) -> None:
        """Fill the inputs with sample `index`, counted round and round."""
        for position, details in enumerate(self.inputs):
            if self.samples is not None:
                values = self.samples[index % self.count][np.newaxis]
            else:
                values = random_values(details, [index % self.count, position])
            self.interpreter.set_tensor(details["index"], quantized(values, details))

    def outputs(self) -> Iterator[np.ndarray]:
        """Invoke each sample once and give its output, float32 [*output_shape]."""
        for index in range(self.count):
            self.set_sample(index)
            self.interpreter.invoke()
            scale, zero_point = _scale_and_zero_point(self.output)
            values = self.interpreter.get_tensor(self.output["index"]).astype(np.float32)
            values = (values - np.float32(zero_point)) * np.float32(scale)
            yield values[0] if values.shape[:1] == (1,) else values


def time_rounds(models: list[Model], rounds: int) -> list[np.ndarray]:
    """Return each model's times, int64 [rounds, invocations a round], in nanoseconds.

    The models take turns, and the one that goes first alternates, so that whatever else the
    machine does meets all of them. Each turn warms up again: the others emptied the caches.
    """
    gc.disable()
    counts = [_calibrate(model.interpreter.invoke) for model in models]
    times = [np.empty((rounds, count), np.int64) for _, count in counts]
    for number in range(rounds):
        turns = list(zip(models, counts, times))
        for model, (warm_up, count), table in turns if number % 2 == 0 else reversed(turns):
            model.set_sample(number)
            _timed(model.interpreter.invoke, warm_up)
            table[number] = _timed(model.interpreter.invoke, count)
    return times


def _clock() -> tuple[float, float, float, float] | None:
    """Return seconds: the wall's, this process's, all processes', and the hypervisor's; None where it is not told."""
    try:
        with open("/proc/stat") as stream:
            numbers = [int(part) for part in stream.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    if len(numbers) < 8:
        return None
    user, nice, system, _idle, _wait, interrupt, soft, steal = (number / os.sysconf("SC_CLK_TCK") for number in numbers)
    return time.monotonic(), time.process_time(), user + nice + system + interrupt + soft, steal


def _load_between(before: Any, after: Any) -> dict[str, float | None]:
    """Return which share of all cores' time others used, and the hypervisor took, between two clocks."""
    if before is None or after is None:
        return {"other_load": None, "steal": None}
    wall, own, busy, steal = (new - old for new, old in zip(after, before))
    cores = max(1e-9, wall * (os.cpu_count() or 1))
    return {"other_load": min(1.0, max(0.0, (busy - own) / cores)), "steal": min(1.0, max(0.0, steal / cores))}


def _timed(invoke: Callable[[], None], count: int) -> list[int]:
    """Invoke `count` times; nothing but `invoke` lies between the two looks at the clock."""
    clock = time.perf_counter_ns
    times = [0] * count
    for index in range(count):
        start = clock()
        invoke()
        times[index] = clock() - start
    return times


def _calibrate(invoke: Callable[[], None]) -> tuple[int, int]:
    """Return how often to invoke for the warm-up and for the timed part of every round."""
    times = _timed(invoke, LEAST_WARM_UP)
    while sum(times) < WARM_UP_NS and len(times) < MOST_INVOCATIONS:
        times += _timed(invoke, 1)
    typical = max(1, sorted(times)[len(times) // 2])
    warm_up = min(max(LEAST_WARM_UP, WARM_UP_NS // typical), MOST_INVOCATIONS)
    return warm_up, min(max(LEAST_INVOCATIONS, ROUND_NS // typical), MOST_INVOCATIONS)


def count_delegated(interpreter: Any) -> tuple[int, int] | None:
    """Return how many operators a delegate computes, and how many there are; None if not told."""
    try:
        nodes = interpreter._get_ops_details()  # nothing public tells
    except (AttributeError, ValueError):
        return None
    return len(delegated_operators(nodes)), sum(node["op_name"] != "DELEGATE" for node in nodes)


def delegated_operators(nodes: list[dict[str, Any]]) -> set[int]:
    """Return the indices of the operators that a delegate computes, from the interpreter's node list.

    A delegate adds a node DELEGATE and leaves the nodes that it replaces in the list: those on the
    way from its outputs back to its inputs.
    """
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    producers = {int(tensor): node for node in operators for tensor in node["outputs"]}
    delegated: set[int] = set()
    for delegate in (node for node in nodes if node["op_name"] == "DELEGATE"):
        inputs, pending = set(delegate["inputs"]), list(delegate["outputs"])
        while pending:
            tensor = int(pending.pop())
            producer = producers.get(tensor)
            if producer and tensor not in inputs and producer["index"] not in delegated:
                delegated.add(producer["index"])
                pending += list(producer["inputs"])
    return delegated


def check_samples(name: str, inputs: list[dict[str, Any]], samples: np.ndarray) -> None:
    """Raise Refused unless float32 [n, *input_shape] fits the model's one input and its range."""
    if len(inputs) != 1:
        received = f"{len(inputs)} inputs: {', '.join(details['name'] for details in inputs)}"
        raise _refused_model(name, "has several inputs", received, "one input, which takes the samples")
    details = inputs[0]
    shape, expected = details["shape"].tolist(), [1, *samples.shape[1:]]  # the interpreter gives 1 for −1
    if shape != expected:
        raise _refused_model(name, "takes another input", f"input shape {shape}", f"input shape {expected}")
    low, high = _expressible(details)
    slack = (high - low) * TOLERATED
    lowest, highest = float(samples.min()), float(samples.max())
    if math.isfinite(lowest + highest) and lowest >= low - slack and highest <= high + slack:
        return
    # The range comes from the calibration draw, so that rare values outside it are honest data.
    outside = float(((samples < low - slack) | (samples > high + slack)).mean())
    few = min(SATURATED_FEW / samples.size, SATURATED_SHARE_OF_FEW)
    if not math.isfinite(lowest + highest) or outside > max(SATURATED_MAX, few):
        raise Refused(
            "data",
            f"the samples exceed what the input of {name} can express",
            received=f"values from {lowest:.6g} to {highest:.6g}, {outside:.1%} of them outside",
            expected=f"values from {low:.6g} to {high:.6g}, which {np.dtype(details['dtype'])} expresses here",
            fix="feed preprocessed samples, neither raw nor quantized, in the range of the calibration data",
        )


def _scale_and_zero_point(details: dict[str, Any]) -> tuple[float, int]:
    scale, zero_point = details["quantization"]
    return (scale, zero_point) if scale else (1.0, 0)  # not quantized: the values are what they are


def _expressible(details: dict[str, Any]) -> tuple[float, float]:
    """Return the lowest and the highest value that the tensor can hold."""
    dtype = np.dtype(details["dtype"])
    if dtype.kind not in "iu":
        return -float(np.finfo(np.float32).max), float(np.finfo(np.float32).max)
    scale, zero_point = _scale_and_zero_point(details)
    return (np.iinfo(dtype).min - zero_point) * scale, (np.iinfo(dtype).max - zero_point) * scale


def quantized(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(details["dtype"])
    if dtype.kind not in "iu":
        return values.astype(dtype)
    scale, zero_point = _scale_and_zero_point(details)
    return np.clip(np.rint(values / scale) + zero_point, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


def random_values(details: dict[str, Any], seed: list[int]) -> np.ndarray:
    """Return values over a quantized input's whole range; else 0 to 1, which fits indices as well."""
    low, high = _expressible(details) if details["quantization"][0] else (0.0, 1.0)
    return np.random.default_rng(seed).uniform(low, high, details["shape"])


def _check_dtype(name: str, details: dict[str, Any]) -> None:
    if np.dtype(details["dtype"]).kind not in "fiub":
        received = f"input {details['name']!r} of {np.dtype(details['dtype'])}"
        raise _refused_model(name, "takes no numbers", received, "inputs of floats, integers or booleans")


def _check_scale(name: str, details: dict[str, Any]) -> None:
    scale = details["quantization"][0]
    if not (math.isfinite(scale) and scale >= 0):
        received = f"scale {scale} of {details['name']!r}"
        raise _refused_model(name, "has an impossible quantization", received, "a scale that is a positive number")


def _refused_model(name: str, what: str, received: str, expected: str) -> Refused:
    fix = "give a model that fits, or build this one again"
    return Refused("model", f"{name} {what}", received=received, expected=expected, fix=fix)


def _load(path: str, name: str, request: dict[str, Any], samples: np.ndarray | None) -> Model:
    try:
        return Model(path, request, samples, name)
    except (ValueError, RuntimeError) as error:  # what the interpreter raises for all it dislikes
        expected = "a .tflite file that LiteRT loads and invokes"
        raise _refused_model(name, "cannot be loaded and invoked", str(error).strip(), expected) from error


def _answer(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Do what was asked, write the arrays, and return what goes into result.json."""
    samples = None
    if request["samples"]:
        samples = np.load(folder / "samples.npy", mmap_mode="r")
        samples.max()  # brings every page in, also without a model, whose growth it is not
    models = [_load(path, name, request, samples) for path, name in zip(request["models"], request["names"])]
    for index, model in enumerate(models):
        if request["outputs"]:
            np.save(folder / f"{index}.outputs.npy", np.stack(list(model.outputs())))
        elif not request["rounds"]:
            for _ in model.outputs():
                pass
    before = _clock()
    timed = time_rounds(models, request["rounds"]) if request["rounds"] else []
    load = _load_between(before, _clock()) if request["rounds"] else {}
    for index, times in enumerate(timed):
        np.save(folder / f"{index}.times.npy", times)
    return {
        "operators": [count_delegated(model.interpreter) for model in models],
        "first_answer_ns": [model.first_answer_ns for model in models],
        **load,
        "first_inference_ns": [model.first_inference_ns for model in models],
    }


def main(folder: Path) -> None:
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    try:
        result = _answer(folder, request)
    except Refused as refused:
        result = {"error": refused.fields}
    if sys.platform == "linux":
        shutil.copyfile("/proc/self/status", folder / "status")
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
