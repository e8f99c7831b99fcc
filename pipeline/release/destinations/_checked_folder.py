"""What publishing to a server needs of the folder: its files and hashes, checked before anything is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import ReleaseRefused
from pipeline.release.destination import CHUNK_BYTES
from pipeline.release.manifest import (
    CHECKSUMS,
    MANIFEST,
    SIGNATURE,
    ReleaseManifest,
    is_version,
    read_checksums,
    read_manifest,
    version_order,
)


def read_folder(folder: Path, version: str) -> tuple[ReleaseManifest, dict[str, tuple[str, int]]]:
    """Return the manifest of a release's folder and {file name: (SHA-256, bytes)} of all that is in it.

    Raises ReleaseRefused where a file is missing, is one too many, is no plain file or is not what SHA256SUMS says.
    """
    paths = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    for name in (MANIFEST, CHECKSUMS, SIGNATURE):
        if name not in paths:
            raise _incomplete(folder, f"no {name}")
    for name, path in paths.items():
        if path.is_symlink() or not path.is_file():
            raise _incomplete(folder, f"{name}, which is no plain file")
    stated = read_checksums(paths[CHECKSUMS].read_text("utf-8", "replace"), str(folder))
    if set(stated) != set(paths) - {CHECKSUMS, SIGNATURE}:
        differing = sorted(set(stated) ^ (set(paths) - {CHECKSUMS, SIGNATURE}))
        raise _incomplete(folder, f"{', '.join(differing)[:200]}, which only the folder or only {CHECKSUMS} has")
    hashes = {name: (file_hash(path), path.stat().st_size) for name, path in sorted(paths.items())}
    for name, sha256 in stated.items():
        if hashes[name][0] != sha256:
            raise _incomplete(folder, f"{name}, which is not what {CHECKSUMS} says")
    manifest = read_manifest(paths[MANIFEST].read_bytes(), str(folder))
    if manifest.version != version:
        raise _incomplete(folder, f"version {manifest.version} in its {MANIFEST}, not {version}")
    return manifest, hashes


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, which is read in parts."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(CHUNK_BYTES):
            found.update(part)
    return found.hexdigest()


def sorted_versions(texts: Iterable[str]) -> list[str]:
    """Return those texts that are versions, the lowest first."""
    return sorted(filter(is_version, texts), key=version_order)


def newest(versions: Iterable[str]) -> str | None:
    """Return the highest version that is no pre-release, else the highest; None where there is none."""
    return max(versions, key=lambda version: ("-" not in version, version_order(version)), default=None)


def other_bytes(where: str, version: str) -> ReleaseRefused:
    """Return the error for a version that exists with other bytes."""
    return ReleaseRefused(
        f"{where} has {version} already, with other bytes",
        received=f"another {CHECKSUMS}",
        expected="the bytes that were published: a version never changes",
        fix="release under a new version",
    )


def no_such_release(where: str, version: str, known: list[str]) -> ReleaseRefused:
    """Return the error for a version that is not there."""
    return ReleaseRefused(
        f"{where} has no release {version}",
        received=version,
        expected=f"one of {', '.join(known[-10:])}" if known else "a release, but nothing was published there",
        fix="use one of these versions" if known else "check the URL",
    )


def no_such_file(where: str, name: str, names: Iterable[str]) -> ReleaseRefused:
    """Return the error for a file that a release does not have."""
    return ReleaseRefused(
        f"{where} has no file {name!r}",
        received=name,
        expected=f"one of {', '.join(sorted(names))[:500]}",
        fix="use one of these names, or another release",
    )


def too_long(where: str, name: str, size: int, limit: int) -> ReleaseRefused:
    """Return the error for a file that is longer than its reader takes."""
    return ReleaseRefused(
        f"{where}: {name} is too long",
        received=f"{size:,} bytes",
        expected=f"at most {limit:,} bytes",
        fix="do not use this release; ask who published it",
    )


def _incomplete(folder: Path, received: str) -> ReleaseRefused:
    return ReleaseRefused(
        f"{folder} is not a complete release",
        received=received,
        expected=f"{MANIFEST}, {CHECKSUMS}, {SIGNATURE} and exactly the files that {CHECKSUMS} lists",
        fix="make it with `invoke release`",
    )
