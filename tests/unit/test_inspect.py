"""Facts of `.tflite` files: the two committed ones, files written by hand, and damaged ones."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadModelFile
from pipeline.inspect import Inspection, float_leftovers, inspect_file

DATA = Path(__file__).parents[1] / "data"
TINY = {dtype: DATA / f"tiny_{dtype}.tflite" for dtype in ("float32", "int8")}
T = schema.TensorType


def tensor(dtype: int, shape: list[int], values: Any = None, **more: Any) -> SimpleNamespace:
    """One tensor to write: its values' bytes, and `scale`, `zero_point`, `axis`, `sparse`, `buffer`."""
    return SimpleNamespace(
        dtype=dtype, shape=shape, data=None if values is None else np.asarray(values).tobytes(), more=more
    )


Graph = tuple[list[SimpleNamespace], list[tuple], list[int], list[int]]


def write(path: Path, *graphs: Graph, version: int = 3, behind: bytes = b"", offset: int = 0) -> Path:
    """Write graphs of (tensors, [(operator, inputs, outputs)], inputs, outputs) as a `.tflite` file.

    Tensors with an equal `buffer` share one; without values they have the empty buffer 0. `behind`
    is appended to the file, and buffer 0 points there.
    """
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = version, [], []
    model.buffers, numbers = [schema.BufferT()], {}
    model.buffers[0].offset, model.buffers[0].size = offset, len(behind)
    for tensors, operators, inputs, outputs in graphs:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], inputs, outputs
        for index, plan in enumerate(tensors):
            entry = schema.TensorT()
            entry.name, entry.type, entry.shape = plan.more.get("name", f"tensor{index}"), plan.dtype, plan.shape
            entry.shapeSignature = plan.more.get("signature")
            entry.externalBuffer = plan.more.get("external", 0)
            entry.isVariable = plan.more.get("variable", False)
            if plan.data is not None:
                label = plan.more.get("buffer", object())
                if label not in numbers:
                    numbers[label] = len(model.buffers)
                    model.buffers.append(schema.BufferT())
                    model.buffers[-1].data = np.frombuffer(plan.data, np.uint8)
                entry.buffer = numbers[label]
            if "scale" in plan.more:
                entry.quantization = schema.QuantizationParametersT()
                entry.quantization.scale = plan.more["scale"]
                entry.quantization.zeroPoint = plan.more.get("zero_point", [0] * len(plan.more["scale"]))
                entry.quantization.quantizedDimension = plan.more.get("axis", 0)
            if plan.more.get("blockwise"):
                entry.quantization = schema.QuantizationParametersT()
                entry.quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
                entry.quantization.details = schema.BlockwiseQuantizationT()
            if plan.more.get("sparse"):
                entry.sparsity = schema.SparsityParametersT()
            graph.tensors.append(entry)
        for name, operator_inputs, operator_outputs in operators:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.customCode = None if hasattr(schema.BuiltinOperator, name) else name
            operator = schema.OperatorT()
            operator.opcodeIndex = len(model.operatorCodes)
            operator.inputs, operator.outputs = operator_inputs, operator_outputs
            model.operatorCodes.append(code)
            graph.operators.append(operator)
        model.subgraphs.append(graph)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()) + behind)
    return path


