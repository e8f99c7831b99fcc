"""Tables that are equal are stored once, and their fields leave no padding between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import pytest

from pipeline.steps._pack import pack

DATA = Path(__file__).parents[1] / "data"


def plain(value: Any) -> Any:
    """Return a model of the schema's object interface as nested dictionaries and lists."""
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    return {name: plain(item) for name, item in vars(value).items()} if hasattr(value, "__dict__") else value


@pytest.mark.parametrize("name", ["tiny_int8.tflite", "tiny_float32.tflite"])
def test_the_packed_model_reads_back_the_same(name: str) -> None:
    model = schema.ModelT.InitFromPackedBuf((DATA / name).read_bytes())
    content = pack(model)
    assert plain(schema.ModelT.InitFromPackedBuf(content)) == plain(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    assert len(content) < len(builder.Output())
    assert pack(model) == content


def quantized(scale: float, dimension: int) -> Any:
    tensor = schema.TensorT()
    tensor.type = schema.TensorType.INT8
    tensor.shape = np.array([dimension, 3], np.int32)
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([scale], np.float32)
    tensor.quantization.zeroPoint = np.array([0], np.int64)
    return tensor


def with_tensors(*tensors: Any) -> bytes:
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    model.subgraphs = [schema.SubGraphT()]
    model.subgraphs[0].tensors = list(tensors)
    return pack(model)


def test_an_equal_table_costs_its_place_in_the_vector_alone() -> None:
    one = len(with_tensors(quantized(0.5, 2)))
    equal = len(with_tensors(quantized(0.5, 2), quantized(0.5, 2), quantized(0.5, 2)))
    assert equal - one == 2 * 4
    other = with_tensors(quantized(0.5, 2), quantized(0.25, 2))
    scales = [t.quantization.scale[0] for t in schema.ModelT.InitFromPackedBuf(other).subgraphs[0].tensors]
    assert scales == [0.5, 0.25]
    assert len(other) > one + 4


def test_small_vectors_stand_where_alignment_would_leave_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [quantized(1 / (2 + index), 2 + index) for index in range(8)]
    data = [np.full(33 + 5 * index, index + 1, np.uint8) for index in range(8)]

    def packed() -> bytes:
        model = schema.ModelT()
        model.version = 3
        model.buffers = [schema.BufferT() for _ in range(9)]
        model.subgraphs = [schema.SubGraphT()]
        model.subgraphs[0].tensors = tensors
        for index, (tensor, content) in enumerate(zip(tensors, data, strict=True)):
            tensor.buffer = index + 1
            model.buffers[index + 1].data = content
        return pack(model)

    filled = packed()
    assert all(filled.index(bytes(content)) % 16 == 0 for content in data)
    read = schema.ModelT.InitFromPackedBuf(filled)
    for tensor, content in zip(read.subgraphs[0].tensors, data, strict=True):
        assert bytes(read.buffers[tensor.buffer].data) == bytes(content)
    monkeypatch.setattr("pipeline.steps._pack.FILLER_BYTES_MAX", 0)
    assert len(filled) <= len(packed()) - 32
