"""Every byte of a `.tflite` counted once: committed files, files written by hand, damaged ones."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st
from mutations import SOURCES, make_case
from strategies import quick

from pipeline.anatomy.document import FileBytes
from pipeline.anatomy.file_bytes import PIECES_MAX, file_bytes
from pipeline.anatomy.layer_names import with_layers
from pipeline.errors import BadModelFile
from pipeline.inspect import inspect_file
from pipeline.steps._metadata_table import zip_behind
from pipeline.steps.slim import slim
from tests.unit.test_inspect import T, tensor, write
from tests.unit.test_layer_errors import edited

DATA = Path(__file__).parents[1] / "data"


def pieces_of(path: Path) -> list[FileBytes]:
    """Return the pieces, whose sum must be the file's size."""
    return checked(path, file_bytes(path, with_layers(path, [])))


def checked(path: Path, found: list[FileBytes]) -> list[FileBytes]:
    assert sum(piece.bytes for piece in found) == path.stat().st_size
    assert [piece.bytes for piece in found] == sorted((piece.bytes for piece in found), reverse=True)
    assert all(piece.bytes > 0 for piece in found)
    return found


def by_kind(pieces: list[FileBytes]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for piece in pieces:
        counts[piece.kind] += piece.bytes
    return counts


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_weights_and_biases_are_those_of_the_inspection(path: Path) -> None:
    kinds, found = by_kind(pieces_of(path)), inspect_file(path)
    # Each buffer has its length in front of it.
    buffers = kinds["weights"] + kinds["biases"] - found.weight_bytes
    assert 0 < buffers <= 4 * 2 * len(found.operators)
    assert kinds["graph overhead"] > 0


def test_pieces_bear_their_layers_names() -> None:
    pieces = pieces_of(DATA / "depthwise_int8.tflite")
    kernels = {piece.layer: piece.bytes for piece in pieces if piece.kind == "weights"}
    assert kernels == {"conv2d": 40, "conv2d_1": 20, "depthwise_conv2d": 40, "dense": 84}
    scales = next(piece for piece in pieces if piece.name == "quantization of model/dense/MatMul1")
    # The table, and of each of 10 channels a scale of 4 bytes and a zero point of 8, both with a length in front.
    assert (scales.kind, scales.layer) == ("quantization parameters", "dense")
    assert scales.bytes >= 10 * (4 + 8) + 2 * 4


def test_a_slim_files_pieces_have_the_layers_of_the_file_before(tmp_path: Path) -> None:
    source, path = DATA / "tiny_int8.tflite", tmp_path / "slim.tflite"
    path.write_bytes(slim(source.read_bytes())[0])
    assert {operator.layer for operator in with_layers(path, [])} == {"CONV_2D_0", "RESHAPE_1", "FULLY_CONNECTED_2"}
    operators = with_layers(path, [DATA / "depthwise_int8.tflite", source])
    assert [operator.layer for operator in operators] == ["conv2d", "flatten", "dense"]
    kernels = [piece for piece in file_bytes(path, operators) if piece.kind == "weights"]
    assert [(piece.name, piece.layer) for piece in kernels] == [("kernel", "dense"), ("kernel", "conv2d")]


def test_a_shared_buffer_is_counted_once(tmp_path: Path) -> None:
    def graph(second: str) -> Path:
        kernel = {"scale": [0.1]}
        tensors = [
            tensor(T.INT8, [1, 64], scale=[1.0]),
            tensor(T.INT8, [64, 64], np.arange(4096).astype(np.int8), buffer="a", **kernel),
            tensor(T.INT8, [1, 64], scale=[1.0]),
            tensor(T.INT8, [64, 64], np.arange(4096).astype(np.int8), buffer=second, **kernel),
            tensor(T.INT8, [1, 64], scale=[1.0]),
        ]
        operators = [("FULLY_CONNECTED", [0, 1, -1], [2]), ("FULLY_CONNECTED", [2, 3, -1], [4])]
        return write(tmp_path / f"{second}.tflite", (tensors, operators, [0], [4]))

    shared, apart = (by_kind(pieces_of(graph(second)))["weights"] for second in "ab")
    assert apart == 2 * shared > 8000


def test_weights_behind_the_flatbuffer_are_the_weights(tmp_path: Path) -> None:
    content = (DATA / "tiny_int8.tflite").read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    kernel = graph.tensors[graph.operators[-1].inputs[1]].buffer
    data = bytes(model.buffers[kernel].data)

    def move(model: schema.ModelT, offset: int) -> None:
        model.buffers[kernel].data = None
        model.buffers[kernel].offset, model.buffers[kernel].size = offset, len(data)

    path = tmp_path / "behind.tflite"
    size = edited(DATA / "tiny_int8.tflite", path, lambda model: move(model, 2)).stat().st_size
    edited(DATA / "tiny_int8.tflite", path, lambda model: move(model, size))
    path.write_bytes(path.read_bytes() + data)
    largest = next(piece for piece in pieces_of(path) if piece.layer == "dense" and piece.kind == "weights")
    assert largest.bytes == len(data) == 720


def test_the_indices_of_a_sparse_tensor_count_as_its_weights(tmp_path: Path) -> None:
    tensors = [
        tensor(T.FLOAT32, [1, 64]),
        tensor(T.FLOAT32, [2, 64], np.ones(5, np.float32), sparse=True),
        tensor(T.FLOAT32, [1, 2]),
    ]
    source = write(tmp_path / "plain.tflite", (tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], [0], [2]))

    def add_indices(model: schema.ModelT) -> None:
        metadata = schema.DimensionMetadataT()
        metadata.format = schema.DimensionType.SPARSE_CSR
        metadata.arraySegmentsType = metadata.arrayIndicesType = schema.SparseIndexVector.Uint16Vector
        metadata.arraySegments, metadata.arrayIndices = schema.Uint16VectorT(), schema.Uint16VectorT()
        metadata.arraySegments.values, metadata.arrayIndices.values = [0, 2, 5], [1, 2, 3, 4, 5]
        model.subgraphs[0].tensors[1].sparsity.dimMetadata = [metadata]

    path = edited(source, tmp_path / "sparse.tflite", add_indices)
    weights = {piece.name: piece.bytes for piece in pieces_of(path) if piece.kind == "weights"}
    assert weights == {"tensor1": 4 + 5 * 4, "indices of tensor1": (4 + 3 * 2) + (4 + 5 * 2)}


