"""The content-addressed store: each stage's output once, by key, verified on every read.

    store/entries/<key>/…             the stage's files and `record.json`, read-only
    store/working/<key>-<random>/     an output that is being made
    store/damaged/<key>-<random>/     entries that failed verification, kept for a look
    store/locks/<key>.lock            held by the process that makes the key
    store/pins/<random>.json          keys that a running build uses; a held lock says it runs

`record.json` holds the key's whole record, the SHA-256 of each file, the step's facts, the
seconds that it took and when. Nothing else is the truth: all but `entries` can be deleted.
Locks are the operating system's, so they end with the process that holds them.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import StepFailed
from pipeline.files import sha256_of, sync_folder

RECORD = "record.json"


@dataclass(frozen=True)
class Entry:
    """One verified output: its folder (read-only: copy out of it) and what is known of it."""

    key: str
    folder: Path
    record: dict[str, Any]
    facts: dict[str, Any]
    files: dict[str, str]
    seconds: float
    made_at: str

    @property
    def size_bytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.files)


@dataclass(frozen=True)
class Damage:
    """An entry that cannot be trusted, and why."""

    key: str
    reason: str


def canonical_json(value: object) -> str:
    """Return one text for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(record: dict[str, Any]) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of a record's canonical JSON."""
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()


class Store:
    """The folder `artifacts/store`. Safe for several processes at once."""

    def __init__(self, root: Path, on_damage: Callable[[Damage], None] = lambda damage: None):
        self.root = root
        self.on_damage = on_damage
        self._history: list[dict[str, Any]] | None = None

    def get(self, key: str) -> Entry | None:
        """Return the verified entry, or None. A damaged one is moved aside and reported."""
        try:
            return self._read(key)
        except _Damaged as error:
            self._set_aside(key)
            self.on_damage(Damage(key, str(error)))
            return None

    def _read(self, key: str) -> Entry | None:
        """Return the verified entry, None where there is none. Raises _Damaged."""
        folder = self._entry(key)
        for last in (False, True):
            try:
                return _read(key, folder)
            except _Damaged:
                # Another process may have replaced or removed it while it was read: look twice.
                if not folder.is_dir():
                    return None
                if last:
                    raise
        return None

    def peek(self, key: str) -> dict[str, Any] | None:
        """Return the stored document of an entry without verifying its files; None where it is damaged or missing."""
        try:
            return _document(self._entry(key))
        except _Damaged:
            return None

    def history(self) -> list[dict[str, Any]]:
        """Return the documents of all entries, oldest first, as they were when this was first asked."""
        if self._history is None:
            documents = filter(None, map(self.peek, self.entries()))
            self._history = sorted(documents, key=lambda document: document["made_at"])
        return self._history

    @contextmanager
    def making(self, key: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the key's lock; `waiting` is called once if another process makes it now."""
        path = self.root / "locks" / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def working_folder(self, key: str) -> Iterator[Path]:
        """Give an empty folder on the store's file system, removed at the end if still there."""
        folder = self.root / "working" / f"{key}-{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, key: str, record: dict[str, Any], folder: Path, facts: dict[str, Any], seconds: float) -> Entry:
        """Move a finished working folder into the store: hash, fsync, rename, fsync.

        An older entry under the same key is replaced. Raises OSError when the disk is full and
        StepFailed for folders and links; the store is then as it was.
        """
        paths = sorted(folder.iterdir())
        unfit = [path.name for path in paths if path.is_symlink() or not path.is_file() or path.name == RECORD]
        if unfit:
            raise StepFailed(
                "the step wrote what the store cannot keep",
                received=", ".join(unfit),
                expected=f"regular files in its folder, none of them named {RECORD}",
                fix="write plain files into `out`, without folders and links",
            )
        files = {path.name: _hash_and_sync(path) for path in paths}
        document: dict[str, Any] = {
            "record": record,
            "files": files,
            "facts": facts,
            "seconds": round(seconds, 3),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        path = folder / RECORD
        path.write_text(json.dumps({**document, "checksum": key_of(document)}, indent=1), encoding="utf-8")
        _hash_and_sync(path)
        sync_folder(folder)
        for name in (*files, RECORD):
            (folder / name).chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
        target = self._entry(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        older = self._set_aside(key) if target.exists() else None
        try:
            folder.rename(target)
        except OSError:
            if older:
                os.rename(older, target)
            raise
        if older:
            shutil.rmtree(older, ignore_errors=True)
        sync_folder(target.parent)
        return Entry(key, target, record, facts, files, document["seconds"], document["made_at"])

    def entries(self) -> list[str]:
        """Return the keys of all entries, damaged ones included."""
        folder = self.root / "entries"
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def verify(self) -> list[Damage]:
        """Read and hash everything; list every bad entry, and leave all where they are."""
        found = []
        for key in self.entries():
            try:
                self._read(key)
            except _Damaged as error:
                found.append(Damage(key, str(error)))
        return found

    @contextmanager
    def pinned(self, keys: Iterable[str]) -> Iterator[None]:
        """Keep `gc` in every process away from these keys while the context lasts."""
        folder = self.root / "pins"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{secrets.token_hex(8)}.json"
        lock = FileLock(path.with_suffix(".lock"))
        with self._collecting():
            lock.acquire()
            path.write_text(json.dumps(sorted(keys)), encoding="utf-8")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            lock.release()
            path.with_suffix(".lock").unlink(missing_ok=True)

    def gc(self, keep: Iterable[str]) -> tuple[list[str], int]:
        """Remove entries that are neither in `keep` nor pinned, and leftovers of dead processes.

        Returns the removed keys and the bytes freed.
        """
        with self._collecting():
            kept = set(keep) | self._pinned_keys()
            removed, freed = [], 0
            for key in self.entries():
                if key not in kept:
                    freed += _remove(self._entry(key))
                    removed.append(key)
            for path in (self.root / "damaged").glob("*"):
                freed += _remove(path)
            for path in (self.root / "working").glob("*"):
                lock = FileLock(self.root / "locks" / f"{path.name.rsplit('-', 1)[0]}.lock")
                if _free(lock):
                    freed += _remove(path)
        return removed, freed

    def in_use(self) -> bool:
        """True while a build runs that pinned its keys."""
        with self._collecting():
            return bool(self._pinned_keys())

    def _pinned_keys(self) -> set[str]:
        pinned: set[str] = set()
        for path in (self.root / "pins").glob("*.json"):
            if _free(FileLock(path.with_suffix(".lock"))):
                path.unlink(missing_ok=True)  # its build died
                path.with_suffix(".lock").unlink(missing_ok=True)
                continue
            try:
                pinned.update(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                continue
        return pinned

    def _collecting(self) -> FileLock:
        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / "gc.lock")

    def _entry(self, key: str) -> Path:
        return self.root / "entries" / key

    def _set_aside(self, key: str) -> Path:
        target = self.root / "damaged" / f"{key}-{secrets.token_hex(4)}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another process was quicker
            self._entry(key).rename(target)
        return target


class _Damaged(Exception):
    pass


def _document(folder: Path) -> dict[str, Any]:
    """Return what the record file holds, once it agrees with its own checksum."""
    try:
        document = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        checksum = document.pop("checksum")
        received = key_of(document)  # a ValueError where JSON can hold what a record cannot, such as NaN
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Damaged(f"{RECORD} cannot be read: {error}") from error
    if checksum != received:
        raise _Damaged(f"{RECORD} was altered")
    return document


def _read(key: str, folder: Path) -> Entry:
    try:
        entry = Entry(key, folder, **_document(folder))
    except TypeError as error:
        raise _Damaged(f"{RECORD} cannot be read: {error}") from error
    if key_of(entry.record) != key:
        raise _Damaged(f"{RECORD} belongs to another key")
    try:
        present = {path.name for path in folder.iterdir()} - {RECORD}
    except OSError as error:
        raise _Damaged(f"the folder cannot be read: {error}") from error
    if present != set(entry.files):
        raise _Damaged(f"files differ: {', '.join(sorted(present ^ set(entry.files)))}")
    for name, expected in entry.files.items():
        try:
            received = sha256_of(folder / name)
        except OSError as error:
            raise _Damaged(f"{name} cannot be read: {error}") from error
        if received != expected:
            raise _Damaged(f"{name} was altered: SHA-256 {received[:12]}…, expected {expected[:12]}…")
    return entry


def _hash_and_sync(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
    return digest


def _free(lock: FileLock) -> bool:
    """True when no process holds the lock."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def _remove(path: Path) -> int:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    shutil.rmtree(path, ignore_errors=True)
    return size