def test_tiny_files() -> None:
    for dtype, path in TINY.items():
        found, content = inspect_file(path), path.read_bytes()
        assert found.schema_version == 3
        assert found.sha256 == hashlib.sha256(content).hexdigest()
        assert found.size_bytes == len(content)
        assert found.deflated_bytes == len(zlib.compress(content, 9))
        # Biases of zero are left out of the dense layer by the converter: 50 + 2 + 720.
        assert found.parameters == 772
        assert found.multiply_accumulates == 6 * 6 * 2 * 25 + 72 * 10
        assert found.operator_counts == {"CONV_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1}
        assert [(k.dtype, k.shape, k.elements) for k in found.kernels] == [
            (dtype, (2, 5, 5, 1), 50),
            (dtype, (10, 72), 720),
        ]
        assert [o.weight_dtype for o in found.operators] == [dtype, None, dtype]
        assert [o.multiply_accumulates for o in found.operators] == [1800, 0, 720]
        (source,), (result,) = found.inputs, found.outputs
        assert (source.dtype, source.shape, source.shape_signature) == (dtype, (1, 28, 28, 1), (1, 28, 28, 1))
        assert (result.dtype, result.shape) == (dtype, (1, 10))
        # The picture and the convolution's output; RESHAPE takes no memory of its own.
        assert found.peak_activation_bytes == (784 + 72) * (4 if dtype == "float32" else 1)
    assert source.scale == pytest.approx(1 / 255, rel=1e-3)
    assert source.zero_point == -128
    assert found.weight_bytes == 50 + 2 * 4 + 720
    assert float_leftovers(found, float_io=False) == []
    assert "operator 0 CONV_2D" in float_leftovers(inspect_file(TINY["float32"]), float_io=True)


def test_zeros_are_the_channels_zero_points(tmp_path: Path) -> None:
    kernel = np.array([[5, 5, 0], [-7, 0, 5]], np.int8)
    tensors = [
        tensor(T.INT8, [1, 3], scale=[1.0]),
        tensor(T.INT8, [2, 3], kernel, scale=[1.0, 1.0], zero_point=[5, -7], axis=0),
        tensor(T.INT8, [1, 2], scale=[1.0]),
    ]
    (found,) = inspect_file(
        write(tmp_path / "a.tflite", (tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], [0], [2]))
    ).kernels
    assert (found.zeros, found.distinct_values) == (3, 3)
    tensors[1].more.update(zero_point=[-7, 5, 1], scale=[1.0] * 3, axis=1)
    (found,) = inspect_file(
        write(tmp_path / "b.tflite", (tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], [0], [2]))
    ).kernels
    assert found.zeros == 2


@pytest.mark.parametrize(
    ("dtype", "values", "zeros", "distinct", "weight_bytes"),
    [
        (T.FLOAT32, np.array([0, -0.0, 1, 1, 2, np.nan], np.float32), 2, 4, 24),
        (T.FLOAT16, np.array([0, -0.0, 1, 1, 2, 3], np.float16), 2, 4, 12),
        (T.BFLOAT16, np.array([0, 0x8000, 0x3F80, 0x3F80, 1, 2], np.uint16), 2, 4, 12),
        (T.INT16, np.array([0, 1, 1, -1, 300, 0], np.int16), 2, 4, 12),
        (T.INT4, np.array([0xF0, 0x08, 0x71], np.uint8), 2, 4, 3),  # 0 -1 -8 0 1, and 7 to fill the byte
        (T.UINT4, np.array([0xF0, 0x08, 0x71], np.uint8), 2, 4, 3),
        (T.INT2, np.array([0b11_00_01_00, 0b10_10], np.uint8), 2, 4, 2),
    ],
)
def test_number_formats(
    tmp_path: Path, dtype: int, values: np.ndarray, zeros: int, distinct: int, weight_bytes: int
) -> None:
    elements = 5 if dtype in (T.INT4, T.UINT4) else 6
    scale = {} if dtype in (T.FLOAT32, T.FLOAT16, T.BFLOAT16) else {"scale": [0.5]}
    tensors = [tensor(dtype, [1, elements]), tensor(dtype, [1, elements], values, **scale), tensor(dtype, [1, 1])]
    found = inspect_file(write(tmp_path / "m.tflite", (tensors, [("FULLY_CONNECTED", [0, 1], [2])], [0], [2])))
    (kernel,) = found.kernels
    assert (kernel.elements, kernel.zeros, kernel.distinct_values) == (elements, zeros, distinct)
    assert (found.parameters, found.weight_bytes) == (elements, weight_bytes)
    assert kernel.dtype == next(name.lower() for name, code in vars(T).items() if code == dtype)


