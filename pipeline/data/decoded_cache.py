"""Decoded pictures on disk, by content hash: one folder for each way of decoding, rows appended and never moved.

    artifacts/store/decoded/<key>/rows.bin    pixels, thumbnail, CRC-32 of hash and both, of each whole picture
    artifacts/store/decoded/<key>/index.bin   one ENTRY a row; written after its rows are on the disk
    artifacts/store/decoded/<key>/broken.json {SHA-256: why it is no picture}
    artifacts/store/decoded/<key>.lock        held by the process that appends

Rows are read one by one and never mapped, so that resident memory does not grow with the number of pictures. All
of it can be deleted: it is made anew from the files.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.data.near_duplicates import THUMBNAIL
from pipeline.files import write_whole

if TYPE_CHECKING:
    import numpy as np

THUMBNAIL_BYTES = THUMBNAIL**2
ENTRY = [
    ("sha256", "V32"),
    ("width", "<u4"),
    ("height", "<u4"),
    ("hash", "<u8"),
    ("sum", "<f8", 3),
    ("squares", "<f8", 3),
    ("crc", "<u4"),
]


class Decoded(NamedTuple):
    """One picture decoded, or why it could not be."""

    sha256: str
    width: int = 0  # of the file, turned upright, in pixels
    height: int = 0
    hash: int = 0
    pixels: bytes = b""
    thumbnail: bytes = b""
    broken: str = ""


class Damaged(Exception):
    """The cache does not hold what was written into it."""


class DecodedCache:
    """The rows of one way of decoding. shape: [height, width, channels] of uint8."""

    def __init__(self, folder: Path, shape: tuple[int, int, int]):
        import numpy as np

        self.folder, self.shape = folder, shape
        self.pixel_bytes = int(np.prod(shape))
        self.row_bytes = self.pixel_bytes + THUMBNAIL_BYTES + 4
        self.index = self._read_index()
        self.broken: dict[str, str] = self._read_broken()
        self._rows: int | None = None

    def __del__(self) -> None:
        if getattr(self, "_rows", None) is not None:
            os.close(self._rows)  # type: ignore[arg-type]

    def places(self) -> dict[bytes, int]:
        """Return {SHA-256, 32 bytes: number of its row}."""
        return {bytes(sha): row for row, sha in enumerate(self.index["sha256"])}

    def read(self, rows: Iterable[int]) -> np.ndarray:
        """Return uint8 [n, row_bytes - 4], pixels and thumbnail of these rows. Raises Damaged."""
        import numpy as np

        wanted = list(rows)
        result = np.empty((len(wanted), self.row_bytes - 4), np.uint8)
        if wanted and self._rows is None:
            try:
                self._rows = os.open(self.folder / "rows.bin", os.O_RDONLY)
            except OSError as error:
                raise Damaged(str(error)) from error
        for place, row in enumerate(wanted):
            content = os.pread(self._rows, self.row_bytes, row * self.row_bytes)  # type: ignore[arg-type]
            expected = zlib.crc32(content[:-4], zlib.crc32(bytes(self.index["sha256"][row])))
            if len(content) != self.row_bytes or expected.to_bytes(4, "little") != content[-4:]:
                raise Damaged(f"row {row} of {self.folder / 'rows.bin'}")
            result[place] = np.frombuffer(content, np.uint8, self.row_bytes - 4)
        return result

    def pixels(self, rows: Iterable[int]) -> np.ndarray:
        """Return uint8 [n, height, width, channels]. Raises Damaged."""
        return self.read(rows)[:, : self.pixel_bytes].reshape(-1, *self.shape)

    def thumbnails(self, rows: Iterable[int]) -> np.ndarray:
        """Return uint8 [n, 256]. Raises Damaged."""
        return self.read(rows)[:, self.pixel_bytes :]

    def append(self, decoded: Iterator[Decoded]) -> None:
        """Add pictures, those that are broken by name alone; the caller holds the lock."""
        import numpy as np

        self.folder.mkdir(parents=True, exist_ok=True)
        entries = []
        with (self.folder / "rows.bin").open("ab") as rows:
            rows.truncate(len(self.index) * self.row_bytes)  # what a killed process appended without an entry
            rows.seek(0, os.SEEK_END)
            for picture in decoded:
                if picture.broken:
                    self.broken[picture.sha256] = picture.broken
                    continue
                sha = bytes.fromhex(picture.sha256)
                content = picture.pixels + picture.thumbnail
                rows.write(content + zlib.crc32(content, zlib.crc32(sha)).to_bytes(4, "little"))
                values = np.frombuffer(picture.pixels, np.uint8).reshape(-1, self.shape[2]) / 255
                sums, squares = np.zeros(3), np.zeros(3)
                sums[: self.shape[2]], squares[: self.shape[2]] = values.mean(axis=0), (values**2).mean(axis=0)
                entry = np.array([(sha, picture.width, picture.height, picture.hash, sums, squares, 0)], ENTRY)
                entry["crc"] = zlib.crc32(entry.tobytes()[:-4])
                entries.append(entry)
            rows.flush()
            os.fsync(rows.fileno())
        with (self.folder / "index.bin").open("ab") as index:
            index.truncate(len(self.index) * np.dtype(ENTRY).itemsize)
            index.seek(0, os.SEEK_END)
            index.write(b"".join(entry.tobytes() for entry in entries))
            index.flush()
            os.fsync(index.fileno())
        write_whole(self.folder / "broken.json", json.dumps(self.broken, sort_keys=True))
        self.index = self._read_index()

    @staticmethod
    def remove_at(folder: Path) -> None:
        """Drop the cache in `folder`; the caller holds the lock."""
        shutil.rmtree(folder, ignore_errors=True)

    def _read_index(self) -> Any:
        import numpy as np

        try:
            content = (self.folder / "index.bin").read_bytes()
            rows = (self.folder / "rows.bin").stat().st_size // self.row_bytes
        except FileNotFoundError:
            return np.zeros(0, ENTRY)
        size = np.dtype(ENTRY).itemsize
        count = len(content) // size
        index = np.frombuffer(content, ENTRY, count)
        sound = (zlib.crc32(content[i * size : (i + 1) * size - 4]) == int(index["crc"][i]) for i in range(count))
        if count > rows or not all(sound):
            raise Damaged(f"{self.folder / 'index.bin'}")
        return index

    def _read_broken(self) -> dict[str, str]:
        try:
            known = json.loads((self.folder / "broken.json").read_text(encoding="utf-8"))
            return {str(sha): str(reason) for sha, reason in known.items()}
        except (OSError, ValueError, AttributeError):
            return {}


class CachedSamples:
    """Raw samples, uint8 [n, height, width, channels], read from the cache as they are asked for.

    opened: returns a sound cache; it is asked again, after `damaged`, when a row turns out damaged.
    """

    def __init__(self, shas: list[bytes], opened: Callable[[bool], DecodedCache]):
        import numpy as np

        self._shas, self._opened = shas, opened
        self._find(opened(False))
        self.shape = (len(shas), *self._cache.shape)
        self.dtype = np.dtype(np.uint8)
        self.ndim = 4

    def _find(self, cache: DecodedCache) -> None:
        import numpy as np

        places = cache.places()
        self._cache, self._places = cache, np.array([places[sha] for sha in self._shas], np.int64)

    def __len__(self) -> int:
        return len(self._shas)

    def __getitem__(self, index: Any) -> np.ndarray:
        import numpy as np

        single = np.ndim(index) == 0 and not isinstance(index, slice)
        chosen = self._numbers(np.asarray([index]) if single else index)
        try:
            pixels = self._cache.pixels(self._places[chosen])
        except Damaged:
            self._find(self._opened(True))
            pixels = self._cache.pixels(self._places[chosen])
        return pixels[0] if single else pixels

    def _numbers(self, index: Any) -> Any:
        import numpy as np

        return np.arange(len(self))[index]
