"""Prefix models: the first operators of a `.tflite` as a file of its own, whose output is the last one's.

What a whole file does not show is read off its prefixes: where two devices' numbers part
(`device_check.py`), and what an operator's time is (`operator_times.py`).
"""

from __future__ import annotations

from typing import Any


def prefix_model(content: bytes, operators: int, *, keep_branches: bool = False) -> bytes:
    """Return the file with the first `operators` (at least 1) operators of its first graph.

    Its output is the first output of the last operator that is left; with `keep_branches`, what
    later operators read is an output as well, so that no operator is idle and left out. Raises
    ValueError for a count that the graph does not have; `content` must be a sound `.tflite`
    (flatbuffer.read_model tells).
    """
    import ai_edge_litert.schema_py_generated as schema

    from pipeline.steps._pack import pack
    from pipeline.steps.slim import remove_buffers, take_in

    model = schema.ModelT.InitFromPackedBuf(content)
    take_in(model, content)
    graph = model.subgraphs[0]
    if not 1 <= operators <= len(graph.operators):
        raise ValueError(f"{operators} operators of {len(graph.operators)}")
    later = graph.operators[operators:]
    needed = {int(index) for operator in later for index in operator.inputs} | set(map(int, graph.outputs))
    graph.operators = graph.operators[:operators]
    last = int(graph.operators[-1].outputs[0])
    made = [int(index) for operator in graph.operators for index in operator.outputs]
    graph.outputs = [last, *(index for index in made if keep_branches and index in needed - {last})]
    model.signatureDefs = model.metadata = model.metadataBuffer = None  # they point at what is gone
    _drop_unused_tensors(graph)
    remove_buffers(model)
    return pack(model)


def _drop_unused_tensors(graph: Any) -> None:
    used = {*map(int, graph.inputs), *map(int, graph.outputs)}
    for operator in graph.operators:
        for indices in (operator.inputs, operator.outputs, operator.intermediates):
            used.update(map(int, indices if indices is not None else ()))
    kept = sorted(used - {-1})
    places = {-1: -1, **{old: new for new, old in enumerate(kept)}}
    graph.tensors = [graph.tensors[index] for index in kept]
    graph.inputs = [places[int(index)] for index in graph.inputs]
    graph.outputs = [places[int(index)] for index in graph.outputs]
    for operator in graph.operators:
        operator.inputs = [places[int(index)] for index in operator.inputs]
        operator.outputs = [places[int(index)] for index in operator.outputs]
        if operator.intermediates is not None:
            operator.intermediates = [places[int(index)] for index in operator.intermediates]
