"""Releases in a folder of this machine: writes are whole, and one publisher at a time is in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import ReleaseRefused
from pipeline.release.destination import CHUNK_BYTES, Patience
from pipeline.release.destinations._objects import ABSENT, Found, too_long
from pipeline.watch import Watch

LOCK = ".releases.lock"  # a lock of the operating system: it ends with its process
PART = ".part-"  # what a publisher that was killed leaves: nobody reads it, and the next one removes it


@dataclass(frozen=True)
class FolderObjects:
    """A folder as a store of named bytes; see `_objects.py`."""

    base: Path
    patience: Patience

    @property
    def shown(self) -> str:
        return str(self.base)

    def read(self, path: str, limit: int) -> Found | None:
        try:
            with self._place(path).open("rb") as stream:
                content = stream.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(content) > limit:
            raise too_long(f"{self.shown}/{path}", limit)
        return Found(content, hashlib.sha256(content).hexdigest())

    def stream(self, path: str, offset: int = 0) -> Iterator[bytes]:
        with self._place(path).open("rb") as stream:
            stream.seek(offset)
            while content := stream.read(CHUNK_BYTES):
                yield content

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            paths = list(self._place(folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {path.name: path.lstat().st_size for path in paths if not path.name.startswith(PART)}

    def write(self, path: str, content: bytes, expected: str | None = None) -> bool:
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = self._part(place)
        try:
            with part.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if expected == ABSENT:
                try:
                    os.link(part, place)  # fails where the name is taken, which a rename does not
                except FileExistsError:
                    return False
                part.unlink()
            else:  # with the lock held nobody else writes between the look and the rename
                found = self.read(path, 1 << 30)
                if expected is not None and (found.tag if found else ABSENT) != expected:
                    return False
                part.replace(place)
        finally:
            part.unlink(missing_ok=True)
        _sync(place.parent)
        return True

    def put(self, path: str, source: Path) -> None:
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = self._part(place)
        try:
            with source.open("rb") as reading, part.open("xb") as writing:
                shutil.copyfileobj(reading, writing, CHUNK_BYTES)
                writing.flush()
                os.fsync(writing.fileno())
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
        _sync(place.parent)

    @contextmanager
    def publishing(self, folder: str, watch: Watch) -> Iterator[None]:
        self.base.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.base / LOCK)
        try:
            lock.acquire(timeout=0.1)
        except Timeout:
            watch.note(f"another process publishes to {self.shown}: waiting")
            lock.acquire()
        try:
            for left in (*self.base.glob(f"{PART}*"), *self._place(folder).glob(f"{PART}*")):
                with contextlib.suppress(OSError):
                    left.unlink()
            yield
        finally:
            lock.release()

    def _place(self, path: str) -> Path:
        """Return where a name lies. Raises ReleaseRefused where a link would lead elsewhere."""
        place = self.base
        for part in Path(path).parts:
            place /= part
            if part == ".." or place.is_symlink():
                raise ReleaseRefused(
                    f"{place} is a symbolic link",
                    received="a link",
                    expected="plain files and folders: a release is read from its own place alone",
                    fix="remove the link, and publish the release again",
                )
        return place

    def _part(self, place: Path) -> Path:
        return place.with_name(f"{PART}{secrets.token_hex(8)}")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
