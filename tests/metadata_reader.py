"""Reads TFLite metadata as another program would: from the bytes, by the published schema, without a library."""

from __future__ import annotations

import struct
from typing import Any

# {table: fields in the schema's order}; a kind in brackets is a vector; a union takes two slots, its type first.
# https://github.com/tensorflow/tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs
_TABLES: dict[str, list[tuple[str, str]]] = {
    "ModelMetadata": [
        ("name", "string"),
        ("description", "string"),
        ("version", "string"),
        ("subgraph_metadata", "[SubGraphMetadata]"),
        ("author", "string"),
        ("license", "string"),
        ("associated_files", "[AssociatedFile]"),
        ("min_parser_version", "string"),
    ],
    "SubGraphMetadata": [
        ("name", "string"),
        ("description", "string"),
        ("input_tensor_metadata", "[TensorMetadata]"),
        ("output_tensor_metadata", "[TensorMetadata]"),
        ("associated_files", "[AssociatedFile]"),
    ],
    "TensorMetadata": [
        ("name", "string"),
        ("description", "string"),
        ("dimension_names", "[string]"),
        ("content", "Content"),
        ("process_units", "[ProcessUnit]"),
        ("stats", "Stats"),
        ("associated_files", "[AssociatedFile]"),
    ],
    "Content": [("content_properties_type", "ubyte"), ("content_properties", "ContentProperties")],
    "ImageProperties": [("color_space", "byte"), ("default_size", "ImageSize")],
    "ImageSize": [("width", "uint"), ("height", "uint")],
    "ProcessUnit": [("options_type", "ubyte"), ("options", "ProcessUnitOptions")],
    "NormalizationOptions": [("mean", "[float]"), ("std", "[float]")],
    "Stats": [("max", "[float]"), ("min", "[float]")],
    "AssociatedFile": [("name", "string"), ("description", "string"), ("type", "byte"), ("locale", "string")],
}
_UNIONS = {
    "ContentProperties": [None, "FeatureProperties", "ImageProperties", "BoundingBoxProperties"],
    "ProcessUnitOptions": [None, "NormalizationOptions", "ScoreCalibrationOptions", "ScoreThresholdingOptions"],
}
_NUMBERS = {"byte": "<b", "ubyte": "<B", "uint": "<I", "float": "<f"}


def read_metadata(content: bytes) -> dict[str, Any]:
    """Return the ModelMetadata in the buffer that TFLITE_METADATA names, as plain data."""
    buffer = metadata_buffer(content)
    assert buffer[4:8] == b"M001"
    return _table(buffer, struct.unpack_from("<I", buffer)[0], "ModelMetadata")


def metadata_buffer(content: bytes) -> bytes:
    """Return the buffer's bytes: Model has buffers in slot 4 and metadata in slot 6; Buffer has data in slot 0."""
    assert content[4:8] == b"TFL3"
    model = struct.unpack_from("<I", content)[0]
    for entry in _vector(content, _follow(content, _field(content, model, 6))):
        if _string(content, _follow(content, _field(content, entry, 0))) == "TFLITE_METADATA":
            number = struct.unpack_from("<I", content, _field(content, entry, 1))[0]
            buffer = _vector(content, _follow(content, _field(content, model, 4)))[number]
            start = _follow(content, _field(content, buffer, 0))
            return content[start + 4 : start + 4 + struct.unpack_from("<I", content, start)[0]]
    raise AssertionError("no TFLITE_METADATA")


def _field(buffer: bytes, table: int, slot: int) -> int:
    """Return where a field lies; 0 where it is left out."""
    fields = table - struct.unpack_from("<i", buffer, table)[0]
    place = 4 + 2 * slot
    if place >= struct.unpack_from("<H", buffer, fields)[0]:
        return 0
    offset = struct.unpack_from("<H", buffer, fields + place)[0]
    return table + offset if offset else 0


def _follow(buffer: bytes, place: int) -> int:
    return place + struct.unpack_from("<I", buffer, place)[0]


def _vector(buffer: bytes, place: int) -> list[int]:
    """Return where the tables of a vector lie."""
    return [_follow(buffer, place + 4 + 4 * index) for index in range(struct.unpack_from("<I", buffer, place)[0])]


def _string(buffer: bytes, place: int) -> str:
    length = struct.unpack_from("<I", buffer, place)[0]
    assert buffer[place + 4 + length] == 0  # strings end with a zero byte
    return buffer[place + 4 : place + 4 + length].decode()


def _table(buffer: bytes, table: int, kind: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for slot, (name, field) in enumerate(_TABLES[kind]):
        if place := _field(buffer, table, slot):
            if field in _UNIONS:
                field = str(_UNIONS[field][values[f"{name}_type"]])
            values[name] = _value(buffer, place, field)
    return values


def _value(buffer: bytes, place: int, kind: str) -> Any:
    if kind in _NUMBERS:
        return struct.unpack_from(_NUMBERS[kind], buffer, place)[0]
    start = _follow(buffer, place)
    if kind == "string":
        return _string(buffer, start)
    if kind == "[float]":
        return list(struct.unpack_from(f"<{struct.unpack_from('<I', buffer, start)[0]}f", buffer, start + 4))
    if kind == "[string]":
        return [_string(buffer, one) for one in _vector(buffer, start)]
    if kind.startswith("["):
        return [_table(buffer, one, kind[1:-1]) for one in _vector(buffer, start)]
    return _table(buffer, start, kind)
