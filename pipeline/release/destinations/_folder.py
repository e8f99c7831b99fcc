"""A folder of this machine as a store: whole files by rename, one publisher at a time by a lock.

Symbolic links below the folder are followed nowhere, neither for reading nor for writing: every part of a path is
opened by itself, so that there is no moment between looking and opening.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import DestinationFailed, DiskFull, ReleaseRefused, SystemRefused, is_disk_full
from pipeline.release.destination import CHUNK_BYTES, Patience
from pipeline.release.destinations._objects import ABSENT, Found, too_long
from pipeline.watch import Watch

WORKING = ".publishing"  # holds the lock and files that are being written; removed from there by the next publisher
LOCK = "lock"
QUIET_SECONDS = 0.5  # a shorter wait is not worth a line
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class FolderObjects:
    """The `Objects` of a folder."""

    base: Path
    patience: Patience

    @property
    def shown(self) -> str:
        return str(self.base)

    def read(self, path: str, limit: int) -> Found | None:
        try:
            with self._told(path), self._opened(path) as stream:
                content = stream.read(limit + 1)
        except FileNotFoundError:
            return None
        if len(content) > limit:
            raise too_long(f"{self.base}/{path}", limit)
        return Found(content, hashlib.sha256(content).hexdigest())

    def stream(self, path: str, offset: int = 0) -> Iterator[bytes]:
        with self._told(path), self._opened(path) as stream:
            stream.seek(offset)
            while part := stream.read(CHUNK_BYTES):
                yield part

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            with self._told(folder), self._folder(folder) as handle, os.scandir(handle) as entries:
                return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}
        except FileNotFoundError:
            return {}

    def write(self, path: str, content: bytes, expected: str | None = None) -> bool:
        """See `Objects`; with `expected`, within `publishing`, whose lock makes it one step."""
        if expected is not None:
            found = self.read(path, max(len(content) * 2, 4_000_000))
            if (found.tag if found else ABSENT) != expected:
                return False
        self._place(path, lambda stream: stream.write(content))
        return True

    def put(self, path: str, source: Path) -> None:
        def copy(stream: IO[bytes]) -> None:
            with source.open("rb") as original:
                while part := original.read(CHUNK_BYTES):
                    stream.write(part)

        self._place(path, copy)

    @contextlib.contextmanager
    def publishing(self, folder: str, watch: Watch) -> Iterator[None]:
        with self._told(WORKING):
            self.base.mkdir(parents=True, exist_ok=True)
            with self._folder(WORKING, create=True) as working:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                lock = os.open(LOCK, flags, 0o666, dir_fd=working)
                try:
                    self._lock(lock, watch)
                    for name in os.listdir(working):
                        if name != LOCK:  # of a publisher that was killed: there is no other than us now
                            os.unlink(name, dir_fd=working)
                    yield
                finally:
                    os.close(lock)

    def _lock(self, lock: int, watch: Watch) -> None:
        started, told = time.monotonic(), False
        limit = self.patience.seconds * self.patience.attempts
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                waited = time.monotonic() - started
            if waited > limit:
                raise DestinationFailed(
                    f"{self.base} is held by another publisher",
                    received=f"its lock on {WORKING}/{LOCK} for {limit:g} s",
                    expected="a publisher that ends",
                    fix="run the same command again when the other one has ended",
                )
            if waited > QUIET_SECONDS and not told:
                watch.note(f"waiting for another publisher to {self.base}")
                told = True
            time.sleep(POLL_SECONDS)

    def _place(self, path: str, fill: Callable[[IO[bytes]], object]) -> None:
        """Write a file beside and move it to its name when it is whole and on the disk."""
        folder, _, name = path.rpartition("/")
        temporary = f"{os.getpid()}-{secrets.token_hex(8)}"
        with self._told(path):
            self.base.mkdir(parents=True, exist_ok=True)
            with self._folder(WORKING, create=True) as working, self._folder(folder, create=True) as target:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                try:
                    with open(os.open(temporary, flags, 0o666, dir_fd=working), "wb") as stream:
                        fill(stream)
                        stream.flush()
                        os.fsync(stream.fileno())
                    os.replace(temporary, name, src_dir_fd=working, dst_dir_fd=target)
                    os.fsync(target)
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(temporary, dir_fd=working)

    @contextlib.contextmanager
    def _folder(self, folder: str, *, create: bool = False) -> Iterator[int]:
        """Open a folder below the base without following a link; the base itself may be one."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        handle = os.open(self.base, flags)
        try:
            for part in filter(None, folder.split("/")):
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=handle)
                inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[IO[bytes]]:
        folder, _, name = path.rpartition("/")
        # O_NONBLOCK: opening a named pipe does not wait for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._folder(folder) as handle, open(os.open(name, flags, dir_fd=handle), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise OSError(errno.ELOOP, "not a regular file", path)
            yield stream

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Turn the system's errors into those of the tree; a missing file stays what it is."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if is_disk_full(error):
                raise DiskFull.at(self.base / path) from error
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
                raise ReleaseRefused(
                    f"{self.base / path} is not a plain file in a plain folder",
                    received="a symbolic link, or something that is no file",
                    expected="the files of a release, none of them a link",
                    fix="remove it; links below a folder of releases are not followed",
                ) from error
            raise SystemRefused.of(OSError(error.errno, error.strerror, str(self.base / path))) from error
