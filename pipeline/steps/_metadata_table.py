"""Writes the metadata of a `.tflite`: the flatbuffer of the buffer TFLITE_METADATA, and the zip behind the file.

Schema: https://github.com/tensorflow/tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs, of
which only what version 1.0.0 has is written. Files that belong to a tensor are packed into a zip behind the
flatbuffer, not compressed, since readers refuse compressed ones. Equal facts give equal bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers

BUFFER_NAME = "TFLITE_METADATA"  # by which readers find the buffer among the model's metadata
FILE_IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.0.0"
COLOR_SPACES = {3: 1, 1: 2}  # RGB and GRAYSCALE, by the count of channels
_FIRST_MOMENT = (1980, 1, 1, 0, 0, 0)  # of the zip format
_TENSOR_AXIS_LABELS = 2
_IMAGE_PROPERTIES = 2  # the second member of its union
_NORMALIZATION_OPTIONS = 1


@dataclass(frozen=True)
class TensorFacts:
    """One input or output, for people and for readers of metadata."""

    name: str
    description: str = ""
    image_size: tuple[int, int, int] | None = None  # height, width, channels; None: no picture
    normalization: tuple[Sequence[float], Sequence[float]] | None = None  # mean and deviation by channel, of pixels
    value_range: tuple[float, float] | None = None  # lowest and highest value
    labels_file: str = ""  # in the zip: a name for each place of the last axis


@dataclass(frozen=True)
class ModelFacts:
    """What a file says of itself; empty texts are left out."""

    name: str
    description: str
    version: str
    author: str
    license: str
    input: TensorFacts
    output: TensorFacts


def metadata_table(facts: ModelFacts) -> bytes:
    """Return the flatbuffer ModelMetadata with its file identifier."""
    builder = flatbuffers.Builder(1024)
    inputs, outputs = (_tables(builder, [_tensor(builder, tensor)]) for tensor in (facts.input, facts.output))
    graph = _table(builder, 7, {2: inputs, 3: outputs})
    texts = {0: facts.name, 1: facts.description, 2: facts.version, 4: facts.author, 5: facts.license}
    slots = {slot: _text(builder, text) for slot, text in {**texts, 7: MIN_PARSER_VERSION}.items()}
    builder.Finish(_table(builder, 8, {**slots, 3: _tables(builder, [graph])}), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def zip_behind(content: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return a file with a zip of `files` behind it, whose dates and permissions are always the same."""
    if not files:
        return content
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _FIRST_MOMENT)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data)
    return stream.getvalue()


def _tensor(builder: Any, tensor: TensorFacts) -> int:
    """Write a TensorMetadata; return where it is."""
    slots = {0: _text(builder, tensor.name), 1: _text(builder, tensor.description)}
    if tensor.image_size:
        height, width, channels = tensor.image_size
        size = _table(builder, 2, {}, {0: ("Uint32", width), 1: ("Uint32", height)})
        image = _table(builder, 2, {1: size}, {0: ("Int8", COLOR_SPACES[channels])})
        slots[3] = _table(builder, 3, {1: image}, {0: ("Uint8", _IMAGE_PROPERTIES)})
    if tensor.normalization:
        mean, deviation = (_floats(builder, values) for values in tensor.normalization)
        options = _table(builder, 2, {0: mean, 1: deviation})
        slots[4] = _tables(builder, [_table(builder, 2, {1: options}, {0: ("Uint8", _NORMALIZATION_OPTIONS)})])
    if tensor.value_range:
        lowest, highest = (_floats(builder, [value]) for value in tensor.value_range)
        slots[5] = _table(builder, 2, {0: highest, 1: lowest})
    if tensor.labels_file:
        texts = {0: _text(builder, tensor.labels_file), 1: _text(builder, "Names of the places of the last axis.")}
        slots[6] = _tables(builder, [_table(builder, 4, texts, {2: ("Int8", _TENSOR_AXIS_LABELS)})])
    return _table(builder, 7, slots)


def _table(
    builder: Any, fields: int, offsets: Mapping[int, int], numbers: Mapping[int, tuple[str, int]] | None = None
) -> int:
    """Write a table of so many fields, {slot: offset} and {slot: (kind, number)}; an offset of 0 is left out."""
    builder.StartObject(fields)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, (kind, number) in (numbers or {}).items():
        getattr(builder, f"Prepend{kind}Slot")(slot, number, 0)
    return builder.EndObject()


def _text(builder: Any, text: str) -> int:
    return builder.CreateString(text) if text else 0


def _floats(builder: Any, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()


def _tables(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
