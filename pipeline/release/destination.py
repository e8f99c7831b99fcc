"""The contract of a destination: a place that releases are published to and fetched from.

A destination is a module of `pipeline/release/destinations/`. It defines:

    SCHEMES: tuple[str, ...]    what its URLs begin with, such as ("s3", "gs")
    EXTRA: str                  the extra that brings its libraries; "" where none is needed
    open_destination(url, patience) -> Destination

A reader never sees half a release: `publish` writes files first and last, in one step, what readers find a
release by (an index entry, a tag, the end of a draft). Interrupted anywhere and run again, it ends complete.
A version is immutable: the same bytes (equal SHA256SUMS) are a success that writes nothing, other bytes are
refused with ReleaseRefused. What was written is read back and hashed before readers are told of it.

Errors: ReleaseRefused (exit 2) where the request is wrong: no such release, other bytes, bad credentials (401, 403);
DestinationFailed (exit 4) where the other side fails: 5xx after the last try, hangs, cut bodies, wrong hashes.
No message holds a secret: URLs are shown by `without_secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from pipeline.watch import Watch

CHUNK_BYTES = 1 << 20  # what is in memory at a time, whatever a file's size


@dataclass(frozen=True)
class Patience:
    """How long a destination is waited for."""

    seconds: float = 30.0  # for a connection, or for the next bytes of an answer
    attempts: int = 5  # of one request, where the other side says that another may help
    longest_wait: float = 30.0  # seconds between two attempts, whatever Retry-After says


class PublishedRelease(Protocol):
    """One version as it lies at a destination."""

    @property
    def version(self) -> str:
        """Which version it is asked for as."""

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file whole. Raises ReleaseRefused where it is missing or longer than `limit` bytes."""

    def stream(self, name: str, offset: int = 0) -> Iterator[bytes]:
        """Yield a file from byte `offset` on, in parts of at most CHUNK_BYTES."""

    def names(self) -> list[str]:
        """Return the sorted names of all files that lie there, those of no manifest included."""


class Destination(Protocol):
    """A place that releases are published to and fetched from."""

    def publish(self, folder: Path, version: str, watch: Watch) -> bool:
        """Publish a complete and signed folder; return False where the same bytes were published before."""

    def versions(self) -> list[str]:
        """Return the published versions, the lowest first; empty where nothing was published."""

    def latest(self) -> str | None:
        """Return the version that is told to be the newest; None where nothing was published."""

    def open_release(self, version: str) -> PublishedRelease:
        """Return a published version. Raises ReleaseRefused, with the known ones, where it is not."""


def without_secrets(text: str) -> str:
    """Return a URL, or a text with URLs, without users, passwords and queries."""

    def cleaned(found: re.Match[str]) -> str:
        parts = urlsplit(found[0])
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+", cleaned, text)
