"""Writes a `.tflite` in as few bytes as FlatBuffers allows, in one fixed order.

FlatBuffers lets several references lead to one vector or table, so equal ones are stored once; and
a table's fields may stand in any order, so that they stand by size and no padding comes between them.
Every reader follows offsets and sees the same model. Internals: https://flatbuffers.dev/internals.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import flatbuffers.number_types as number_types

BUFFER_ALIGNMENT = 16  # bytes; what the schema forces for the data of a buffer
_OFFSET = None  # stands in for the number type of a field that leads to another table or vector


def pack(model: Any) -> bytes:
    """Return the bytes of a `ModelT` of ai_edge_litert's schema. The same model gives the same bytes."""
    import ai_edge_litert.schema_py_generated as schema

    class AlignedBuffer(schema.BufferT):
        def Pack(self, builder: Any) -> int:
            data = None
            if self.data is not None and len(self.data):
                content = bytes(self.data)
                builder.StartVector(1, len(content), BUFFER_ALIGNMENT)
                builder.head -= len(content)
                builder.Bytes[builder.head : builder.head + len(content)] = content
                data = builder.EndVector()
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
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    model.buffers = buffers
    return bytes(builder.Output())


class CompactBuilder(flatbuffers.Builder):
    """Gives back the earlier offset when an equal vector of numbers or an equal table has been written."""

    head: int

    def __init__(self) -> None:
        super().__init__(1024)
        self.vectors: dict[tuple[int, int, bytes], int] = {}
        self.tables: dict[tuple[Any, ...], int] = {}
        self.fields: list[tuple[int, Any, Any]] = []
        self.start, self.element_size, self.alignment, self.offsets = 0, 0, 0, False

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
