"""The IDX format of the MNIST files: two zero bytes, a code for the type, the rank, the sizes, the values.

Sizes are big-endian unsigned 32-bit integers and values are big-endian (LeCun, Cortes, Burges: The MNIST database of
handwritten digits, "The IDX file format").
"""

from __future__ import annotations

import math
import struct
from typing import IO, TYPE_CHECKING

from pipeline.errors import DataError

if TYPE_CHECKING:
    import numpy as np

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_RANK_MAX = 8
_CHUNK = 16 * 2**20  # bytes read at once: a header may claim more than there is


def idx_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Read the header alone: (sizes, dtype as the values lie there). Raises DataError when it is none."""
    import numpy as np

    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _DTYPES or not 1 <= start[3] <= _RANK_MAX:
        raise DataError(
            f"{name} is not an IDX file",
            received=f"first bytes {start.hex(' ')!r}" if start else "an empty file",
            expected=f"00 00, a type ({', '.join(f'{code:02x}' for code in _DTYPES)}) and a rank of 1 to {_RANK_MAX}",
            fix="write the file anew",
        )
    sizes = stream.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise _other_length(name, f"{len(sizes)} bytes of sizes", f"{4 * start[3]} bytes of sizes")
    return struct.unpack(f">{start[3]}I", sizes), np.dtype(_DTYPES[start[2]])


def read_idx(stream: IO[bytes], name: str) -> np.ndarray:
    """Read the array of an IDX file, of the sizes that its header says, in the machine's byte order.

    Raises DataError when the file is none, is cut off, or goes on behind its values. `name` is for messages.
    """
    import numpy as np

    shape, dtype = idx_header(stream, name)
    expected = math.prod(shape) * dtype.itemsize
    values = bytearray()
    while len(values) <= expected and (chunk := stream.read(min(_CHUNK, expected + 1 - len(values)))):
        values += chunk
    if len(values) != expected:
        received = "more bytes" if len(values) > expected else f"{len(values)} bytes"
        raise _other_length(name, f"{received} of values", f"{expected} bytes of values for {list(shape)} of {dtype}")
    array = np.frombuffer(values, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _other_length(name: str, received: str, expected: str) -> DataError:
    return DataError(
        f"{name} is cut off or damaged", received=received, expected=expected, fix="copy or write the file anew"
    )