def test_packed_values_have_a_sign(tmp_path: Path) -> None:
    for dtype, zero_point in ((T.INT4, -1), (T.UINT4, 15)):
        kernel = tensor(dtype, [1, 4], np.array([0xF0, 0xF8], np.uint8), scale=[1.0], zero_point=[zero_point])
        tensors = [tensor(T.INT8, [1, 4]), kernel, tensor(T.INT8, [1, 1])]
        found = inspect_file(write(tmp_path / "m.tflite", (tensors, [("FULLY_CONNECTED", [0, 1], [2])], [0], [2])))
        assert found.kernels[0].zeros == 2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_distinct_values_are_counted_in_each_output_channel(data: st.DataObject) -> None:
    operator, rank, channels_axis = data.draw(
        st.sampled_from(
            [("CONV_2D", 4, 0), ("FULLY_CONNECTED", 2, 0), ("DEPTHWISE_CONV_2D", 4, 3), ("BATCH_MATMUL", 2, 1)]
        )
    )
    shape = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-3, 4, shape).astype(np.int8)
    kernel = tensor(T.INT8, shape, values, scale=[1.0])
    if data.draw(st.booleans()):  # scales along another axis decide which one holds the channels
        channels_axis = data.draw(st.integers(0, rank - 1))
        count = shape[channels_axis]
        kernel.more.update(scale=[1.0] * count, zero_point=[0] * count, axis=channels_axis)
        if count == 1:
            return  # one scale says nothing of an axis
    tensors = [tensor(T.INT8, [1] * rank, scale=[1.0]), kernel, tensor(T.INT8, [1, 1], scale=[1.0])]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "m.tflite", (tensors, [(operator, [0, 1], [2])], [0], [2]))
        (found,) = inspect_file(path).kernels
    channels = np.moveaxis(values, channels_axis, 0).reshape(shape[channels_axis], -1)
    assert found.distinct_values_per_channel == max(len(set(channel.tolist())) for channel in channels)
    assert (found.distinct_values, found.zeros) == (len(set(values.ravel().tolist())), int((values == 0).sum()))


def test_blockwise_quantized_weights_are_weights(tmp_path: Path) -> None:
    kernel = tensor(T.INT4, [1, 4], np.array([0xF0, 0xF8], np.uint8), blockwise=True)
    tensors = [tensor(T.FLOAT32, [1, 4]), kernel, tensor(T.FLOAT32, [1, 1])]
    found = inspect_file(write(tmp_path / "m.tflite", (tensors, [("FULLY_CONNECTED", [0, 1], [2])], [0], [2])))
    assert (found.parameters, found.weight_bytes, found.zero_fraction) == (4, 2, 0.25)


def test_values_behind_the_flatbuffer(tmp_path: Path) -> None:
    """Large files keep them there, where offsets of 32 bits do not reach."""
    values = np.array([0, 1, 2, 3], np.float32).tobytes()
    graph = ([tensor(T.FLOAT32, [2, 2])] * 2, [("FULLY_CONNECTED", [0, 0], [1])], [], [])
    length = write(tmp_path / "m.tflite", graph, offset=2, behind=values).stat().st_size - len(values)
    path = write(tmp_path / "m.tflite", graph, offset=length, behind=values)
    assert inspect_file(path).zero_fraction == 0.25
    path.write_bytes(path.read_bytes()[:-1])
    refused(path)
    refused(write(path, graph, offset=2**64 - 1, behind=values))


def test_names_and_open_shapes(tmp_path: Path) -> None:
    tensors = [tensor(T.FLOAT32, [1, 4], signature=[-1, 4], name="é"), tensor(T.FLOAT32, [1, 4])]
    found = inspect_file(write(tmp_path / "m.tflite", (tensors, [("GELU", [0], [1])], [0], [1])))
    assert (found.inputs[0].name, found.inputs[0].shape, found.inputs[0].shape_signature) == ("é", (1, 4), (-1, 4))
    assert found.outputs[0].shape_signature == (1, 4)
    assert found.operator_counts == {"GELU": 1}, "a code above 127, which the older field cannot hold"


def test_sparse_tensors_leave_out_zeros(tmp_path: Path) -> None:
    tensors = [
        tensor(T.FLOAT32, [1, 8]),
        tensor(T.FLOAT16, [4, 8], np.array([1, 2, 2], np.float16), sparse=True),
        tensor(T.FLOAT16, [4, 8]),
        tensor(T.FLOAT32, [4, 8]),
        tensor(T.FLOAT32, [1, 4]),
    ]
    operators = [("DENSIFY", [1], [2]), ("DEQUANTIZE", [2], [3]), ("FULLY_CONNECTED", [0, 3], [4])]
    found = inspect_file(write(tmp_path / "m.tflite", (tensors, operators, [0], [4])))
    (kernel,) = found.kernels
    assert (kernel.dtype, kernel.elements, kernel.zeros, kernel.distinct_values) == ("float16", 32, 29, 3)
    assert kernel.distinct_values_per_channel == 3, "where a value lies is not known: of the whole kernel"
    assert found.zero_fraction == 29 / 32
    assert (found.weight_bytes, found.parameters) == (6, 32)
    assert [operator.weight_dtype for operator in found.operators] == [None, None, "float16"]
    assert found.peak_activation_bytes == (8 + 4) * 4  # what is decoded is no activation


