"""The facts of a `.tflite` file, read from the file itself: no interpreter, no TensorFlow.

Sizes, parameters, zeros, operators and number formats, so that what is reported never comes
from the Keras model that the file was made of. Words that are used here:

    constant   a tensor whose values lie in the file
    weight     a constant that an operator reads and that is learned: not a scalar, and float or
               quantized, which shapes, axes and paddings are not; a bias is a weight as well
    kernel     a weight of rank 2 or more that feeds an operator of `MULTIPLY_ACCUMULATE`, directly
               or through DEQUANTIZE (float16 files) or DENSIFY (sparse files)
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.flatbuffer import Operator, Subgraph, Tensor, read_model

# Multiply-accumulates from the shapes of all inputs and of the first output; TFLite's layouts.
# Slices, not indices: an odd file may have shapes of any rank.
_Shapes = Sequence[tuple[int, ...]]
MULTIPLY_ACCUMULATE: dict[str, Callable[[_Shapes, tuple[int, ...]], int]] = {
    # picture, kernel [outputs, height, width, inputs of a group]
    "CONV_2D": lambda inputs, output: math.prod(output) * math.prod(inputs[1][1:]),
    # picture, kernel [1, height, width, outputs]
    "DEPTHWISE_CONV_2D": lambda inputs, output: math.prod(output) * math.prod(inputs[1][:-1]),
    # vector, kernel [outputs, inputs]
    "FULLY_CONNECTED": lambda inputs, output: math.prod(output) * math.prod(inputs[1][-1:]),
    # output's shape, kernel [outputs, height, width, inputs], picture
    "TRANSPOSE_CONV": lambda inputs, output: math.prod(inputs[2]) * math.prod(inputs[1][:-1]),
    # [..., rows, depth], [..., depth, columns], either of them perhaps transposed
    "BATCH_MATMUL": lambda inputs, output: (
        math.prod(output) * math.prod(inputs[0][-2:]) // max(1, math.prod(output[-2:-1]))
    ),
}
# Kernels whose output channels lie along the last axis; the others' lie along the first.
_CHANNELS_LAST = ("DEPTHWISE_CONV_2D", "BATCH_MATMUL")
_FROM_CONSTANT = ("DEQUANTIZE", "DENSIFY")
# TFLite's planner lets these write over an input that ends with them; the first four only rename it.
_RENAMES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST")
_IN_PLACE = (*_RENAMES, "ADD", "SUB", "MUL", "DIV", "SOFTMAX", "DYNAMIC_UPDATE_SLICE")


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorFacts(_Facts):
    """An input or output of the graph that is invoked."""

    index: int = Field(description="Index of the tensor in the graph.")
    name: str = Field(description="Name of the tensor in the file.")
    dtype: str = Field(description="Number format, such as float32 or int8.")
    shape: tuple[int, ...] = Field(description="Size along each axis, in elements.")
    shape_signature: tuple[int, ...] = Field(description="Size along each axis, -1 where it is left open.")
    scale: float | None = Field(description="Real value of one quantized step; none when not quantized.")
    zero_point: int | None = Field(description="Quantized value of real zero; none when not quantized.")


class OperatorFacts(_Facts):
    """One operator of a graph."""

    subgraph: int = Field(description="Index of the graph; 0 is the one that is invoked.")
    index: int = Field(description="Position in the graph's order of execution, from 0.")
    name: str = Field(description="Builtin name such as CONV_2D, or a custom operator's name.")
    inputs: tuple[int, ...] = Field(description="Indices of the tensors read, without those left out.")
    outputs: tuple[int, ...] = Field(description="Indices of the tensors written.")
    input_shapes: tuple[tuple[int, ...], ...] = Field(description="Shape of each input, in elements.")
    output_shapes: tuple[tuple[int, ...], ...] = Field(description="Shape of each output, in elements.")
    dtypes: tuple[str, ...] = Field(description="Number formats of inputs and outputs, each named once.")
    weight_dtype: str | None = Field(description="Number format of the kernel as stored; none without one.")
    multiply_accumulates: int = Field(description="Multiply-accumulates of one invocation.")
    computes_in_float: bool = Field(description="True when an input or output that is no constant is float.")

    @property
    def label(self) -> str:
        return _label(self.subgraph, "operator", self.index, self.name)


class KernelFacts(_Facts):
    """One kernel."""

    name: str = Field(description="Name of the tensor in the file.")
    dtype: str = Field(description="Number format as stored.")
    shape: tuple[int, ...] = Field(description="Size along each axis, in elements.")
    elements: int = Field(description="Number of elements, zeros included.")
    zeros: int = Field(description="Elements whose real value is exactly zero.")
    distinct_values: int = Field(description="Number of different stored values.")
    distinct_values_per_channel: int = Field(
        description="Number of different stored values in the output channel that has most; where the kernel is "
        "stored sparsely, in the whole kernel."
    )


class Inspection(_Facts):
    """What one `.tflite` file holds."""

    schema_version: int = Field(description="Version of TFLite's own file format.")
    sha256: str = Field(description="SHA-256 of the file, hexadecimal.")
    size_bytes: int = Field(description="Size of the file, in bytes.")
    deflated_bytes: int = Field(description="Size of the whole file deflated by zlib at level 9, in bytes.")
    weight_bytes: int = Field(description="Size of the weights as stored, shared buffers once, in bytes.")
    parameters: int = Field(description="Elements of all weights, kernels and biases.")
    multiply_accumulates: int = Field(
        description=f"Multiply-accumulates of {', '.join(MULTIPLY_ACCUMULATE)}, each executed once; others count 0."
    )
    zero_fraction: float = Field(description="Share of the kernels' elements that are exactly zero, 0 to 1.")
    peak_activation_bytes: int = Field(
        description="Largest sum of tensors alive at once in the operators' order, in bytes: a lower bound of the "
        "arena, which adds alignment, gaps, scratch, and constants that are decoded at run time."
    )
    inputs: tuple[TensorFacts, ...] = Field(description="Inputs of the graph that is invoked, in order.")
    outputs: tuple[TensorFacts, ...] = Field(description="Outputs of the graph that is invoked, in order.")
    operators: tuple[OperatorFacts, ...] = Field(description="Operators of all graphs, in order.")
    operator_counts: dict[str, int] = Field(description="Number of operators of each name.")
    kernels: tuple[KernelFacts, ...] = Field(description="Kernels, those that share a buffer once.")
    float_operators: tuple[str, ...] = Field(description="Operators that compute in float.")
    float_tensors: tuple[str, ...] = Field(description="Float tensors, constants included, that are in use.")


def inspect_file(path: Path) -> Inspection:
    """Return the facts of any `.tflite` file, all its graphs included.

    Raises BadModelFile when the file is missing, empty, damaged, inconsistent or of another kind.
    """
    model = read_model(path)
    operators: list[OperatorFacts] = []
    kernels: dict[int, tuple[str, Tensor]] = {}  # with the operator that reads it first
    weight_bytes: dict[int, int] = {}
    # Elements of each buffer. Two graphs that share one share its weights; two tensors of one graph
    # are two weights, and share a buffer because converters store equal values once.
    parameters: Counter[int] = Counter()
    float_tensors: list[str] = []
    for number, graph in enumerate(model.subgraphs):
        weights: Counter[int] = Counter()
        for index in sorted(_used(graph)):
            tensor = graph.tensors[index]
            if tensor.is_float:
                float_tensors.append(_label(number, "tensor", index, tensor.name))
            if tensor.data is not None and is_weight(tensor):
                weights[tensor.buffer] += tensor.elements
                weight_bytes[tensor.buffer] = tensor.data.size
        parameters |= weights
        sources = constant_sources(graph)
        for index, operator in enumerate(graph.operators):
            found = kernels_of(operator, graph, sources)
            for tensor in found:
                kernels.setdefault(tensor.buffer, (operator.name, tensor))
            operators.append(_operator_facts(number, index, operator, graph, found))
    kernel_facts = tuple(_kernel_facts(name, tensor) for name, tensor in kernels.values())
    main = model.subgraphs[0]
    return Inspection(
        schema_version=model.version,
        sha256=hashlib.sha256(model.content).hexdigest(),
        size_bytes=len(model.content),
        deflated_bytes=len(zlib.compress(model.content, 9)),
        weight_bytes=sum(weight_bytes.values()),
        parameters=sum(parameters.values()),
        multiply_accumulates=sum(operator.multiply_accumulates for operator in operators),
        zero_fraction=sum(k.zeros for k in kernel_facts) / max(1, sum(k.elements for k in kernel_facts)),
        peak_activation_bytes=max(_peak_activation_bytes(graph) for graph in model.subgraphs),
        inputs=tuple(_tensor_facts(index, main) for index in main.inputs),
        outputs=tuple(_tensor_facts(index, main) for index in main.outputs),
        operators=tuple(operators),
        operator_counts=dict(Counter(operator.name for operator in operators)),
        kernels=kernel_facts,
        float_operators=tuple(operator.label for operator in operators if operator.computes_in_float),
        float_tensors=tuple(float_tensors),
    )


def float_leftovers(inspection: Inspection, float_io: bool) -> list[str]:
    """Return what keeps the file from being full-integer, as labels; empty when nothing does.

    Where `float_io` is true, the float inputs and outputs of the graph that is invoked are
    allowed, and the QUANTIZE and DEQUANTIZE operators that touch them; nothing else is.
    """
    allowed = set()
    if float_io:
        inputs = {tensor.index for tensor in inspection.inputs}
        outputs = {tensor.index for tensor in inspection.outputs}
        allowed = {_label(0, "tensor", t.index, t.name) for t in (*inspection.inputs, *inspection.outputs)}
        for operator in inspection.operators:
            quantizes = operator.name == "QUANTIZE" and inputs.issuperset(operator.inputs)
            dequantizes = operator.name == "DEQUANTIZE" and outputs.issuperset(operator.outputs)
            if operator.subgraph == 0 and (quantizes or dequantizes):
                allowed.add(operator.label)
    return [label for label in (*inspection.float_operators, *inspection.float_tensors) if label not in allowed]


def _label(subgraph: int, kind: str, index: int, name: str) -> str:
    return f"{kind} {index} {name}" + (f" of subgraph {subgraph}" if subgraph else "")


def _used(graph: Subgraph) -> set[int]:
    """Return the indices of the tensors that an operator or the graph's interface names."""
    used = {*graph.inputs, *graph.outputs}
    for operator in graph.operators:
        used.update(operator.inputs, operator.outputs)
    return used - {-1}


