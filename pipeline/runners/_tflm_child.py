"""The tflm runner's child process: finds each model's arena, invokes it there, writes down what it saw, ends.

    python -P _tflm_child.py FOLDER

    FOLDER/request.json     {"models": paths, "names": as the user wrote them, "samples": whether there are any,
                            "outputs": whether they are wanted, "arena_bytes_max": a bound, or null}
    FOLDER/samples.npy      float32 [n, *input_shape]; without it, seeded random samples
    FOLDER/<i>.outputs.npy  float32 [n, *output_shape] of model i
    FOLDER/result.json      {"models": [{"operators": their names, each once, "arena_bytes": the smallest that is
                            enough, "recorded_bytes": what TFLite Micro says that it took there, or null}, …]}
                            or {"error": {"kind": "model", "data", "arena" or "crash", …}}
    FOLDER/status           this process's /proc/self/status at the end

TFLite Micro crashes in many an arena that is too small, so each size is tried in a forked process.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIRST_ARENA_BYTES, GROWTH = 65_536, 4
MOST_ARENA_BYTES = 2**26  # of any microcontroller
ALIGNMENT = 16  # bytes; TFLite Micro begins an arena at a multiple of it, and so does malloc
LAST_WORDS = 800  # characters
# What TFLite Micro prints, and nowhere else says. An arena that is too small has many other ways to fail.
TOO_SMALL = re.compile(r"Requested: \d+, available \d+, missing: \d+")
NO_OPERATOR = re.compile(r"Didn't find op for builtin opcode '(\w+)'|Failed to get registration from op code (CUSTOM)")
RECORDED = re.compile(r"Arena allocation total (\d+) bytes")


class MicroInterpreter:
    """TFLite Micro's interpreter, asked as LiteRT's is: tensors by their places among inputs and outputs."""

    def __init__(self, *, model_path: str, num_threads: int, arena_bytes: int, input_names: list[str]):
        from tflite_micro import runtime

        self.input_names = input_names
        self.micro = runtime.Interpreter.from_bytes(Path(model_path).read_bytes(), arena_size=arena_bytes)
        self.set_tensor = lambda index, values: self.micro.set_input(values, index)
        self.get_tensor, self.invoke = self.micro.get_output, self.micro.invoke

    def allocate_tensors(self) -> None:
        """The constructor has done so."""

    def get_input_details(self) -> list[dict[str, Any]]:
        return [
            _details(self.micro.get_input_details(index), index, name) for index, name in enumerate(self.input_names)
        ]

    def get_output_details(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with _stderr_to(Path(os.devnull)):  # the end of the list is an error, which is printed
            while True:
                try:
                    found.append(_details(self.micro.get_output_details(len(found)), len(found), "output"))
                except IndexError:
                    return found


@dataclass(frozen=True)
class Attempt:
    """What came of one try: how it ended, what was printed, and what it answered."""

    code: int  # negative: the signal that ended it
    said: str
    answer: bytes

    @property
    def last_words(self) -> str:
        return " ".join(self.said[-LAST_WORDS:].split()) or self.ending

    @property
    def ending(self) -> str:
        return f"signal {signal.Signals(-self.code).name}" if self.code < 0 else f"exit code {self.code}"


def attempt(work: Callable[[], bytes], folder: Path) -> Attempt:
    """Do the work in a forked process, whose crash is an answer as well."""
    from pipeline.runners._limited import die_with_parent

    said, answer = folder / "attempt.log", folder / "attempt.bin"
    said.write_bytes(b"")
    answer.write_bytes(b"")
    parent = os.getpid()
    child = os.fork()
    if not child:
        code = 1
        try:
            die_with_parent(parent)
            with _stderr_to(said):
                try:
                    answer.write_bytes(work())
                    code = 0
                except Exception as error:  # a word of it is all that this process leaves
                    os.write(2, f"\n{error}".encode())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return Attempt(os.waitstatus_to_exitcode(status), said.read_text(errors="replace"), answer.read_bytes())


def find_arena(attempt_with: Callable[[int], Attempt]) -> tuple[int | None, Attempt]:
    """Return the smallest arena in bytes, a multiple of ALIGNMENT, with which an attempt answers as with plenty.

    An attempt with less fails and one with more succeeds. None with the last attempt where even
    MOST_ARENA_BYTES is not enough, or something else is wrong.
    """
    failed, enough = 0, FIRST_ARENA_BYTES // ALIGNMENT
    while (found := attempt_with(enough * ALIGNMENT)).code:
        if enough * ALIGNMENT >= MOST_ARENA_BYTES:
            return None, found
        failed, enough = enough, enough * GROWTH
    while enough - failed > 1:
        middle = (failed + enough) // 2
        tried = attempt_with(middle * ALIGNMENT)
        if tried.code == 0 and tried.answer == found.answer:
            enough = middle
        else:
            failed = middle
    return enough * ALIGNMENT, found


def run_model(index: int, folder: Path, request: dict[str, Any], samples: Any) -> dict[str, Any]:
    """Return what result.json tells of one model, and write its outputs."""
    import numpy as np

    from pipeline.errors import BadModelFile
    from pipeline.flatbuffer import read_model
    from pipeline.runners._host_child import Model, Refused

    path, name = request["models"][index], request["names"][index]
    try:
        file = read_model(Path(path))
    except BadModelFile as error:
        fields = {key: text.replace(path, name) for key, text in error.as_dict().items() if key != "code"}
        raise Refused("model", **fields) from error
    _refuse_weights_outside(name, file.content)
    graph = file.subgraphs[0]
    operators = list(dict.fromkeys(operator.name for part in file.subgraphs for operator in part.operators))
    input_names = [graph.tensors[tensor].name for tensor in graph.inputs]
    asked = {"threads": 1, "outputs": request["outputs"]}

    def load(arena_bytes: int) -> Model:
        interpreter = functools.partial(MicroInterpreter, arena_bytes=arena_bytes, input_names=input_names)
        return Model(path, asked, samples, name, interpreter)

    def answer(arena_bytes: int) -> bytes:
        try:
            return load(arena_bytes).interpreter.get_tensor(0).tobytes()
        except Refused:  # for another reason than its arena, and below for all to see
            return b""

    arena_bytes, last = find_arena(lambda size: attempt(functools.partial(answer, size), folder))
    if arena_bytes is None:
        raise _unusable(name, operators, last)
    most = request["arena_bytes_max"]
    if most is not None and arena_bytes > most:
        raise _over_arena(name, f"{arena_bytes} bytes needed", most)
    model = load(arena_bytes)
    if request["outputs"]:
        np.save(folder / f"{index}.outputs.npy", np.stack(list(model.outputs())))
    with _stderr_to(folder / "attempt.log"):
        model.interpreter.micro.print_allocations()
    recorded = RECORDED.search((folder / "attempt.log").read_text(errors="replace"))
    return {
        "operators": operators,
        "arena_bytes": arena_bytes,
        "recorded_bytes": int(recorded[1]) if recorded else None,
    }


def _unusable(name: str, operators: list[str], last: Attempt) -> Exception:
    """Return what is wrong with a model that no arena was enough for, as the last attempt tells."""
    from pipeline.runners._host_child import Refused
    from pipeline.runners._tflm_sources import CUSTOM, method_of

    if missing := NO_OPERATOR.search(last.said):
        lacking = [operator for operator in operators if operator == missing[1] or method_of(operator) is None]
        # A custom one is not named, and may be one of which the resolver has a method that does nothing here.
        lacking = lacking or [operator for operator in operators if operator in CUSTOM]
        return Refused(
            "model",
            f"{name} uses operators that TFLite Micro lacks here: {', '.join(lacking) or missing[0]}",
            received=f"operators {', '.join(operators)}",
            expected="operators of tensorflow/lite/micro/micro_mutable_op_resolver.h",
            fix="build the network of other layers, or give the target another runner",
        )
    if TOO_SMALL.search(last.said):
        return _over_arena(name, last.last_words, MOST_ARENA_BYTES)
    if last.code < 0:
        return Refused(
            "crash",
            f"TFLite Micro crashes on {name}",
            received=f"{last.ending}; its last words: {last.last_words}",
            expected="an answer",
            fix="the file may be damaged: inspect it, or build it again",
        )
    return Refused(
        "model",
        f"{name} cannot be loaded and invoked by TFLite Micro",
        received=last.last_words,
        expected="a file whose operators TFLite Micro has for the number formats that they are used with",
        fix='quantize the whole network (scheme = "int8"), or give the target another runner',
    )


def _over_arena(name: str, received: str, most: int) -> Exception:
    from pipeline.runners._host_child import Refused

    return Refused(
        "arena",
        f"{name} needs more tensor arena than there is",
        received=received,
        expected=f"at most {most} bytes",
        fix="make the network's activations smaller, or raise arena_bytes_max in the target's [device] table",
    )


def _refuse_weights_outside(name: str, content: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    from pipeline.runners._host_child import Refused

    root = schema.Model.GetRootAs(content)
    outside = sum(root.Buffers(index).Offset() > 1 for index in range(root.BuffersLength()))
    for graph in map(root.Subgraphs, range(root.SubgraphsLength())):
        operators = map(graph.Operators, range(graph.OperatorsLength()))
        outside += sum(operator.LargeCustomOptionsOffset() > 1 for operator in operators)
    if outside:
        raise Refused(
            "model",
            f"{name} has weights that lie behind its flatbuffer, where TFLite Micro does not look",
            received=f"{outside} buffers that lie outside, as ai-edge-quantizer writes them",
            expected="all weights in the flatbuffer",
            fix='slim takes them in: put [[recipe]] step = "slim" at the recipe\'s end',
        )


def _details(told: dict[str, Any], index: int, name: str) -> dict[str, Any]:
    scales, zero_points = (told["quantization_parameters"][key] for key in ("scales", "zero_points"))
    quantization = (float(scales[0]), int(zero_points[0])) if len(scales) else (0.0, 0)
    return {**told, "index": index, "name": name, "quantization": quantization}


@contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """Let what C++ prints go into a file: `sys.stderr` is Python's alone."""
    before = os.dup(2)
    with path.open("wb") as stream:
        os.dup2(stream.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def main(folder: Path) -> None:
    import numpy as np

    from pipeline.runners._host_child import Refused

    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    samples = np.load(folder / "samples.npy", mmap_mode="r") if request["samples"] else None
    try:
        result: dict[str, Any] = {
            "models": [run_model(index, folder, request, samples) for index in range(len(request["models"]))]
        }
    except Refused as refused:
        result = {"error": refused.fields}
    if sys.platform == "linux":
        shutil.copyfile("/proc/self/status", folder / "status")
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package, wherever it lies
    main(Path(sys.argv[1]))
