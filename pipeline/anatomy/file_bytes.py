"""Where the bytes of a `.tflite` are: every one of them is counted once.

What a tensor has in the file is claimed as ranges of bytes: its buffer, in the flatbuffer or behind it; its
quantization parameters; the indices of a sparse one. Where several share a range, as equal vectors of a slim file
do, the first has it. What nobody claims is the graph's own: tables, offsets, names, padding.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.anatomy.document import BytesKind, FileBytes
from pipeline.errors import BadModelFile
from pipeline.flatbuffer import Subgraph, Tensor, read_model
from pipeline.inspect import MULTIPLY_ACCUMULATE, constant_sources, is_weight
from pipeline.steps._operators import NamedOperator

PIECES_MAX = 300  # named one by one; smaller ones are added up by their kind
_VECTOR_HEAD = 4  # its count of elements
# Fields in their tables' vtables (4, 6, 8, …), and bytes of an element.
_BUFFER_DATA, _NAME, _VALUES = 4, 10, 4
_QUANTIZATION_VECTORS = {4: 4, 6: 4, 8: 4, 10: 8}  # min, max, scale, zero_point
_INDEX_BYTES = {1: 4, 2: 2, 3: 1}  # of a sparse tensor's index vectors: int32, uint16, uint8
_BIAS_INPUTS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}

Piece = tuple[str, str, BytesKind]  # name, layer, kind
Claim = tuple[int, int, Piece]  # first byte, the one behind the last, whose they are


def file_bytes(path: Path, operators: Sequence[NamedOperator]) -> list[FileBytes]:
    """Return the pieces of the file, the largest first; they add up to its size.

    operators: of the graph that is invoked, under their layers' names. Raises BadModelFile for what is no
    `.tflite` that can be read.
    """
    model = read_model(path)
    try:
        claims = list(_claims(model.content, model.subgraphs, operators))
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError, struct.error) as error:
        raise BadModelFile(
            f"the bytes of {path} cannot be told apart",
            received=f"offsets that lead nowhere: {error}",
            expected="a whole TensorFlow Lite flatbuffer",
            fix="copy the file again, or convert the model anew",
        ) from error
    sizes: dict[Piece, int] = {}
    reached, size = 0, len(model.content)
    for first, end, piece in sorted(claims, key=lambda claim: claim[:2]):
        first, end = max(first, reached), min(end, size)
        if end > first:
            sizes[piece] = sizes.get(piece, 0) + end - first
            reached = end
    tables: Piece = ("tables, offsets and padding", "", "graph overhead")
    sizes[tables] = sizes.get(tables, 0) + size - sum(sizes.values())
    return _largest(sizes)


def _largest(sizes: dict[Piece, int]) -> list[FileBytes]:
    ordered = sorted((item for item in sizes.items() if item[1]), key=lambda item: -item[1])
    pieces = [FileBytes(name=n, layer=layer, kind=k, bytes=size) for (n, layer, k), size in ordered[:PIECES_MAX]]
    rest: dict[BytesKind, list[int]] = {}
    for (_, _, kind), size in ordered[PIECES_MAX:]:
        rest.setdefault(kind, []).append(size)
    pieces += [
        FileBytes(name=f"{len(several)} smaller pieces", layer="", kind=kind, bytes=sum(several))
        for kind, several in rest.items()
    ]
    return sorted(pieces, key=lambda piece: -piece.bytes)


def _claims(content: bytes, graphs: Sequence[Subgraph], operators: Sequence[NamedOperator]) -> Iterator[Claim]:
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(content)
    buffers: dict[int, Piece] = {}
    for number, graph in enumerate(graphs):
        table = root.Subgraphs(number)
        layers = _layers(graph, operators if number == 0 else [])
        kinds = _kinds(graph, [table.Tensors(index) for index in range(len(graph.tensors))])
        for index, tensor in enumerate(graph.tensors):
            layer, entry = layers.get(index, ""), table.Tensors(index)
            kind, role = kinds.get(index, ("other constants", "constant" if tensor.data is not None else "activation"))
            name = tensor.name or role
            if tensor.data is not None:
                buffers.setdefault(tensor.buffer, (name, layer, kind))
            yield from _quantization(
                entry.Quantization(), (f"quantization of {name}", layer, "quantization parameters")
            )
            yield from _sparse_indices(entry.Sparsity(), (f"indices of {name}", layer, kind))
            yield from _vector(entry, _NAME, 1, ("names of tensors", "", "graph overhead"))
    for index in range(root.MetadataLength()):
        entry = root.Metadata(index)
        name = (entry.Name() or b"").decode("utf-8", "replace")
        buffers.setdefault(entry.Buffer(), (f"metadata {name}", "", "graph overhead"))
    for index in range(root.BuffersLength()):
        entry, piece = root.Buffers(index), buffers.get(index, ("unused buffers", "", "graph overhead"))
        if entry.Offset() > 1:  # behind the flatbuffer
            yield entry.Offset(), entry.Offset() + entry.Size(), piece
        else:
            yield from _vector(entry, _BUFFER_DATA, 1, piece)
    if (start := _zip_start(content)) is not None:
        yield start, len(content), ("files packed behind the model", "", "graph overhead")


def _layers(graph: Subgraph, operators: Sequence[NamedOperator]) -> dict[int, str]:
    """Return the layer of each tensor: of a constant the first that reads it, else the one that writes it."""
    sources = constant_sources(graph)
    layers: dict[int, str] = {}
    for operator in operators:
        read, written = graph.operators[operator.position].inputs, graph.operators[operator.position].outputs
        if sources.keys().isdisjoint(written):  # what only decodes a constant is no layer
            layers |= {sources.get(index, index): operator.layer for index in read if index not in layers}
            layers |= dict.fromkeys(written, operator.layer)
    return layers | {output: layers[source] for output, source in sources.items() if source in layers}


def _kinds(graph: Subgraph, entries: Sequence[Any]) -> dict[int, tuple[BytesKind, str]]:
    """Return kind and role of the constants that operators read."""
    from ai_edge_litert import schema_py_generated as schema

    sources = constant_sources(graph)
    kinds: dict[int, tuple[BytesKind, str]] = {}
    for operator in graph.operators:
        for position, index in enumerate(operator.inputs):
            source = sources.get(index, index)
            if source < 0 or graph.tensors[source].data is None:
                continue
            tensor = graph.tensors[source]
            if _BIAS_INPUTS.get(operator.name) == position and _is_bias(tensor):
                kinds[source] = "biases", "bias"
            elif is_weight(tensor):
                kernel = operator.name in MULTIPLY_ACCUMULATE and len(tensor.shape) > 1
                kinds.setdefault(source, ("weights", "kernel" if kernel else "weight"))
    for entry in entries:
        quantization = entry.Quantization()
        if quantization and quantization.DetailsType() == schema.QuantizationDetails.BlockwiseQuantization:
            blocks = schema.BlockwiseQuantization()
            details = quantization.Details()
            blocks.Init(details.Bytes, details.Pos)
            kinds[blocks.Scales()] = "quantization parameters", "scale"
            if blocks.ZeroPoints() > 0:
                kinds[blocks.ZeroPoints()] = "quantization parameters", "zero point"
    return kinds


def _is_bias(tensor: Tensor) -> bool:
    return len(tensor.shape) == 1


def _quantization(table: Any, piece: Piece) -> Iterator[Claim]:
    if table is None:
        return
    vtable = table._tab.Pos - struct.unpack_from("<i", table._tab.Bytes, table._tab.Pos)[0]
    yield table._tab.Pos, table._tab.Pos + struct.unpack_from("<H", table._tab.Bytes, vtable + 2)[0], piece
    for field, element in _QUANTIZATION_VECTORS.items():
        yield from _vector(table, field, element, piece)


def _sparse_indices(table: Any, piece: Piece) -> Iterator[Claim]:
    for axis in range(table.DimMetadataLength() if table else 0):
        metadata = table.DimMetadata(axis)
        for vector, kind in (
            (metadata.ArraySegments(), metadata.ArraySegmentsType()),
            (metadata.ArrayIndices(), metadata.ArrayIndicesType()),
        ):
            if vector is not None and kind in _INDEX_BYTES:
                yield from _span(vector, _VALUES, _INDEX_BYTES[kind], piece)


def _vector(table: Any, field: int, element: int, piece: Piece) -> Iterator[Claim]:
    yield from _span(table._tab, field, element, piece)


def _span(table: Any, field: int, element: int, piece: Piece) -> Iterator[Claim]:
    """Yield the bytes of one vector of a table, its count included."""
    if offset := table.Offset(field):
        first = table.Vector(offset)
        yield first - _VECTOR_HEAD, first + element * table.VectorLen(offset), piece


def _zip_start(content: bytes) -> int | None:
    """Return where a zip begins that lies behind the flatbuffer, as files of the metadata do; None without one."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            start = min((entry.header_offset for entry in archive.infolist()), default=-1)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, LookupError, struct.error):
        return None  # no zip
    return start if start > 0 and content[start : start + 4] == b"PK\x03\x04" else None