def is_weight(tensor: Tensor) -> bool:
    """Whether a constant that an operator reads is learned, by its form."""
    return bool(tensor.shape and tensor.element_bits and (tensor.is_float or tensor.quantized))


def constant_sources(graph: Subgraph) -> dict[int, int]:
    """Return, for each tensor that is a constant in another encoding, the constant's own index."""
    sources: dict[int, int] = {}
    for operator in graph.operators:
        if operator.name in _FROM_CONSTANT and operator.inputs and operator.inputs[0] >= 0:
            source = sources.get(operator.inputs[0], operator.inputs[0])
            if graph.tensors[source].data is not None:
                sources.update(dict.fromkeys(operator.outputs, source))
    return sources


def kernels_of(operator: Operator, graph: Subgraph, sources: dict[int, int]) -> list[Tensor]:
    """Return an operator's kernels; `sources` are the graph's `constant_sources`."""
    if operator.name not in MULTIPLY_ACCUMULATE:
        return []
    read = [graph.tensors[sources.get(index, index)] for index in operator.inputs if index >= 0]
    return [tensor for tensor in read if tensor.data is not None and len(tensor.shape) > 1 and is_weight(tensor)]


def _operator_facts(
    subgraph: int, index: int, operator: Operator, graph: Subgraph, kernels: list[Tensor]
) -> OperatorFacts:
    inputs = [graph.tensors[i] for i in operator.inputs if i >= 0]
    outputs = [graph.tensors[i] for i in operator.outputs]
    # By position, and long enough for every formula: an input that is left out has no shape.
    positions = [graph.tensors[i].shape if i >= 0 else () for i in operator.inputs] + [()] * 3
    count = MULTIPLY_ACCUMULATE.get(operator.name)
    return OperatorFacts(
        subgraph=subgraph,
        index=index,
        name=operator.name,
        inputs=tuple(i for i in operator.inputs if i >= 0),
        outputs=operator.outputs,
        input_shapes=tuple(tensor.shape for tensor in inputs),
        output_shapes=tuple(tensor.shape for tensor in outputs),
        dtypes=tuple(dict.fromkeys(tensor.dtype for tensor in (*inputs, *outputs))),
        weight_dtype=kernels[0].dtype if kernels else None,
        multiply_accumulates=count(positions, outputs[0].shape) if count and outputs else 0,
        computes_in_float=any(tensor.is_float and tensor.data is None for tensor in (*inputs, *outputs)),
    )


