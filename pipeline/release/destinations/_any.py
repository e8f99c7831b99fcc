"""Any file system that fsspec knows as a store, by its common interface alone.

That interface has no conditional write: a claim and an index are looked at and then written, and two publishers
at the very same moment may overwrite each other there. S3, Google's storage and folders have their own modules.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.release.destination import CHUNK_BYTES, Patience
from pipeline.release.destinations._objects import ABSENT, WINDOW_BYTES, Found, too_long
from pipeline.release.destinations._patience import Trouble, of_network, of_status, patiently
from pipeline.watch import Watch

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class AnyObjects:
    """The `Objects` of an fsspec file system, below `root`."""

    system: Any  # fsspec.AbstractFileSystem
    root: str
    shown: str
    patience: Patience

    def read(self, path: str, limit: int) -> Found | None:
        try:
            size = self._size(path)
            if size > limit:
                raise too_long(f"{self.shown}/{path}", limit)
            content = self._range(path, 0, size)
        except FileNotFoundError:
            return None
        return Found(content, hashlib.sha256(content).hexdigest())

    def stream(self, path: str, offset: int = 0) -> Iterator[bytes]:
        size = self._size(path)
        while offset < size:
            end = min(offset + WINDOW_BYTES, size)
            yield from parts(self._range(path, offset, end))
            offset = end

    def sizes(self, folder: str) -> dict[str, int]:
        def find() -> dict[str, Any]:
            self.system.invalidate_cache()
            return self.system.find(self._path(folder), detail=True)

        try:
            found = self._patiently(find)
        except FileNotFoundError:
            return {}
        start = len(self._path(folder).rstrip("/")) + 1
        return {name[start:]: int(facts["size"] or 0) for name, facts in found.items()}

    def write(self, path: str, content: bytes, expected: str | None = None) -> bool:
        if expected is not None:
            found = self.read(path, max(len(content) * 2, 4_000_000))
            if (found.tag if found else ABSENT) != expected:
                return False
        self._patiently(lambda: self._make_folder(path))
        self._patiently(lambda: self.system.pipe_file(self._path(path), content))
        return True

    def put(self, path: str, source: Path) -> None:
        self._patiently(lambda: self._make_folder(path))
        self._patiently(lambda: self.system.put_file(str(source), self._path(path)))

    def publishing(self, folder: str, watch: Watch) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def _size(self, path: str) -> int:
        def info() -> dict[str, Any]:
            self.system.invalidate_cache()
            return self.system.info(self._path(path))

        facts = self._patiently(info)
        if facts.get("type") == "directory":
            raise FileNotFoundError(path)
        return int(facts["size"])

    def _range(self, path: str, start: int, end: int) -> bytes:
        if start == end:
            return b""

        def get() -> bytes:
            content = self.system.cat_file(self._path(path), start=start, end=end)
            if len(content) != end - start:
                raise ConnectionError("a body that was cut")
            return content

        return self._patiently(get)

    def _make_folder(self, path: str) -> None:
        self.system.makedirs(self._path(path).rpartition("/")[0], exist_ok=True)

    def _path(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        return patiently(call, _trouble, self.shown, self.patience)


def parts(content: bytes) -> Iterator[bytes]:
    """Yield what was read in parts of at most CHUNK_BYTES."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


def _trouble(error: Exception) -> Trouble | None:
    if isinstance(error, FileNotFoundError):
        return None
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int) and 400 <= status < 600:
        return of_status(status)
    if isinstance(error, PermissionError):
        return Trouble("no permission", refused=True)
    if found := of_network(error):
        return found
    if isinstance(error, (NotImplementedError, ValueError)):
        return Trouble(f"it cannot do this ({type(error).__name__})", refused=True)
    return Trouble(f"an error ({type(error).__name__})") if isinstance(error, OSError) else None
