"""WAV files: PCM of 8, 16, 24 and 32 bits and floats of 32 and 64, any number of channels, read strictly.

RIFF WAVE as in Microsoft and IBM, Multimedia Programming Interface and Data Specifications 1.0 (1991), with
WAVE_FORMAT_EXTENSIBLE. The standard library's `wave` reads no floats.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_INTEGERS = {8: "u1", 16: "<i2", 24: "3u1", 32: "<i4"}  # by bits
_FLOATS = {32: "<f4", 64: "<f8"}


class BrokenWav(ValueError):
    """Bytes that are no WAV file that can be read; the text says why."""


@dataclass(frozen=True)
class WavHeader:
    """What a WAV file says of itself, and where its values lie in it."""

    rate: int  # samples a second
    channels: int
    kind: str  # numpy's name of the type of one value; 3u1 for 24 bits
    start: int  # bytes
    size: int  # bytes
    frames: int  # samples of each channel


def wav_header(content: bytes) -> WavHeader:
    """Read the header of a whole file. Raises BrokenWav."""
    if len(content) < 12 or content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise BrokenWav("an empty file" if not content else "not a WAV file")
    form: bytes | None = None
    place = 12
    while place + 8 <= len(content):
        name, size = content[place : place + 4], struct.unpack_from("<I", content, place + 4)[0]
        place += 8
        if name == b"fmt ":
            form = content[place : place + size]
        if name == b"data":
            return _with_format(form, place, size, len(content))
        place += size + size % 2  # chunks begin at even places
    raise BrokenWav("no sound in it: the data chunk is missing")


def wav_samples(content: bytes, header: WavHeader) -> np.ndarray:
    """Return float32 [frames], the mean of all channels; PCM is -1 to below 1. Raises BrokenWav for NaN."""
    import numpy as np

    width = np.dtype(header.kind).itemsize
    raw = np.frombuffer(content, header.kind, count=header.frames * header.channels, offset=header.start)
    if width == 3:
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 1:] = raw
        values = wide.view("<i4")[:, 0] / 2.0**31
    elif header.kind == "u1":
        values = (raw.astype(np.float64) - 128) / 128
    elif raw.dtype.kind == "i":
        values = raw / 2.0 ** (8 * width - 1)
    else:
        values = raw.astype(np.float64)
        if not np.isfinite(values).all():
            raise BrokenWav("values that are no finite numbers")
    return values.reshape(header.frames, header.channels).mean(axis=1).astype(np.float32)


def _with_format(form: bytes | None, start: int, size: int, length: int) -> WavHeader:
    import numpy as np

    if form is None or len(form) < 16:
        raise BrokenWav("no format in it: the fmt chunk is missing or too short")
    code, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", form)
    if code == _EXTENSIBLE and len(form) >= 26:
        code = struct.unpack_from("<H", form, 24)[0]
    kind = {_PCM: _INTEGERS, _FLOAT: _FLOATS}.get(code, {}).get(bits)
    if kind is None:
        raise BrokenWav(f"format {code} of {bits} bits; readable are PCM of 8, 16, 24, 32 bits and floats of 32, 64")
    width = np.dtype(kind).itemsize * channels
    if not channels or not rate or block != width:
        raise BrokenWav(f"{channels} channels, rate {rate}, {block} bytes a sample: not a format")
    if start + size > length:
        raise BrokenWav(f"cut off: {length - start} of {size} bytes of sound")
    if size < width:
        raise BrokenWav("no sound in it: 0 samples")
    return WavHeader(rate, channels, kind, start, size, size // width)
