"""The graph that is invoked, as nodes that follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.anatomy.document import GraphNode
from pipeline.inspect import OperatorFacts, float_leftovers, inspect_file
from pipeline.steps._operators import NamedOperator

NODES_MAX = 1000


def graph_of(path: Path, operators: Sequence[NamedOperator]) -> list[GraphNode]:
    """Return the graph's inputs, then its operators in order of execution.

    operators: under their layers' names. A float operator is no leftover where it only turns the float input
    or output, which the target asked for, into the graph's own numbers.
    """
    found = inspect_file(path)
    float_io = any(tensor.dtype == "float32" for tensor in (*found.inputs, *found.outputs))
    leftovers = set(float_leftovers(found, float_io))
    nodes = [
        GraphNode(
            name="INPUT",
            layer=tensor.name,
            follows=[],
            shape=tensor.shape,
            dtypes=(tensor.dtype,),
            weight_dtype=None,
            computes_in_float=False,
            float_leftover=False,
        )
        for tensor in found.inputs
    ]
    writers = {tensor.index: place for place, tensor in enumerate(found.inputs)}
    for operator, named in zip(_invoked(found.operators), operators, strict=True):
        nodes.append(
            GraphNode(
                name=operator.name,
                layer=named.layer,
                follows=list(dict.fromkeys(writers[index] for index in operator.inputs if index in writers)),
                shape=next(iter(operator.output_shapes), ()),
                dtypes=operator.dtypes,
                weight_dtype=operator.weight_dtype,
                computes_in_float=operator.computes_in_float,
                float_leftover=operator.label in leftovers,
            )
        )
        writers |= dict.fromkeys(operator.outputs, len(nodes) - 1)
    return nodes


def _invoked(operators: Sequence[OperatorFacts]) -> list[OperatorFacts]:
    return [operator for operator in operators if operator.subgraph == 0]
