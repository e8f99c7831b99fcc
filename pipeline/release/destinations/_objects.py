"""What a store of named bytes must do for releases to lie in it; `_layout.py` says which names they have.

Paths are relative to the destination's URL: `index.json`, `1.2.0/SHA256SUMS`. A write is whole or not at all:
nobody ever reads a part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.errors import ReleaseRefused
from pipeline.watch import Watch

ABSENT = ""  # the tag of what is not there
WINDOW_BYTES = 8 << 20  # asked for at a time: fewer requests than by the parts that are yielded


class Found(NamedTuple):
    """A small file, and the store's own mark of this state of it."""

    content: bytes
    tag: str


class Objects(Protocol):
    """A store of named bytes. FileNotFoundError: no such name; other errors are those of the tree."""

    @property
    def shown(self) -> str:
        """Its URL, without secrets."""

    def read(self, path: str, limit: int) -> Found | None:
        """Return a file whole; None where it is missing. Raises ReleaseRefused if longer than `limit` bytes."""

    def stream(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """Yield a file from byte `offset` on, in parts of at most CHUNK_BYTES. Raises FileNotFoundError."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Return {name under `folder`: bytes} of all that lies there; empty where there is no such folder."""

    def write(self, path: str, content: bytes, expected: str | None = None) -> bool:
        """Write a small file; with `expected`, only while its tag is this one. False: it is another."""

    def put(self, path: str, source: Path) -> None:
        """Write a file of any size."""

    def publishing(self, folder: str, watch: Watch) -> AbstractContextManager[None]:
        """Around a publication into `folder`: takes a lock where the store has one, removes what is left over."""


def too_long(shown: str, limit: int) -> ReleaseRefused:
    """Return the error for a file that is longer than what is read of it."""
    return ReleaseRefused(
        f"{shown} is too long to be what it should be",
        received=f"more than {limit:,} bytes",
        expected=f"at most {limit:,} bytes",
        fix="look at what lies there: no release of this pipeline has such a file",
    )