def _tensor_facts(index: int, graph: Subgraph) -> TensorFacts:
    tensor = graph.tensors[index]
    return TensorFacts(
        index=index,
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        shape_signature=tensor.shape_signature,
        scale=tensor.scale[0] if tensor.scale else None,
        zero_point=tensor.zero_point[0] if tensor.zero_point else None,
    )


def _kernel_facts(operator: str, tensor: Tensor) -> KernelFacts:
    import numpy as np

    values = tensor.stored_values()
    points = (0,) if tensor.is_float else tensor.zero_point or (0,)
    gaps = tensor.elements - values.size  # a sparse tensor leaves out zeros
    zero: np.ndarray | int = points[0]
    channels = values[np.newaxis]
    if not tensor.is_sparse:
        axis = -1 if operator in _CHANNELS_LAST else 0
        if len(points) > 1:  # one zero point a channel, so the file itself names the axis
            axis, zero = max(tensor.quantized_dimension, 0), np.array(points)[:, np.newaxis]
        channels = np.moveaxis(values.reshape(tensor.shape), axis, 0)
        channels = channels.reshape(len(channels), values.size // max(1, len(channels)))
    stored_zeros = int(np.count_nonzero(channels == zero))
    distinct = np.unique(values).size
    # Sorted and compared with its neighbour: all channels at once, however many there are.
    ordered = np.sort(channels, axis=1)
    changes = np.count_nonzero(ordered[:, 1:] != ordered[:, :-1], axis=1)
    most = min(int(changes.max(initial=0)) + 1, distinct)
    distinct_gap = int(gaps > 0 and stored_zeros == 0)
    return KernelFacts(
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        elements=tensor.elements,
        zeros=stored_zeros + gaps,
        distinct_values=distinct + distinct_gap,
        distinct_values_per_channel=most + distinct_gap,
    )


def _peak_activation_bytes(graph: Subgraph) -> int:
    """Return the largest sum of the sizes of tensors that are alive at one operator."""
    decoded = constant_sources(graph)
    last_read = {index: at for at, operator in enumerate(graph.operators) for index in operator.inputs}
    last_read.update(dict.fromkeys(graph.outputs, len(graph.operators)))
    place: dict[int, int] = {}  # the tensor in whose memory this one lies
    alive: dict[int, tuple[int, int]] = {}  # first and last operator, of each such memory

    def live(index: int, at: int) -> None:
        if index >= 0 and graph.tensors[index].data is None and index not in decoded:
            first, last = alive.get(place.setdefault(index, index), (at, at))
            alive[place[index]] = min(first, at), max(last, at)

    variables = [index for index, tensor in enumerate(graph.tensors) if tensor.is_variable]
    for index in (*graph.inputs, *variables):
        live(index, 0)
    for at, operator in enumerate(graph.operators):
        for index in operator.inputs:
            live(index, at)
            if operator.name in _IN_PLACE and index in place and operator.outputs:
                output = operator.outputs[0]
                same_size = graph.tensors[index].size_bytes == graph.tensors[output].size_bytes
                if same_size and (operator.name in _RENAMES or last_read[index] == at):
                    place.setdefault(output, place[index])
        for index in operator.outputs:
            live(index, at)
    for index in (*graph.outputs, *variables):
        live(index, len(graph.operators))
    changes = [0] * (len(graph.operators) + 2)
    for index, (first, last) in alive.items():
        changes[first] += graph.tensors[index].size_bytes
        changes[last + 1] -= graph.tensors[index].size_bytes
    return max(accumulate(changes))
