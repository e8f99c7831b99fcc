"""How releases lie in a store: folders by version, and an index that readers find them by.

    <base>/index.json        what is published, and the SHA-256 of each SHA256SUMS: all that our code reads
    <base>/latest            the newest version as text, for people and shells
    <base>/<version>/…       the release's folder as it is, flat

A version that the index does not name is none yet: files are written first, the index last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import ReleaseRefused
from pipeline.release.destination import PublishedRelease
from pipeline.release.destinations._objects import ABSENT, Objects
from pipeline.release.manifest import CHECKSUMS, is_file_name, is_version, version_order
from pipeline.watch import Watch

INDEX, LATEST = "index.json", "latest"
INDEX_BYTES_MAX = 4_000_000


class IndexEntry(BaseModel):
    """One published version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256sums: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of its SHA256SUMS: its identity.")


class Index(BaseModel):
    """`index.json`: what is published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(1, description="Version of this schema.")
    latest: str | None = Field(None, description="The highest version, pre-releases only if there is nothing else.")
    releases: dict[str, IndexEntry] = Field(default_factory=dict, description="Each published version.")

    @field_validator("releases")
    @classmethod
    def _versions(cls, releases: dict[str, IndexEntry]) -> dict[str, IndexEntry]:
        if not all(is_version(version) for version in releases):
            raise ValueError("versions by Semantic Versioning are expected")
        return releases

    @model_validator(mode="after")
    def _sound(self) -> Index:
        if self.latest != highest(self.releases):
            raise ValueError(f"latest: the highest of the versions is expected, {highest(self.releases)}")
        return self

    def with_release(self, version: str, identity: str) -> Index:
        """Return the index with one more release."""
        releases = self.releases | {version: IndexEntry(sha256sums=identity)}
        ordered = {name: releases[name] for name in sorted(releases, key=version_order)}
        return Index(latest=highest(ordered), releases=ordered)

    def content(self) -> bytes:
        """Return the bytes of `index.json`."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def highest(versions: dict[str, IndexEntry]) -> str | None:
    """Return the highest version that is no pre-release, the highest pre-release where there is none of those."""
    ordered = sorted(versions, key=version_order)
    return next((version for version in reversed(ordered) if "-" not in version), ordered[-1] if ordered else None)


def read_index(objects: Objects) -> tuple[Index, str]:
    """Return the index and the tag of its state. Raises ReleaseRefused for one that is none."""
    found = objects.read(INDEX, INDEX_BYTES_MAX)
    if found is None:
        return Index(), ABSENT
    try:
        return Index.model_validate_json(found.content), found.tag
    except (ValidationError, ValueError, RecursionError) as error:
        received = "not this schema"
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            received = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ReleaseRefused(
            f"{objects.shown}/{INDEX} is no index of releases",
            received=received[:300],
            expected="what `invoke release` writes there",
            fix="restore it from a copy, or publish to another place",
        ) from None


@dataclass
class Release:
    """A published version; `PublishedRelease` is its contract."""

    objects: Objects
    version: str
    identity: str

    def read(self, name: str, limit: int) -> bytes:
        found = self.objects.read(self._path(name), limit)
        if found is None:
            raise self._missing(name)
        if name == CHECKSUMS and hashlib.sha256(found.content).hexdigest() != self.identity:
            raise ReleaseRefused(
                f"{self.objects.shown}/{self.version}/{name} was altered",
                received="another SHA-256 than that in the index",
                expected=self.identity,
                fix="do not use this release; publish a new version from where it was made",
            )
        return found.content

    def stream(self, name: str, offset: int = 0) -> Iterator[bytes]:
        try:
            yield from self.objects.stream(self._path(name), offset)
        except FileNotFoundError:
            raise self._missing(name) from None

    def names(self) -> list[str]:
        return sorted(self.objects.sizes(self.version))

    def _path(self, name: str) -> str:
        if not is_file_name(name):
            raise ReleaseRefused(
                f"{name[:100]!r} is no name of a released file",
                received=name[:100],
                expected="a plain file name of letters, digits, '.', '_' and '-'",
                fix="do not use this release: its lists of files were not written by this pipeline",
            )
        return f"{self.version}/{name}"

    def _missing(self, name: str) -> ReleaseRefused:
        return ReleaseRefused(
            f"{self.objects.shown}: the release {self.version} has no {name}",
            received="no such file",
            expected=f"{self.version}/{name}",
            fix="look at what lies there; a file of a published release was removed",
        )


@dataclass(frozen=True)
class Releases:
    """A store with releases in it; `Destination` is its contract."""

    objects: Objects
    companions: dict[str, str | bytes] = field(default_factory=dict)  # see `_stale` of _publish.py

    def publish(self, folder: Path, version: str, watch: Watch) -> bool:
        from pipeline.release.destinations._publish import publish

        return publish(self.objects, folder, version, watch, self.companions)

    def versions(self) -> list[str]:
        return sorted(read_index(self.objects)[0].releases, key=version_order)

    def latest(self) -> str | None:
        return read_index(self.objects)[0].latest

    def open_release(self, version: str) -> PublishedRelease:
        index, _ = read_index(self.objects)
        entry = index.releases.get(version)
        if entry is None:
            known = sorted(index.releases, key=version_order)
            raise ReleaseRefused(
                f"{self.objects.shown} has no release {version[:100]}",
                received=version[:100],
                expected=f"one of {', '.join(known[-20:])}" if known else "a release, but nothing was published there",
                fix="use one of these versions, or another URL",
            )
        return Release(self.objects, version, entry.sha256sums)