def test_multiply_accumulates(tmp_path: Path) -> None:
    def kernel(*shape: int) -> SimpleNamespace:
        return tensor(T.FLOAT32, list(shape), np.ones(shape, np.float32))

    def value(*shape: int) -> SimpleNamespace:
        return tensor(T.FLOAT32, list(shape))

    shape_vector = tensor(T.INT32, [4], np.array([1, 8, 8, 3], np.int32))
    cases = [
        ("CONV_2D", [value(1, 9, 9, 4), kernel(6, 3, 3, 2)], value(1, 7, 7, 6), 7 * 7 * 6 * 3 * 3 * 2),  # 2 groups
        ("DEPTHWISE_CONV_2D", [value(1, 9, 9, 4), kernel(1, 3, 3, 8)], value(1, 7, 7, 8), 7 * 7 * 8 * 3 * 3),
        ("TRANSPOSE_CONV", [shape_vector, kernel(3, 2, 2, 5), value(1, 4, 4, 5)], value(1, 8, 8, 3), 16 * 5 * 4 * 3),
        ("BATCH_MATMUL", [value(3, 4, 5), kernel(3, 5, 6)], value(3, 4, 6), 3 * 4 * 5 * 6),
        ("BATCH_MATMUL", [value(3, 5, 4), kernel(5, 6)], value(3, 4, 6), 3 * 4 * 5 * 6),  # first one transposed
        ("ADD", [value(4, 4), kernel(4, 4)], value(4, 4), 0),
        ("MyOwn", [value(4, 4), kernel(4, 4)], value(4, 4), 0),
    ]
    for name, inputs, output, expected in cases:
        last = len(inputs)
        graph = ([*inputs, output], [(name, list(range(last)), [last])], [0], [last])
        found = inspect_file(write(tmp_path / "m.tflite", graph))
        assert found.multiply_accumulates == expected, name
        assert found.operators[0].name == name
        assert len(found.kernels) == (name not in ("ADD", "MyOwn"))
        assert found.parameters == int(np.prod(inputs[1].shape)), "the shape vector is no weight"


def test_shared_buffers_and_several_graphs(tmp_path: Path) -> None:
    def graph(*labels: str) -> tuple:
        dense = np.arange(4, dtype=np.float32)
        tensors = [tensor(T.FLOAT32, [1, 2])]
        operators = []
        for label in labels:
            tensors += [tensor(T.FLOAT32, [2, 2], dense, buffer=label), tensor(T.FLOAT32, [1, 2])]
            operators.append(("FULLY_CONNECTED", [len(tensors) - 4 + 1, len(tensors) - 2], [len(tensors) - 1]))
        operators[0] = ("FULLY_CONNECTED", [0, 1], [2])
        return tensors, operators, [0], [len(tensors) - 1]

    found = inspect_file(write(tmp_path / "m.tflite", graph("a", "a", "b"), graph("b", "c")))
    assert found.parameters == 4 * 4, "equal constants of one graph are two weights, another graph's are the same"
    assert found.weight_bytes == 3 * 16
    assert len(found.kernels) == 3
    assert found.operator_counts == {"FULLY_CONNECTED": 5}
    assert found.multiply_accumulates == 5 * 4
    assert [(operator.subgraph, operator.index) for operator in found.operators] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
    ]
    assert "operator 1 FULLY_CONNECTED of subgraph 1" in found.float_operators


