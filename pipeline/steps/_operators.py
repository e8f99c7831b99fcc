"""The operators of a `.tflite` under the names of their Keras layers, and what flows between them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.flatbuffer import Subgraph, read_model
from pipeline.inspect import MULTIPLY_ACCUMULATE

if TYPE_CHECKING:
    import numpy as np

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")  # of number formats: they compute nothing


@dataclass(frozen=True)
class NamedOperator:
    """One operator, by the names that the converter keeps in those of tensors."""

    position: int  # in the graph's order
    kind: str  # builtin name, such as CONV_2D
    layer: str  # the Keras layer that it is best known by; its kind and position where none is known
    names: frozenset[str]  # all that a recipe can call it by: layers, the blocks around them, its kind
    inputs: tuple[int, ...]  # indices of the tensors that it reads and that are no constants
    output: int  # index of its first output
    output_name: str
    kernel_dtype: str | None  # number format of its kernel; none without one

    @property
    def has_kernel(self) -> bool:
        return self.kernel_dtype is not None


def named_operators(path: Path) -> list[NamedOperator]:
    """Return the operators of the graph that is invoked, in order."""
    graph = read_model(path).subgraphs[0]
    return [_named(graph, position) for position in range(len(graph.operators))]


def _named(graph: Subgraph, position: int) -> NamedOperator:
    operator = graph.operators[position]
    # A kernel that is quantized alone is decoded by an operator of its own.
    encoded = {other.outputs[0]: other.inputs[0] for other in graph.operators if other.name == "DEQUANTIZE"}
    read = {index: graph.tensors[encoded.get(index, index)] for index in operator.inputs if index >= 0}
    kernels = [tensor for tensor in read.values() if tensor.data is not None and len(tensor.shape) > 1]
    if operator.name not in MULTIPLY_ACCUMULATE:
        kernels = []
    output = graph.tensors[operator.outputs[0]]
    # The output of the last operator bears the graph's name for it, its kernel still the layer's.
    layers = [_layers(tensor.name) for tensor in (*kernels, output)]
    layer = next((found[-1] for found in layers if found), f"{operator.name}_{position}")
    known = [layer, *(name for found in layers for name in found)]
    return NamedOperator(
        position=position,
        kind=operator.name,
        layer=layer,
        names=frozenset([operator.name, *known, *(part for name in known for part in name.split("/"))]),
        inputs=tuple(index for index, tensor in read.items() if tensor.data is None),
        output=operator.outputs[0],
        output_name=output.name,
        kernel_dtype=kernels[0].dtype if kernels else None,
    )


def _layers(tensor: str) -> list[str]:
    """Return the layers in a tensor's name, of fused ones the activation first and what has the kernel last.

    Each is a path, model/block/layer/Operation: the first names the model, the last what the layer computes.
    """
    paths = [path.split("/") for path in tensor.split(";") if "ReadVariableOp" not in path]
    return ["/".join(path[1:-1]) for path in paths if len(path) > 2]


def activations(path: Path, samples: np.ndarray) -> Iterator[dict[int, np.ndarray]]:
    """Yield for each sample the real values of the graph's inputs and of all operators' outputs, by tensor index.

    samples: float32 [n, *input_shape]. Computed by LiteRT's own kernels, without a delegate: one
    may keep what lies between its operators to itself.
    """
    import numpy as np

    graph = read_model(path).subgraphs[0]
    indices = [*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)]
    interpreter = _interpreter(path.read_bytes())
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    source = details[graph.inputs[0]]
    for sample in samples:
        interpreter.set_tensor(source["index"], _stored(sample[np.newaxis], source))
        interpreter.invoke()
        yield {index: _real(interpreter.get_tensor(index), details[index]) for index in indices}


def lone_operator(path: Path, operator: NamedOperator) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Return the function that one operator of a float `.tflite` computes from its inputs that are no constants."""
    import ai_edge_litert.schema_py_generated as schema
    import flatbuffers
    import numpy as np

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    graph = model.subgraphs[0]
    graph.operators = [graph.operators[operator.position]]
    used = {graph.tensors[index].buffer for index in graph.operators[0].inputs if index >= 0}
    for place, buffer in enumerate(model.buffers):
        if place not in used:
            buffer.data = None
    # int32, as the file has them: the generated classes write an array's bytes as they are.
    graph.inputs, graph.outputs = np.array(operator.inputs, np.int32), np.array([operator.output], np.int32)
    model.signatureDefs = None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    interpreter = _interpreter(bytes(builder.Output()))
    shapes = {detail["index"]: detail["shape"] for detail in interpreter.get_input_details()}

    def compute(inputs: list[np.ndarray]) -> np.ndarray:
        for index, values in zip(operator.inputs, inputs, strict=True):
            interpreter.set_tensor(index, values.reshape(shapes[index]))  # another file may do without a RESHAPE
        interpreter.invoke()
        return interpreter.get_tensor(operator.output)

    return compute


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that all tensors are kept is what is wanted
        interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
    interpreter.allocate_tensors()
    return interpreter


def _stored(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Return float32 values in the number format of a tensor."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    if not scale:
        return values.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(detail["dtype"])


def _real(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Return the float32 values that a tensor stands for."""
    scale, zero_point = detail["quantization"]
    real = values.astype("float32")
    return (real - zero_point) * scale if scale else real
