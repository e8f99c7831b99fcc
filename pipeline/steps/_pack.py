"""Writes a `.tflite` in as few bytes as FlatBuffers allows, in one fixed order.

FlatBuffers lets several references lead to one vector or table, so equal ones are stored once; and
a table's fields may stand in any order, so that they stand by size and no padding comes between them.
Every reader follows offsets and sees the same model. Internals: https://flatbuffers.dev/internals.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import flatbuffers
import flatbuffers.number_types as number_types

if TYPE_CHECKING:
    import numpy as np

BUFFER_ALIGNMENT = 16  # bytes; what the schema forces for the data of a buffer
FILLER_BYTES_MAX = 28
_OFFSET = None  # stands in for the number type of a field that leads to another table or vector


def pack(model: Any) -> bytes:
    """Return the bytes of a `ModelT` of ai_edge_litert's schema. The same model gives the same bytes."""
    import ai_edge_litert.schema_py_generated as schema

    class AlignedBuffer(schema.BufferT):
        def Pack(self, builder: Any) -> int:
            data = None
            if self.data is not None and len(self.data):
                data = builder.write_data(bytes(self.data))
            schema.BufferStart(builder)
            if data is not None:
                schema.BufferAddData(builder, data)
            return schema.BufferEnd(builder)

    buffers, model.buffers = model.buffers, []
    for buffer in buffers:
        aligned = AlignedBuffer()
        aligned.data = buffer.data
        model.buffers.append(aligned)
    builder = CompactBuilder()
    _write_data_first(model, builder)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    model.buffers = buffers
    return bytes(builder.Output())


def _write_data_first(model: Any, builder: CompactBuilder) -> None:
    """Write the buffers' data, and where one must start on its alignment, small vectors instead of padding.

    The vectors are shapes and scales of the model's tensors, which are written once in any case.
    """
    import numpy as np

    small: dict[int, list[np.ndarray]] = {}  # by their size in the file, the count included
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            for vector in (tensor.shape, tensor.quantization and tensor.quantization.scale):
                if isinstance(vector, np.ndarray) and vector.itemsize == 4 and 0 < vector.nbytes <= FILLER_BYTES_MAX:
                    known = small.setdefault(4 + vector.nbytes, [])
                    if not any(np.array_equal(vector, other) and vector.dtype == other.dtype for other in known):
                        known.append(vector)
    for buffer in model.buffers:
        if buffer.data is None or not len(buffer.data):
            continue
        gap = -(builder.Offset() + len(buffer.data)) % BUFFER_ALIGNMENT
        for size in _filling(gap, {size: len(vectors) for size, vectors in small.items()}):
            builder.CreateNumpyVector(small[size].pop())
        builder.write_data(bytes(buffer.data))


def _filling(gap: int, available: dict[int, int]) -> tuple[int, ...]:
    """Return sizes of vectors, at most three, after which less padding is left in the gap than without."""
    sizes = sorted(size for size, count in available.items() for _ in range(min(count, 3)))
    choices = [()] + [chosen for count in (1, 2, 3) for chosen in combinations(sizes, count)]
    return min(choices, key=lambda chosen: ((gap - sum(chosen)) % BUFFER_ALIGNMENT, len(chosen), sum(chosen)))


class CompactBuilder(flatbuffers.Builder):
    """Gives back the earlier offset when an equal vector of numbers or an equal table has been written."""

    head: int

    def __init__(self) -> None:
        super().__init__(1024)
        self.vectors: dict[tuple[int, int, bytes], int] = {}
        self.tables: dict[tuple[Any, ...], int] = {}
        self.fields: list[tuple[int, Any, Any]] = []
        self.start, self.element_size, self.alignment, self.offsets = 0, 0, 0, False

    def write_data(self, content: bytes) -> int:
        """Write the data of a buffer, or give back where it is."""
        self.StartVector(1, len(content), BUFFER_ALIGNMENT)
        self.head -= len(content)
        self.Bytes[self.head : self.head + len(content)] = content
        return self.EndVector()

    def StartVector(self, element_size: int, count: int, alignment: int) -> int:
        self.start, self.element_size, self.alignment, self.offsets = self.Offset(), element_size, alignment, False
        return super().StartVector(element_size, count, alignment)

    def PrependUOffsetTRelative(self, offset: int) -> None:
        self.offsets = True  # relative to where they stand: equal bytes mean nothing
        super().PrependUOffsetTRelative(offset)

    def EndVector(self, *arguments: Any) -> int:
        count = self.vectorNumElems
        end = super().EndVector(*arguments)
        if self.offsets:
            return end
        first = self.head + 4  # behind the count
        content = bytes(self.Bytes[first : first + count * self.element_size])
        known = self.vectors.setdefault((self.alignment, self.element_size, content), end)
        if known != end:
            self.head = len(self.Bytes) - self.start
        return known

    def StartObject(self, numfields: int) -> None:
        super().StartObject(numfields)
        self.fields = []

    def PrependSlot(self, flags: Any, o: int, x: Any, d: Any) -> None:
        if x != d:
            self.fields.append((o, flags, x))

    def PrependUOffsetTRelativeSlot(self, o: int, x: int, d: int) -> None:
        if x != d:
            self.fields.append((o, _OFFSET, x))

    def EndObject(self) -> int:
        # A table's kind does not matter: what is read from it follows from its fields alone.
        key = tuple((slot, flags and flags.__name__, value) for slot, flags, value in self.fields)
        if key in self.tables:
            self.nested, self.current_vtable = False, None
            return self.tables[key]
        # Written from the end to the start of the file: the narrowest fields come last.
        for slot, flags, value in sorted(self.fields, key=lambda field: (_width(field[1]), -field[0])):
            if flags is _OFFSET:
                super().PrependUOffsetTRelativeSlot(slot, value, 0)
            else:
                self.Prepend(flags, value)
                self.Slot(slot)
        self.tables[key] = super().EndObject()
        return self.tables[key]


def _width(flags: Any) -> int:
    return int(number_types.UOffsetTFlags.bytewidth if flags is _OFFSET else flags.bytewidth)