def test_metadata_and_the_zip_behind_are_the_graphs_own(tmp_path: Path) -> None:
    def add_metadata(model: schema.ModelT) -> None:
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
        buffer.data = np.zeros(500, np.uint8)
        model.metadata = [*(model.metadata or []), entry]
        model.buffers.append(buffer)

    path = edited(DATA / "tiny_int8.tflite", tmp_path / "m.tflite", add_metadata)
    size = path.stat().st_size
    path.write_bytes(zip_behind(path.read_bytes(), {"labels.txt": b"zero\none\n" * 50}))
    own = {piece.name: piece.bytes for piece in pieces_of(path) if piece.kind == "graph overhead"}
    assert own["metadata TFLITE_METADATA"] == 504
    assert own["files packed behind the model"] == path.stat().st_size - size


def test_of_very_many_pieces_the_smaller_are_added_up(tmp_path: Path) -> None:
    count = 2 * PIECES_MAX
    tensors = [tensor(T.FLOAT32, [1, 4])]
    operators = []
    for number in range(count):
        tensors += [tensor(T.FLOAT32, [4], np.ones(4, np.float32), name=f"w{number}"), tensor(T.FLOAT32, [1, 4])]
        operators.append(("MUL", [2 * number, 2 * number + 1], [2 * number + 2]))
    pieces = pieces_of(write(tmp_path / "many.tflite", (tensors, operators, [0], [2 * count])))
    assert len(pieces) <= PIECES_MAX + 5
    assert by_kind(pieces)["weights"] == count * (4 + 16)
    assert any(piece.name == f"{count - PIECES_MAX + 2} smaller pieces" for piece in pieces)


@quick
@given(st.integers(0, 100_000))
def test_damaged_files_add_up_as_well_or_are_refused(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.tflite"
        path.write_bytes(make_case(number)[1])
        with suppress(BadModelFile):
            checked(path, file_bytes(path, []))
            with suppress(IndexError):  # an operator without outputs has no name
                pieces_of(path)
