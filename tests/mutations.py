"""Damaged `.tflite` files for fuzzing: case `n` is always the same bytes.

Half of the kinds know nothing of the format; the others overwrite a shape, an index, a length or a
scale where it lies, since a flipped bit seldom gets as far as tensor allocation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import numpy as np

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "tests/data").glob("*.tflite"), *(ROOT / "benchmarks/records").glob("*.tflite")])
SEED = 20261125

# Positions of a table's fields in its vtable, in the order of the schema: 4, 6, 8, …
SHAPE, TYPE, BUFFER, QUANTIZATION = 4, 6, 8, 12
SCALE, ZERO_POINT, DIMENSION = 8, 10, 16
OPCODE, INPUTS, OUTPUTS = 4, 6, 8

SIZES = (-(2**31), -2, -1, 0, 1, 3, 255, 65_535, 65_536, 2**24, 2**28, 2**30, 2**31 - 1)
SCALES = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, 1e-45, 1e-38, 3.4e38)


def make_case(number: int) -> tuple[str, bytes]:
    """Return what was done to which file, and the damaged bytes."""
    random = np.random.default_rng([SEED, number])
    kind = list(KINDS)[number % len(KINDS)]
    source = SOURCES[number // len(KINDS) % len(SOURCES)]
    content = bytearray(source.read_bytes())
    changed = KINDS[kind](content, random)
    return f"case {number}: {kind} of {source.name}", bytes(content if changed is None else changed)


def flip_bits(content: bytearray, random: np.random.Generator) -> None:
    for place in random.integers(0, len(content), random.integers(1, 9)):
        content[place] ^= 1 << int(random.integers(8))


def overwrite_bytes(content: bytearray, random: np.random.Generator) -> None:
    for place in random.integers(8, len(content), random.integers(1, 33)):
        content[place] = int(random.choice([0, 1, 127, 128, 255, int(random.integers(256))]))


def truncate(content: bytearray, random: np.random.Generator) -> bytes:
    return bytes(content[: int(random.integers(0, len(content)))])


def move_block(content: bytearray, random: np.random.Generator) -> None:
    length = int(random.integers(4, 65))
    source, target = (int(place) for place in random.integers(8, len(content) - length, 2))
    content[target : target + length] = content[source : source + length]


def overwrite_offsets(content: bytearray, random: np.random.Generator) -> None:
    """Any aligned word: offsets, lengths, vtables; near ones lead to another table, far ones out of the file."""
    for place in random.integers(0, len(content) // 4, random.integers(1, 4)) * 4:
        word = random.choice([0, 4, int(random.integers(len(content))), len(content), 2**31, 2**32 - 4, 2**32 - 1])
        struct.pack_into("<I", content, int(place), int(word))


def overwrite_tables(content: bytearray, random: np.random.Generator) -> None:
    """One field of one operator's options, vtable included: strides, paddings, axes of 0 or beyond."""
    for operator in _some(_operators(content), random):
        options = operator.BuiltinOptions()
        if options is not None:
            place = options.Pos + 4 * int(random.integers(-4, 6))
            struct.pack_into("<i", content, max(8, min(place, len(content) - 4)), int(random.choice(SIZES)))


def overflow_shapes(content: bytearray, random: np.random.Generator) -> None:
    for tensor in _some(_tensors(content), random):
        start, count = _vector(tensor, SHAPE)
        for index in range(count):
            if random.random() < 0.5:
                struct.pack_into("<i", content, start + 4 * index, int(random.choice(SIZES)))


def lengthen_vectors(content: bytearray, random: np.random.Generator) -> None:
    tables = [(tensor, SHAPE) for tensor in _tensors(content)]
    tables += [(operator, field) for operator in _operators(content) for field in (INPUTS, OUTPUTS)]
    table, field = tables[int(random.integers(len(tables)))]
    start, count = _vector(table, field)
    if start:
        length = random.choice([0, count + 1, count * 2, 1000, 2**16, 2**28, 2**30, 2**32 - 1])
        struct.pack_into("<I", content, start - 4, int(length))