def test_peak_counts_what_is_alive_at_once(tmp_path: Path) -> None:
    def values(*sizes: int) -> list[SimpleNamespace]:
        return [tensor(T.INT8, [size]) for size in sizes]

    def peak(tensors: list, operators: list, inputs: list[int], outputs: list[int]) -> int:
        return inspect_file(write(tmp_path / "m.tflite", (tensors, operators, inputs, outputs))).peak_activation_bytes

    # A chain frees what it has read; a branch keeps it; an output lives to the end.
    chain = [("RELU", [0], [1]), ("RELU", [1], [2]), ("RELU", [2], [3])]
    assert peak(values(10, 20, 30, 5), chain, [0], [3]) == 50
    assert peak(values(10, 20, 30, 5), [*chain[:2], ("CONCATENATION", [0, 2], [3])], [0], [3]) == 60
    assert peak(values(10, 20, 30, 5), chain, [0], [1, 3]) == 55
    # ADD may write over an input that ends with it, RELU is not known to; RESHAPE only renames.
    assert peak(values(10, 10), [("ADD", [0, 0], [1])], [0], [1]) == 10
    assert peak(values(10, 10), [("RELU", [0], [1])], [0], [1]) == 20
    assert peak(values(10, 10, 4), [("ADD", [0, 0], [1]), ("RELU", [0], [2])], [0], [1, 2]) == 24
    assert peak(values(10, 10, 4), [("RESHAPE", [0], [1]), ("CONCATENATION", [0, 1], [2])], [0], [2]) == 14
    both = [("RELU", [0], [1]), ("ADD", [1, 1], [2])]
    assert peak(values(1, 10, 10), both, [0], [2]) == 11
    assert peak(values(1, 10, 10), both, [0], [1, 2]) == 20  # an output must not be written over
    state = [*values(10, 10), tensor(T.INT8, [7], np.zeros(7, np.int8), variable=True)]
    assert peak(state, [("RELU", [0], [1])], [0], [1]) == 27


def test_float_leftovers(tmp_path: Path) -> None:
    float_, int8 = tensor(T.FLOAT32, [4]), tensor(T.INT8, [4], scale=[1.0])
    quantized = [("QUANTIZE", [0], [1]), ("RELU", [1], [2]), ("DEQUANTIZE", [2], [3])]
    found = inspect_file(write(tmp_path / "a.tflite", ([float_, int8, int8, float_], quantized, [0], [3])))
    assert float_leftovers(found, float_io=True) == []
    labels = ["operator 0 QUANTIZE", "operator 2 DEQUANTIZE", "tensor 0 tensor0", "tensor 3 tensor3"]
    assert float_leftovers(found, float_io=False) == labels

    # A float operator in the middle, with its own DEQUANTIZE and QUANTIZE.
    middle = [("DEQUANTIZE", [1], [2]), ("MyOwn", [2], [3]), ("QUANTIZE", [3], [4])]
    operators = [("QUANTIZE", [0], [1]), *middle, ("DEQUANTIZE", [4], [5])]
    found = inspect_file(
        write(tmp_path / "b.tflite", ([float_, int8, float_, float_, int8, float_], operators, [0], [5]))
    )
    assert float_leftovers(found, float_io=True) == [
        "operator 1 DEQUANTIZE",
        "operator 2 MyOwn",
        "operator 3 QUANTIZE",
        "tensor 2 tensor2",
        "tensor 3 tensor3",
    ]
    # An operator that computes on the float input itself is not allowed by its being the input.
    found = inspect_file(write(tmp_path / "c.tflite", ([float_, float_], [("RELU", [0], [1])], [0], [1])))
    assert float_leftovers(found, float_io=True) == ["operator 0 RELU"]
    # A constant is no computation, yet a float tensor.
    constant = tensor(T.FLOAT32, [4], np.ones(4, np.float32))
    found = inspect_file(write(tmp_path / "d.tflite", ([constant, int8], [("QUANTIZE", [0], [1])], [], [1])))
    assert (found.float_operators, float_leftovers(found, True)) == ((), ["tensor 0 tensor0"])


def refused(path: Path) -> str:
    with pytest.raises(BadModelFile) as caught:
        inspect_file(path)
    error = caught.value
    assert str(path) in error.message
    assert error.received
    assert error.expected
    assert error.fix
    return error.received


def test_what_is_no_model_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing.tflite")
    assert "folder" in refused(tmp_path)
    assert "device" in refused(Path("/dev/zero"))
    os.mkfifo(tmp_path / "pipe")
    assert "device" in refused(tmp_path / "pipe")
    (tmp_path / "a").write_bytes(b"")
    assert "an empty file (0 bytes)" in refused(tmp_path / "a")
    (tmp_path / "a").write_text("# a text file\n")
    assert "identifier b'text'" in refused(tmp_path / "a")
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**31)  # sparse: takes no space
    assert "more than" in refused(tmp_path / "a")


def test_every_cut_is_refused(tmp_path: Path) -> None:
    content = TINY["int8"].read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "cut").write_bytes(content[:length])
        refused(tmp_path / "cut")


