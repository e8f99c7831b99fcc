"""Cuts a `.tflite` after each of its operators, and says who computes each: what operator_times.py measures.

Runs in the child process of `untrusted.py`. Who computes an operator is read off the interpreter's
node list with LiteRT's default delegates, where that of an interpreter without them holds the same
operators; the list is no public interface, so anything else is unknown.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from pipeline.errors import BadModelFile
from pipeline.flatbuffer import read_model
from pipeline.prefix import prefix_model

FLOOR = "floor.tflite"
DELEGATE, BUILT_IN, UNKNOWN = "delegate", "built-in kernels", "unknown"


def cut(model: Path, folder: Path, cuts_max: int) -> dict[str, Any]:
    """Write `after_<operators>.tflite` for up to `cuts_max` prefixes short of the whole, and FLOOR, into the folder.

    Returns {"operators": [{"name", "output_shape", "kernels"}, …], "cuts": [operators in each prefix, the whole
    last], "alike": [whether each prefix's operators are computed by the same as in the whole]}.
    Raises BadModelFile for a file that is no model, or has no operator.
    """
    file = read_model(model)
    graph = file.subgraphs[0]
    count = len(graph.operators)
    if not count:
        raise BadModelFile(
            f"{model} has nothing to time",
            received="no operator",
            expected="at least one operator in the first graph",
            fix="give a file that computes something",
        )
    rows = min(count, cuts_max)
    cuts = [-(-count * row // rows) for row in range(1, rows + 1)]  # evenly, the whole last
    whole = kernels(model)
    alike = []
    for operators in cuts[:-1]:
        path = folder / f"after_{operators}.tflite"
        path.write_bytes(_prefix(model, file.content, operators))
        alike.append(kernels(path) == whole[:operators])
    (folder / FLOOR).write_bytes(floor_model())
    shapes = [[list(graph.tensors[index].shape) for index in operator.outputs[:1]] for operator in graph.operators]
    return {
        "operators": [
            {"name": operator.name, "output_shape": (shape or [[]])[0], "kernels": who}
            for operator, shape, who in zip(graph.operators, shapes, whole or [UNKNOWN] * count, strict=True)
        ],
        "cuts": cuts,
        "alike": [*alike, True],
    }


def _prefix(model: Path, content: bytes, operators: int) -> bytes:
    """Cut a file whose tensors and operators are sound, while its options, metadata or signatures may not be."""
    try:
        return prefix_model(content, operators, keep_branches=True)
    except (LookupError, TypeError, ValueError, AttributeError, struct.error) as error:  # of the generated classes
        raise BadModelFile(
            f"{model} cannot be cut after its first {operators} operators",
            received=f"{type(error).__name__}: {error}",
            expected="operators with outputs, and options whose offsets lead somewhere",
            fix="inspect the file, or convert the model anew",
        ) from error


def kernels(path: Path) -> list[str]:
    """Return who computes each operator of the first graph, DELEGATE or BUILT_IN; empty where nothing tells."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from pipeline.runners._host_child import delegated_operators

    lists = []
    for resolver in (OpResolverType.BUILTIN, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        try:
            interpreter = Interpreter(model_path=str(path), num_threads=1, experimental_op_resolver_type=resolver)
            interpreter.allocate_tensors()
            lists.append(interpreter._get_ops_details())
        except (AttributeError, RuntimeError, ValueError):  # the runner will say what is wrong with the file
            return []
    with_delegates, without = lists
    operators = [node for node in with_delegates if node["op_name"] != "DELEGATE"]
    if [(node["index"], node["op_name"]) for node in operators] != [
        (node["index"], node["op_name"]) for node in without
    ]:
        return []
    delegated = delegated_operators(with_delegates)
    return [DELEGATE if node["index"] in delegated else BUILT_IN for node in operators]


def floor_model() -> bytes:
    """Return a file of one operator that has next to nothing to compute: x + x of a single float32."""
    import ai_edge_litert.schema_py_generated as schema

    from pipeline.steps._pack import pack

    def tensor() -> Any:
        made = schema.TensorT()
        made.shape, made.type, made.buffer = [1], schema.TensorType.FLOAT32, 0
        return made

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 1
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 0], [1]
    operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
    operator.builtinOptions = schema.AddOptionsT()
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [tensor(), tensor()], [operator]
    graph.inputs, graph.outputs = [0], [1]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]
    return pack(model)
