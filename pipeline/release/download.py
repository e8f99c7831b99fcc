"""A published release, read with distrust: everything has a bound, and no file is used before its hash is right."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pipeline.errors import DestinationFailed, ReleaseRefused
from pipeline.files import sha256_of, sync_folder
from pipeline.release.destination import Patience, PublishedRelease, without_secrets
from pipeline.release.manifest import (
    CHECKSUMS,
    FILES_MAX,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    SIGNATURE,
    ReleasedFile,
    ReleaseManifest,
    is_version,
    read_checksums,
    read_manifest,
    version_order,
)

CHECKSUMS_BYTES_MAX = 300 * (FILES_MAX + 3)
SIGNATURE_BYTES_MAX = 4_000_000
TRIES = 2  # a continued part may be of other bytes: then it is fetched once more from its beginning


def open_published(url: str, version: str, patience: Patience, *, allow_rollback: bool = False) -> PublishedRelease:
    """Return the version, or for "latest" the newest, that is published at a URL.

    Raises ReleaseRefused where there is none, and where `latest` is older than what is published beside it.
    """
    from pipeline.release.open_destination import open_destination

    destination, shown = open_destination(url, patience), without_secrets(url)
    if version != "latest":
        if not is_version(version):
            raise ReleaseRefused(
                "--version is no version", received=version, expected="latest, or such as 1.2.0", fix="--version=latest"
            )
        return destination.open_release(version)
    found = destination.latest()
    if found is None:
        raise ReleaseRefused(
            f"{shown} has no release",
            received="nothing published there",
            expected="what `invoke release --to` published",
            fix="look at the URL",
        )
    final = [one for one in destination.versions() if "-" not in one]
    newest = max(final, key=version_order, default=found)
    if version_order(found) < version_order(newest) and not allow_rollback:
        raise rolled_back(shown, found, newest, "is published there")
    return destination.open_release(found)


def rolled_back(shown: str, found: str, newest: str, why: str) -> ReleaseRefused:
    """Return the error for a `latest` that goes back in time."""
    return ReleaseRefused(
        f"{shown} says that {found} is its latest release, and {newest} {why}",
        received=f"latest = {found}",
        expected=f"{newest} or higher: somebody may be offering an old release again",
        fix=f"ask the publisher; --version={newest} takes that one, --allow-rollback the older one",
    )


class Described:
    """SHA256SUMS, manifest and signature of a release, held against each other."""

    def __init__(self, release: PublishedRelease, where: str):
        """Read them. Raises ReleaseRefused where they do not agree."""
        self.release = release
        self.checksums = release.read(CHECKSUMS, CHECKSUMS_BYTES_MAX)
        self.hashes = read_checksums(self.checksums.decode("utf-8", "replace"), where)
        self.identity = hashlib.sha256(self.checksums).hexdigest()
        self.content = release.read(MANIFEST, MANIFEST_BYTES_MAX)
        if hashlib.sha256(self.content).hexdigest() != self.hashes.get(MANIFEST):
            raise altered(where, MANIFEST, f"another SHA-256 than in {CHECKSUMS}")
        self.manifest: ReleaseManifest = read_manifest(self.content, where)
        self.files = {file.name: file for file in self.manifest.all_files()}
        listed = {name: file.sha256 for name, file in self.files.items()} | {MANIFEST: self.hashes[MANIFEST]}
        if listed != self.hashes:
            names = [name for name in sorted(listed.keys() | self.hashes) if listed.get(name) != self.hashes.get(name)]
            raise altered(where, CHECKSUMS, f"other files or hashes than in {MANIFEST}: {', '.join(names[:10])}")
        if self.manifest.version != release.version:
            raise altered(where, MANIFEST, f"the manifest of version {self.manifest.version}")
        self.signature = release.read(SIGNATURE, SIGNATURE_BYTES_MAX)

    def verify(self, key: Path, where: str) -> None:
        """Raise ReleaseRefused unless the key's owner signed exactly these files."""
        from pipeline.release.signature import signed_hashes

        signed = signed_hashes(self.signature, key)
        expected = self.hashes | {CHECKSUMS: self.identity}
        if signed != expected:
            names = [name for name in sorted(signed.keys() | expected) if signed.get(name) != expected.get(name)]
            raise altered(where, SIGNATURE, f"signed were other files or bytes: {', '.join(names[:10])}")


def altered(where: str, name: str, received: str) -> ReleaseRefused:
    """Return the error for a file of a release that is not what its publisher wrote."""
    return ReleaseRefused(
        f"{where}: {name} was altered, or is of another release",
        received=received,
        expected="files, hashes and signature that agree",
        fix="do not use this release; ask its publisher, or fetch it from another place",
    )


def download(release: PublishedRelease, file: ReleasedFile, place: Path) -> bool:
    """Fetch a file to `place`, where it appears whole and verified; return False where it was there already.

    What an interrupted download left (`.<name>.part`) is continued. Raises ReleaseRefused where other bytes are at
    `place` or come from the other side, and for more bytes than the manifest says.
    """
    if place.is_symlink() or place.exists():
        if place.is_symlink() or not place.is_file() or sha256_of(place) != file.sha256:
            raise ReleaseRefused(
                f"{place} is there, and is another file",
                received="a symbolic link" if place.is_symlink() else "other bytes",
                expected=f"no such file, or SHA-256 {file.sha256}",
                fix="move it away, or fetch into another folder",
            )
        return False
    part = place.with_name(f".{place.name}.part")
    if part.is_symlink():
        part.unlink()
    for attempt in range(1, TRIES + 1):
        continued = part.exists() and part.stat().st_size > 0
        _continue(release, file, part)
        if sha256_of(part) == file.sha256:
            part.replace(place)
            sync_folder(place.parent)
            return True
        part.unlink()
        if not continued or attempt == TRIES:
            break
    raise altered(release.version, file.name, "another SHA-256 than its manifest says")


def _continue(release: PublishedRelease, file: ReleasedFile, part: Path) -> None:
    """Add to `part` what it lacks of the file."""
    with part.open("ab") as stream:
        there = stream.tell()
        if there > file.size_bytes:
            stream.truncate(0)
            there = 0
        if there < file.size_bytes or file.size_bytes == 0:
            for content in release.stream(file.name, there):
                there += len(content)
                if there > file.size_bytes:
                    stream.truncate(0)
                    raise altered(release.version, file.name, f"more than the {file.size_bytes} bytes of its manifest")
                stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    if there < file.size_bytes:
        raise DestinationFailed(
            f"{file.name} ended early",
            received=f"{there} of {file.size_bytes} bytes",
            expected="the whole file",
            fix="run the same command again: it goes on where this one ended",
        )


def refuse_other(place: Path, content: bytes) -> None:
    """Raise ReleaseRefused where something else than these bytes is at `place`."""
    if place.is_symlink() or (place.exists() and (not place.is_file() or place.read_bytes() != content)):
        raise ReleaseRefused(
            f"{place} is there, and is another file",
            received="a symbolic link" if place.is_symlink() else "other bytes",
            expected="no such file, or that of this release",
            fix="move it away, or fetch into another folder",
        )
