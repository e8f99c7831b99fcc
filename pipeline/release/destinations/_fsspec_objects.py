"""Releases in whatever fsspec opens: s3fs and gcsfs with their stores' conditional writes, others without."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.release.destination import CHUNK_BYTES, Patience
from pipeline.release.destinations._objects import ABSENT, WINDOW_BYTES, Found, too_long
from pipeline.release.destinations._patience import Trouble, of_network, of_status, patiently
from pipeline.watch import Watch

PART_BYTES = 8 << 20  # of an upload in parts, one after the other: what is in memory at a time


@dataclass(frozen=True)
class FsspecObjects:
    """A place of an fsspec file system as a store of named bytes; see `_objects.py`."""

    files: Any  # fsspec.AbstractFileSystem
    base: str  # the place's path in that file system
    shown: str
    patience: Patience

    def read(self, path: str, limit: int) -> Found | None:
        def reading() -> Found | None:
            try:
                return self._found(path, limit)
            except FileNotFoundError:
                self._bucket_exists()
                return None

        found = self._asked(reading, path)
        if found is not None and len(found.content) > limit:
            raise too_long(f"{self.shown}/{path}", limit)
        return found

    def stream(self, path: str, offset: int = 0) -> Iterator[bytes]:
        while True:
            start = offset
            window = self._asked(lambda start=start: self._window(path, start, start + WINDOW_BYTES), path)
            for first in range(0, len(window), CHUNK_BYTES):
                yield window[first : first + CHUNK_BYTES]
            offset += len(window)
            if len(window) < WINDOW_BYTES:
                return

    def sizes(self, folder: str) -> dict[str, int]:
        def listing() -> dict[str, int]:
            self.files.invalidate_cache()
            prefix = f"{self._path(folder)}/"
            try:
                found = self.files.find(prefix, detail=True)
            except FileNotFoundError:
                return {}
            names = {str(path).lstrip("/"): detail["size"] for path, detail in found.items()}
            return {name.removeprefix(prefix.lstrip("/")): int(size) for name, size in names.items()}

        return self._asked(listing, folder)

    def write(self, path: str, content: bytes, expected: str | None = None) -> bool:
        return self._asked(lambda: self._written(path, content, expected), path)

    def put(self, path: str, source: Path) -> None:
        self._asked(lambda: self._put(path, source), path)

    @contextmanager
    def publishing(self, folder: str, watch: Watch) -> Iterator[None]:
        yield  # there is no lock: the claim and the index's conditional write are what keeps publishers apart

    def _path(self, path: str) -> str:
        return f"{self.base}/{path}" if self.base else path

    def _asked(self, call: Any, path: str) -> Any:
        return patiently(call, self._judged, f"{self.shown}/{path}", self.patience)

    def _judged(self, error: Exception) -> Trouble | None:
        """Return what an error of the file system means; None for one that is passed on."""
        if isinstance(error, PermissionError):
            return of_status(403)
        if isinstance(error, FileNotFoundError):
            return None
        return of_network(error) or (Trouble(type(error).__name__) if isinstance(error, OSError) else None)

    def _found(self, path: str, limit: int) -> Found:
        content = self._window(path, 0, limit + 1)
        return Found(content, hashlib.sha256(content).hexdigest())

    def _window(self, path: str, start: int, end: int) -> bytes:
        size = self.files.info(self._path(path))["size"]
        return self.files.cat_file(self._path(path), start=start, end=min(end, size)) if start < size else b""

    def _written(self, path: str, content: bytes, expected: str | None) -> bool:
        """Write; between the look and the write another may write, where the store has nothing against it."""
        if expected is not None:
            try:
                tag = self._found(path, 1 << 30).tag
            except FileNotFoundError:
                tag = ABSENT
            if tag != expected:
                return False
        self._make_folder(path)
        self.files.pipe_file(self._path(path), content)
        return True

    def _put(self, path: str, source: Path) -> None:
        self._make_folder(path)
        self.files.put_file(str(source), self._path(path))

    def _make_folder(self, path: str) -> None:
        with contextlib.suppress(NotImplementedError):
            self.files.makedirs(self._path(path).rpartition("/")[0], exist_ok=True)

    def _bucket_exists(self) -> None:
        """Raise the store's error where not even the place is there, which reading alone does not tell."""