def spoil_quantization(content: bytearray, random: np.random.Generator) -> None:
    for tensor in _some(_tensors(content), random):
        quantization = tensor.Quantization()
        if quantization is None:
            continue
        start, count = _vector(quantization, SCALE)
        for index in range(count):
            struct.pack_into("<f", content, start + 4 * index, float(random.choice(SCALES)))
        start, count = _vector(quantization, ZERO_POINT)
        if count and random.random() < 0.5:
            struct.pack_into("<q", content, start, int(random.choice([-(2**63), -129, 128, 2**31, 2**62])))
        _overwrite_field(content, quantization, DIMENSION, "<i", int(random.choice(SIZES)))


def miswire_operators(content: bytearray, random: np.random.Generator) -> None:
    """Inputs and outputs out of range, left out, or of another operator: also cycles and two writers of one tensor."""
    count = len(_tensors(content))
    for operator in _some(_operators(content), random):
        start, length = _vector(operator, INPUTS if random.random() < 0.7 else OUTPUTS)
        for index in range(length):
            if random.random() < 0.6:
                wild = [-2, -1, count, 2**31 - 1, -(2**31), *[int(random.integers(count))] * 5]
                struct.pack_into("<i", content, start + 4 * index, int(random.choice(wild)))


def make_cycle(content: bytearray, random: np.random.Generator) -> None:
    """An operator reads what it, or one after it, writes."""
    operators = _operators(content)
    first = int(random.integers(len(operators)))
    later = operators[int(random.integers(first, len(operators)))]
    start, length = _vector(operators[first], INPUTS)
    if length and later.OutputsLength():
        struct.pack_into("<i", content, start + 4 * int(random.integers(length)), later.Outputs(0))


def swap_kinds(content: bytearray, random: np.random.Generator) -> None:
    """Another dtype, buffer or operator than the rest of the file is made for."""
    for tensor in _some(_tensors(content), random):
        _overwrite_field(content, tensor, TYPE, "<b", int(random.integers(0, 24)))
        _overwrite_field(content, tensor, BUFFER, "<I", int(random.integers(0, 40)))
    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    for code in codes:
        if random.random() < 0.5:
            other = int(random.integers(0, 127))
            _overwrite_field(content, code, 4, "<b", other)  # deprecated_builtin_code
            _overwrite_field(content, code, 10, "<i", other)  # builtin_code
    for operator in _some(_operators(content), random):
        _overwrite_field(content, operator, OPCODE, "<I", int(random.integers(0, 8)))


KINDS: dict[str, Callable[[bytearray, np.random.Generator], bytes | None]] = {
    "flipped bits": flip_bits,
    "overwritten bytes": overwrite_bytes,
    "truncation": truncate,
    "a moved block": move_block,
    "wrong offsets": overwrite_offsets,
    "wrong options": overwrite_tables,
    "overflowing shapes": overflow_shapes,
    "long vectors": lengthen_vectors,
    "spoiled quantization": spoil_quantization,
    "miswired operators": miswire_operators,
    "a cycle": make_cycle,
    "swapped kinds": swap_kinds,
}


def _tensors(content: bytearray) -> list[Any]:
    graph = schema.Model.GetRootAs(content).Subgraphs(0)
    return [graph.Tensors(index) for index in range(graph.TensorsLength())]


def _operators(content: bytearray) -> list[Any]:
    graph = schema.Model.GetRootAs(content).Subgraphs(0)
    return [graph.Operators(index) for index in range(graph.OperatorsLength())]


def _some(tables: list[Any], random: np.random.Generator) -> list[Any]:
    chosen = random.choice(len(tables), min(len(tables), int(random.integers(1, 4))), replace=False)
    return [tables[int(index)] for index in chosen]


def _vector(table: Any, field: int) -> tuple[int, int]:
    """Return where a vector's first element lies and how many it has; 0, 0 where it is not there."""
    offset = table._tab.Offset(field)
    return (table._tab.Vector(offset), table._tab.VectorLen(offset)) if offset else (0, 0)


def _overwrite_field(content: bytearray, table: Any, field: int, form: str, value: int) -> None:
    if offset := table._tab.Offset(field):  # a default value is not stored
        struct.pack_into(form, content, table._tab.Pos + offset, value)
