"""Reads a `.tflite` flatbuffer into plain dataclasses, and refuses what no interpreter could run.

A `.tflite` file may come from anyone. The generated classes of `ai_edge_litert` follow whatever
offsets they find: a few altered bytes give a vector of 4 billion entries, or a million tables that
are all the same one. Here every length is charged against an allowance that grows with the file's
size, every index is checked, and the one error that leaves this module is BadModelFile.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadModelFile

if TYPE_CHECKING:
    import numpy as np

SCHEMA_VERSION = 3
SIZE_MAX = 2**31 - 1  # flatbuffers' offsets reach no further
RANK_MAX = 16  # TFLite's kernels end at 8
ELEMENTS_MAX = 2**48  # beyond any memory; keeps products small
NAME_MAX = 10_000  # characters; fused layers have names of some hundreds
# A flatbuffer that is written honestly spends each of its bytes about once.
ALLOWANCE_PER_BYTE = 2

# How the elements lie in a buffer. Without an entry (string, resource, variant): no fixed size.
_STORED_AS = {
    "bool": "?",
    "bfloat16": "<u2",
    "float8_e4m3fn": "u1",  # counted by their bit patterns: numpy has no such type
    "float8_e5m2": "u1",
    **{f"uint{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"int{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"complex{bits}": f"<c{bits // 8}" for bits in (64, 128)},
}
_PACKED_BITS = {"int2": 2, "int4": 4, "uint4": 4}


@dataclass(frozen=True)
class Tensor:
    """One tensor; `data` (uint8 [bytes], a view of the file) is None unless it is constant."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    buffer: int
    data: np.ndarray | None
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    quantized_dimension: int
    quantized: bool
    is_variable: bool
    is_sparse: bool

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def element_bits(self) -> int:
        """Bits of one element; 0 where the dtype has no fixed size."""
        import numpy as np

        stored_as = _STORED_AS.get(self.dtype)
        return np.dtype(stored_as).itemsize * 8 if stored_as else _PACKED_BITS.get(self.dtype, 0)

    @property
    def size_bytes(self) -> int:
        """Bytes of the dense tensor."""
        return (self.elements * self.element_bits + 7) // 8

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith(("float", "bfloat", "complex"))

    def stored_values(self) -> np.ndarray:
        """Return the constant's values as they lie in the file, flat; a sparse one without its gaps."""
        import numpy as np

        if self.data is None:
            return np.empty(0)
        bits = _PACKED_BITS.get(self.dtype)
        if bits is None:
            values = self.data.view(_STORED_AS[self.dtype])
            if self.dtype == "bfloat16":  # the upper half of a float32
                return (values.astype("<u4") << 16).view("<f4")
            return values
        # Several to a byte, the first in the lowest bits.
        values = self.data[:, np.newaxis] >> np.arange(0, 8, bits, dtype=np.uint8)
        values = (values & (2**bits - 1)).reshape(-1)[: self.elements]
        if self.dtype.startswith("u"):
            return values
        sign = np.int8(2 ** (bits - 1))
        return (values.astype(np.int8) ^ sign) - sign


@dataclass(frozen=True)
class Operator:
    """One operator: its builtin or custom name, and tensors' indices (inputs: -1 is left out)."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Subgraph:
    """One graph: its tensors, the indices of its inputs and outputs, its operators in order."""

    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class ModelFile:
    """The whole file's bytes, its schema version and its graphs, the one that is invoked first."""

    version: int
    content: bytes
    subgraphs: tuple[Subgraph, ...]


def read_model(path: Path) -> ModelFile:
    """Read a whole `.tflite` file of at most 2 GB.

    Raises BadModelFile when there is no such file, or when it is empty, cut off, damaged,
    inconsistent, of another format, or keeps its weights in other files.
    """
    size = 0
    try:
        # Asked first: a pipe or a device could be read for ever.
        if not path.is_file():
            raise _Unusable("a folder or device" if path.exists() else "no such file")
        size = path.stat().st_size
        if size > SIZE_MAX:
            raise _Unusable(f"more than {SIZE_MAX} bytes")
        content = path.read_bytes()
        if content[4:8] != b"TFL3":
            raise _Unusable(f"identifier {content[4:8]!r}" if content else "an empty file")
        return _Reader(content).model()
    except (OSError, ValueError, TypeError, IndexError, OverflowError, MemoryError, struct.error) as error:
        known = isinstance(error, OSError | _Unusable)
        raise BadModelFile(
            f"{path} cannot be used as a .tflite file",
            received=f"{error if known else f'offsets that lead nowhere: {error}'} ({size} bytes)",
            expected=f"a whole TensorFlow Lite flatbuffer, identifier TFL3, schema version {SCHEMA_VERSION}",
            fix="check the path, copy the file again, or convert the model anew",
        ) from error


class _Unusable(ValueError):
    """What is wrong with the file, in words."""