def test_what_no_interpreter_could_run(tmp_path: Path) -> None:
    int8 = tensor(T.INT8, [4], scale=[1.0])
    relu = [("RELU", [0], [1])]
    path = tmp_path / "m.tflite"
    assert "reference" in refused(write(path, ([int8, int8], [("RELU", [0], [2])], [0], [1])))
    assert "reference" in refused(write(path, ([int8, int8], [("RELU", [-2], [1])], [0], [1])))
    assert "reference" in refused(write(path, ([int8, int8], relu, [0], [-1])))
    assert "no graph" in refused(write(path))
    assert "shape" in refused(write(path, ([int8, tensor(T.INT8, [-1])], relu, [0], [1])))
    assert "shape" in refused(write(path, ([int8, tensor(T.INT8, [2**31 - 1] * 16)], relu, [0], [1])))
    assert "shape" in refused(write(path, ([int8, tensor(T.INT8, [1] * 1000)], relu, [0], [1])))
    assert "dtype" in refused(write(path, ([int8, tensor(99, [1])], relu, [0], [1])))
    short = tensor(T.INT8, [4], np.ones(3, np.int8), scale=[1.0])
    assert "3 bytes, not 4" in refused(write(path, ([short, int8], relu, [], [1])))
    long = tensor(T.INT8, [4], np.ones(5, np.int8), scale=[1.0])
    assert "5 bytes, not 4" in refused(write(path, ([long, int8], relu, [], [1])))
    part = tensor(T.FLOAT32, [4], np.ones(6, np.int8), sparse=True)
    assert "6 bytes, not 16" in refused(write(path, ([part, int8], relu, [], [1])))
    elsewhere = tensor(T.INT8, [4], scale=[1.0], external=1)
    assert "another file" in refused(write(path, ([elsewhere, int8], relu, [], [1])))
    assert "name of" in refused(write(path, ([tensor(T.INT8, [4], name="x" * 10_001), int8], relu, [0], [1])))
    assert "schema version 2" in refused(write(path, ([int8, int8], relu, [0], [1]), version=2))
    points = tensor(T.INT8, [4], np.ones(4, np.int8), scale=[1.0] * 3)
    assert "3 zero points" in refused(write(path, ([points, int8], relu, [], [1])))


def test_vectors_of_one_table_are_refused_soon(tmp_path: Path) -> None:
    """A vector whose 20,000 entries all point at one table is small in the file, large when followed."""
    builder = flatbuffers.Builder()
    schema.TensorStart(builder)
    entry = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, 20_000)
    for _ in range(20_000):
        builder.PrependUOffsetTRelative(entry)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 100)
    for _ in range(100):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.BufferStart(builder)
    buffer = schema.BufferEnd(builder)
    schema.ModelStartBuffersVector(builder, 1)
    builder.PrependUOffsetTRelative(buffer)
    buffers = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "m.tflite"
    path.write_bytes(builder.Output())
    assert "more than the whole file" in refused(path)


MUTATIONS = st.lists(
    st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=4) | st.sampled_from([b"\xff" * 4, b"\0" * 4])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=500, deadline=1000)
@given(st.sampled_from(sorted(TINY)), MUTATIONS)
def test_mutated_files_are_read_or_refused(name: str, mutations: list[tuple[int, bytes]]) -> None:
    content = bytearray(TINY[name].read_bytes())
    for at, replacement in mutations:
        at %= len(content)
        content[at : at + len(replacement)] = replacement
    read_or_refuse(bytes(content))


@settings(max_examples=100, deadline=1000)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(content: bytes) -> None:
    for whole in (content, content[:4] + b"TFL3" + content[4:]):
        assert read_or_refuse(whole) is None


def read_or_refuse(content: bytes) -> Inspection | None:
    path = Path(tempfile.gettempdir()) / f"inspect-{os.getpid()}.tflite"
    path.write_bytes(content)
    try:
        found = inspect_file(path)
    except BadModelFile:
        return None
    finally:
        path.unlink()
    found.model_dump_json()
    float_leftovers(found, float_io=True)
    return found


def test_needs_neither_tensorflow_nor_interpreter() -> None:
    code = f"""
import sys
from pathlib import Path
from pipeline.inspect import inspect_file
inspect_file(Path({str(TINY["int8"])!r}))
print([name for name in ("tensorflow", "tf_keras", "ai_edge_litert.interpreter") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=DATA.parents[1], check=True)
    assert run.stdout.strip() == "[]"


def test_every_field_is_described() -> None:
    document = Inspection.model_json_schema()
    for model in (document, *document["$defs"].values()):
        assert all(field["description"].endswith(".") for field in model["properties"].values())
