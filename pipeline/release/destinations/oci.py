"""Releases in an OCI registry: `oci://host[:port]/repository[:tag]`, a version's tag being the version itself.

A release is an OCI 1.1 artifact, each file a layer; its signature is a layer, for those who fetch it, and is also
attached to it as a referrer, for the tools that look there. Readers find a release by its tag, which is written
last: blobs, release manifest by its digest, signature manifest, index of referrers, all of it read back, then the
tag, then `latest` where it is the newest. HTTPS always, but for this machine itself.

The protocol has no conditional write of a tag: of two that publish different bytes under one version in the same
moment both may look before either writes. The one that wrote first finds the other's tag when it looks again, and
says so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import ReleaseRefused
from pipeline.release.destination import Patience, PublishedRelease, without_secrets
from pipeline.release.destinations._checked_folder import (
    newest,
    no_such_file,
    no_such_release,
    other_bytes,
    read_folder,
    sorted_versions,
    too_long,
)
from pipeline.release.destinations._oci_manifest import (
    EMPTY,
    INDEX_TYPE,
    Blob,
    StoredRelease,
    blob_of,
    fallback_tag,
    read_release,
    referrers_index,
    release_manifest,
    signature_manifest,
)
from pipeline.release.destinations._oci_registry import EXTRA, Repository, need_oras
from pipeline.release.manifest import CHECKSUMS, SIGNATURE, ReleaseManifest, is_version
from pipeline.watch import Watch

__all__ = ["EXTRA", "SCHEMES", "open_destination"]
SCHEMES = ("oci",)
LATEST = "latest"
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def open_destination(url: str, patience: Patience = Patience()) -> OciDestination:  # noqa: B008 (it is frozen)
    """Return the destination of an `oci://` URL. Raises ReleaseRefused for one that cannot be, EnvironmentUnsuited
    where oras is not installed."""
    parts = urlsplit(url)
    name, _, tag = parts.path.lstrip("/").partition(":")
    try:
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if (
        not usable
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
        or not _REPOSITORY.fullmatch(name)
        or (":" in parts.path and not _TAG.fullmatch(tag))
    ):
        raise ReleaseRefused(
            "this is no place in an OCI registry",
            received=without_secrets(url),
            expected="oci://host[:port]/repository[:tag], the repository in lower case, without user and password",
            fix="correct the URL; credentials come from `docker login`, or from ORAS_USER and ORAS_PASS",
        )
    need_oras()
    return OciDestination(Repository(parts.netloc, name, patience), tag)


class OciDestination:
    """A repository; with a tag in its URL, the one release that the tag names."""

    def __init__(self, repository: Repository, tag: str):
        self.repository, self.tag = repository, tag

    def publish(self, folder: Path, version: str, watch: Watch) -> bool:
        tag = self.tag or version
        if tag == LATEST or (is_version(tag) and tag != version):
            raise ReleaseRefused(
                f"version {version} cannot be published as {tag!r}",
                received=tag,
                expected=f"no tag, {version!r}, or a tag that is no version",
                fix=f"leave the tag out of the URL: {LATEST!r} is moved when a release is the newest",
            )
        manifest, hashes = read_folder(folder, version)
        files = {name: Blob(f"sha256:{sha256}", size) for name, (sha256, size) in hashes.items()}
        if self._is_there(tag, version, files[CHECKSUMS].digest):
            self._move_latest()
            return False
        content = release_manifest(manifest, files)
        self._write_blobs(folder, files, watch)
        self._write_manifests(manifest, content, files[SIGNATURE])
        self._read_back(content, watch)
        # Sending took its time: another may have published meanwhile.
        published = not self._is_there(tag, version, files[CHECKSUMS].digest)
        if published:
            self.repository.put_manifest(tag, content)
            self._is_there(tag, version, files[CHECKSUMS].digest)
        self._move_latest()
        return published

    def versions(self) -> list[str]:
        if self.tag:
            stored = self._stored(self.tag)
            return sorted_versions([stored.version] if stored else [])
        return sorted_versions(self.repository.tags())

    def latest(self) -> str | None:
        stored = self._stored(self.tag or LATEST)
        # Between the first version's tag and `latest` there is a moment with only the one.
        return stored.version if stored else newest(self.versions())

    def open_release(self, version: str) -> PublishedRelease:
        stored = self._stored_once_listed(self.tag or version) if is_version(version) else None
        if stored is None or (self.tag and stored.version != version):
            raise no_such_release(self.repository.shown, version, self.versions())
        if stored.version != version:
            raise ReleaseRefused(
                f"{self.repository.shown}:{version} is another release",
                received=f"version {stored.version}",
                expected=f"version {version}",
                fix="do not use it; ask who published it",
            )
        return OciRelease(self.repository, stored)

    def _stored_once_listed(self, tag: str) -> StoredRelease | None:
        """Return a tag's release. A registry may list a tag a moment before it answers for it."""
        for attempt in range(1, self.repository.client.patience.attempts + 1):
            stored = self._stored(tag)
            if stored is not None or tag not in self.repository.tags():
                return stored
            time.sleep(0.1 * attempt)
        return None

    def _stored(self, tag: str) -> StoredRelease | None:
        content = self.repository.manifest(tag)
        return None if content is None else read_release(content, f"{self.repository.shown}:{tag}")

    def _is_there(self, tag: str, version: str, identity: str) -> bool:
        """True where the tag names the same bytes. Raises ReleaseRefused where it names others."""
        stored = self._stored(tag)
        if stored and (stored.version, stored.identity) != (version, identity):
            raise other_bytes(f"{self.repository.shown}:{tag}", stored.version)
        return stored is not None

    def _write_blobs(self, folder: Path, files: dict[str, Blob], watch: Watch) -> None:
        total, sent = sum(blob.size for blob in files.values()) or 1, 0
        self.repository.put_blob(blob_of(EMPTY), EMPTY)
        for name, blob in sorted(files.items()):
            self.repository.put_blob(blob, folder / name)
            sent += blob.size
            watch.progress({"done": 0.5 * sent / total})

    def _write_manifests(self, manifest: ReleaseManifest, content: bytes, signature: Blob) -> None:
        """Write the release and its signature by their digests, and the index that a reader finds the latter by."""
        repository, digest = self.repository, blob_of(content).digest
        repository.put_manifest(digest, content)
        referrer = signature_manifest(manifest, signature, content)
        answer = repository.put_manifest(blob_of(referrer).digest, referrer)
        if answer.headers.get("OCI-Subject") == digest:
            return  # the registry keeps the list itself
        existing = repository.manifest(fallback_tag(digest))
        try:
            index = referrers_index(existing, referrer)
        except (ValueError, AttributeError) as error:
            raise repository.client.failed(f"an index of referrers that is none: {type(error).__name__}") from error
        if index != existing:
            repository.put_manifest(fallback_tag(digest), index, INDEX_TYPE)

    def _read_back(self, content: bytes, watch: Watch) -> None:
        """Read the release by its digest, whole. Raises DestinationFailed where anything is not as it was sent."""
        digest = blob_of(content).digest
        if self.repository.manifest(digest) != content:
            raise self.repository.altered("the release's manifest", digest)
        stored = read_release(content, self.repository.shown)
        total, done = sum(blob.size for blob in stored.files.values()) or 1, 0
        for name, blob in stored.files.items():
            for part in self.repository.stream(blob, name):
                done += len(part)
                watch.progress({"done": 0.5 + 0.5 * done / total})

    def _move_latest(self) -> None:
        """Let `latest` name the newest version, whoever published it.

        It is looked at again after it was written: a newer version may have come in between.
        """
        for _ in range(self.repository.client.patience.attempts):
            version = newest(sorted_versions(self.repository.tags()))
            content = self.repository.manifest(version) if version else None
            if content is None or self.repository.manifest(LATEST) == content:
                return
            self.repository.put_manifest(LATEST, content)


class OciRelease:
    """One release of a repository; every file is hashed against the manifest, the manifest against its digest."""

    def __init__(self, repository: Repository, stored: StoredRelease):
        self.repository, self.stored, self.version = repository, stored, stored.version

    def read(self, name: str, limit: int) -> bytes:
        blob = self._blob(name)
        if blob.size > limit:
            raise too_long(self._shown(), name, blob.size, limit)
        return b"".join(self.repository.stream(blob, name))

    def stream(self, name: str, offset: int = 0) -> Iterator[bytes]:
        return self.repository.stream(self._blob(name), name, offset)

    def names(self) -> list[str]:
        return sorted(self.stored.files)

    def _blob(self, name: str) -> Blob:
        if name not in self.stored.files:
            raise no_such_file(self._shown(), name, self.stored.files)
        return self.stored.files[name]

    def _shown(self) -> str:
        return f"{self.repository.shown} {self.version}"