class _Reader:
    """Walks the generated classes, which raise what they please when an offset is wrong."""

    def __init__(self, content: bytes):
        self.content = content
        self.allowance = ALLOWANCE_PER_BYTE * len(content)

    def model(self) -> ModelFile:
        from ai_edge_litert import schema_py_generated as schema

        def names(enumeration: type) -> dict[int, str]:
            return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}

        root = schema.Model.GetRootAs(self.content)
        if root.Version() != SCHEMA_VERSION:
            raise _Unusable(f"schema version {root.Version()}")
        self.dtypes = {code: name.lower() for code, name in names(schema.TensorType).items()}
        builtins = names(schema.BuiltinOperator)
        operator_names = []
        for entry in self.tables(root, "OperatorCodes"):
            # Codes above 127 stand in the newer field alone, old writers fill the older alone.
            code = max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())
            custom = self.text(entry.CustomCode()) if code == schema.BuiltinOperator.CUSTOM else ""
            operator_names.append(custom or builtins.get(code, f"OPERATOR_{code}"))
        self.buffers = [self.buffer(entry) for entry in self.tables(root, "Buffers")]
        subgraphs = tuple(self.subgraph(entry, operator_names) for entry in self.tables(root, "Subgraphs"))
        if not subgraphs:
            raise _Unusable("no graph in it")
        return ModelFile(root.Version(), self.content, subgraphs)

    def subgraph(self, entry: Any, operator_names: list[str]) -> Subgraph:
        tensors = tuple(self.tensor(tensor) for tensor in self.tables(entry, "Tensors"))

        def indices(table: Any, name: str, lowest: int = 0) -> tuple[int, ...]:
            found = self.numbers(table, name)
            if found and not lowest <= min(found) <= max(found) < len(tensors):
                raise _Unusable(f"a reference to tensor {min(found)} or {max(found)} of {len(tensors)}")
            return found

        operators = tuple(
            Operator(
                operator_names[operator.OpcodeIndex()],
                indices(operator, "Inputs", lowest=-1),
                indices(operator, "Outputs"),
            )
            for operator in self.tables(entry, "Operators")
        )
        return Subgraph(tensors, indices(entry, "Inputs"), indices(entry, "Outputs"), operators)

    def tensor(self, entry: Any) -> Tensor:
        quantization = entry.Quantization()
        shape = self.numbers(entry, "Shape")
        data = self.buffers[entry.Buffer()]
        tensor = Tensor(
            name=self.text(entry.Name()),
            dtype=self.dtypes.get(entry.Type(), ""),
            shape=shape,
            shape_signature=self.numbers(entry, "ShapeSignature") or shape,
            buffer=entry.Buffer(),
            data=None if entry.IsVariable() else data,
            scale=self.numbers(quantization, "Scale"),
            zero_point=self.numbers(quantization, "ZeroPoint"),
            quantized_dimension=quantization.QuantizedDimension() if quantization else 0,
            # Blockwise quantization keeps its scales in another tensor.
            quantized=bool(quantization and (quantization.ScaleLength() or quantization.DetailsType())),
            is_variable=entry.IsVariable(),
            is_sparse=entry.Sparsity() is not None,
        )
        if entry.ExternalBuffer():
            raise _Unusable(f"tensor {tensor.name!r} lies in another file")
        _refuse_inconsistent(tensor)
        return tensor

    def buffer(self, entry: Any) -> np.ndarray | None:
        """Return a view of the buffer's bytes, uint8 [bytes], or None when it has none."""
        import numpy as np

        if entry.Offset() > 1:  # files that grow beyond 2 GB keep the data behind the flatbuffer
            data = np.frombuffer(self.content, np.uint8, entry.Size(), entry.Offset())
        else:
            data = entry.DataAsNumpy()
        if isinstance(data, int) or data.size == 0:
            return None
        self.spend(data.size)
        return data

    def tables(self, table: Any, name: str) -> list[Any]:
        """Return a vector of tables. Each takes at least 8 bytes: its offset and its vtable's."""
        count = getattr(table, f"{name}Length")()
        self.spend(8 * count)
        get = getattr(table, name)
        return [get(index) for index in range(count)]

    def numbers(self, table: Any, name: str) -> tuple:
        """Return a vector of numbers, empty when the table or the vector is not there."""
        array = getattr(table, f"{name}AsNumpy")() if table else 0
        if isinstance(array, int):  # the generated code's answer for "not there"
            return ()
        self.spend(array.nbytes)
        return tuple(array.tolist())

    def text(self, raw: bytes | None) -> str:
        raw = raw or b""
        self.spend(len(raw))
        if len(raw) > NAME_MAX:
            raise _Unusable(f"a name of {len(raw)} bytes")
        return raw.decode("utf-8", "replace")

    def spend(self, count: int) -> None:
        self.allowance -= count
        if self.allowance < 0:
            raise _Unusable("its vectors hold more than the whole file")


def _refuse_inconsistent(tensor: Tensor) -> None:
    """Raise _Unusable when dtype, shape, zero points and stored bytes do not fit each other."""
    shape, points, axis = tensor.shape, tensor.zero_point, tensor.quantized_dimension
    if not tensor.dtype:
        raise _Unusable(f"tensor {tensor.name!r} has an unknown dtype")
    if len(shape) > RANK_MAX or min(shape, default=0) < 0 or tensor.elements > ELEMENTS_MAX:
        raise _Unusable(f"tensor {tensor.name!r} has the impossible shape {list(shape[:RANK_MAX])}")
    if len(points) > 1 and shape[max(axis, 0) :][:1] != (len(points),):
        raise _Unusable(f"tensor {tensor.name!r} of shape {list(shape)} has {len(points)} zero points")
    if tensor.data is None or not tensor.element_bits:
        return
    stored, dense = tensor.data.size, tensor.size_bytes
    whole = stored * 8 % tensor.element_bits == 0
    if stored > dense or not whole or (stored < dense and not tensor.is_sparse):
        raise _Unusable(f"tensor {tensor.name!r} of shape {list(shape)} has {stored} bytes, not {dense}")
