"""Publishes a release's folder into a store: claim, files, all read back and hashed, index, `latest`.

SHA256SUMS goes first, created only where there is none: it is the claim to the version, and whoever claims other
bytes is refused. Under our own claim whatever is missing or differs is written again, so that an interrupted
publication ends complete when it is run again.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import DestinationFailed, ReleaseRefused
from pipeline.files import sha256_of
from pipeline.release.destinations._layout import INDEX, INDEX_BYTES_MAX, LATEST, Index, read_index
from pipeline.release.destinations._objects import ABSENT, Objects
from pipeline.release.manifest import (
    CHECKSUMS,
    FILES_MAX,
    MANIFEST,
    SIGNATURE,
    is_version,
    read_checksums,
)
from pipeline.watch import Watch

CHECKSUMS_BYTES_MAX = 300 * (FILES_MAX + 3)
COMPANION_BYTES_MAX = 4_000_000
WRITES_MAX = 3  # of a file that is read back as other bytes
RACES_MAX = 50  # lost to other publishers before we give up
RACE_SECONDS = 0.05


def publish(
    objects: Objects, folder: Path, version: str, watch: Watch, companions: Mapping[str, str | bytes] | None = None
) -> bool:
    """Publish a folder; return False where the same bytes were published before. Raises as `destination.py` says."""
    claim = _claim_of(folder, version)
    identity = hashlib.sha256(claim).hexdigest()
    index, _ = read_index(objects)
    published = _is_published(objects, index, version, identity)
    if published and not _stale(objects, companions or {}):
        return False
    hashes = {} if published else _checked_hashes(folder, claim)
    with objects.publishing(version, watch):
        if not published:
            _upload(objects, folder, version, claim, hashes)
            _enter(objects, version, identity)
        _settle(objects, companions or {})
    return not published


def _claim_of(folder: Path, version: str) -> bytes:
    """Return SHA256SUMS of the folder, which is refused if it is not complete."""
    missing = [name for name in (CHECKSUMS, MANIFEST, SIGNATURE) if not (folder / name).is_file()]
    if missing or not is_version(version):
        raise ReleaseRefused(
            f"{folder} is no complete release" if missing else f"{version[:100]!r} is no version",
            received=f"no {', '.join(missing)}" if missing else version[:100],
            expected=f"{CHECKSUMS}, {MANIFEST} and {SIGNATURE}" if missing else "a version by Semantic Versioning",
            fix="make the folder with `invoke release`",
        )
    return (folder / CHECKSUMS).read_bytes()


def _is_published(objects: Objects, index: Index, version: str, identity: str) -> bool:
    """True if these bytes are published. Raises ReleaseRefused if others are."""
    entry = index.releases.get(version)
    if entry is not None and entry.sha256sums != identity:
        raise ReleaseRefused(
            f"{objects.shown}: {version} is published, with other bytes",
            received=f"SHA-256 {identity} of {CHECKSUMS}",
            expected=f"SHA-256 {entry.sha256sums}: a published version never changes",
            fix="publish these bytes under a new version",
        )
    return entry is not None


def _checked_hashes(folder: Path, claim: bytes) -> dict[str, str]:
    """Return {name: SHA-256} of every file but SHA256SUMS. Raises ReleaseRefused where the folder disagrees."""
    hashes = read_checksums(claim.decode(errors="replace"), str(folder))
    wrong = [name for name in hashes if (folder / name).is_symlink() or not (folder / name).is_file()]
    wrong += [name for name, sha256 in hashes.items() if name not in wrong and sha256_of(folder / name) != sha256]
    extra = [path.name for path in folder.iterdir() if path.name not in (*hashes, CHECKSUMS, SIGNATURE)]
    if wrong or extra or MANIFEST not in hashes or (folder / SIGNATURE).is_symlink():
        raise ReleaseRefused(
            f"{folder} is not what its {CHECKSUMS} says",
            received=f"missing or altered: {', '.join(wrong) or 'none'}; not listed: {', '.join(extra) or 'none'}"[
                :500
            ],
            expected="exactly the listed files, each with its SHA-256",
            fix="make the folder again with `invoke release`; nothing was published",
        )
    return hashes | {SIGNATURE: sha256_of(folder / SIGNATURE)}


def _upload(objects: Objects, folder: Path, version: str, claim: bytes, hashes: Mapping[str, str]) -> None:
    """Claim the version, write its files and read all of it back."""
    identity = hashlib.sha256(claim).hexdigest()
    if not objects.write(f"{version}/{CHECKSUMS}", claim, ABSENT):
        held = objects.read(f"{version}/{CHECKSUMS}", CHECKSUMS_BYTES_MAX)
        if held is None or held.content != claim:
            _is_published(objects, read_index(objects)[0], version, identity)
            raise ReleaseRefused(
                f"{objects.shown}: {version} is claimed by a publication of other bytes",
                received=f"another {version}/{CHECKSUMS}, which the index does not name",
                expected="a version that nobody else publishes",
                fix=f"publish under a new version; or, if that publication is over and unwanted, remove the folder "
                f"{objects.shown}/{version}/ and run the command again",
            )
    sizes = objects.sizes(version)
    for name, sha256 in hashes.items():
        path, source = f"{version}/{name}", folder / name
        there = sizes.get(name) == source.stat().st_size and _hash(objects, path) == sha256
        writes = 0
        while not there:
            if writes == WRITES_MAX:
                # Another run with its own signature over the same bytes overwrites ours until it is through.
                if _is_published(objects, read_index(objects)[0], version, identity):
                    return
                raise _altered(objects, path, sha256)
            objects.put(path, source)
            there = _hash(objects, path) == sha256
            writes += 1
    extra = sorted(set(objects.sizes(version)) - set(hashes) - {CHECKSUMS})
    if extra:
        raise ReleaseRefused(
            f"{objects.shown}: {version}/ holds files that are not of this release",
            received=", ".join(extra)[:500],
            expected="only the release's own files",
            fix="remove them and run the command again",
        )
    if _hash(objects, f"{version}/{CHECKSUMS}") != identity:
        raise _altered(objects, f"{version}/{CHECKSUMS}", identity)


def _altered(objects: Objects, path: str, sha256: str) -> DestinationFailed:
    return DestinationFailed(
        f"{objects.shown}/{path} is not what was written",
        received="other bytes when read back",
        expected=f"SHA-256 {sha256}",
        fix="nothing was published; if it happens again, the store or the way to it alters files",
    )


def _hash(objects: Objects, path: str) -> str | None:
    digest = hashlib.sha256()
    try:
        for part in objects.stream(path):
            digest.update(part)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def _enter(objects: Objects, version: str, identity: str) -> None:
    """Enter the release into the index. The releases of other publishers are never lost."""
    for race in range(RACES_MAX):
        index, tag = read_index(objects)
        if _is_published(objects, index, version, identity):
            return
        content = index.with_release(version, identity).content()
        if len(content) > INDEX_BYTES_MAX:
            raise ReleaseRefused(
                f"{objects.shown}/{INDEX} is full",
                received=f"{len(index.releases)} releases",
                expected=f"at most {INDEX_BYTES_MAX:,} bytes of them",
                fix="publish to another place",
            )
        if objects.write(INDEX, content, tag):
            return
        time.sleep(random.uniform(0, RACE_SECONDS * min(race + 1, 10)))
    raise _never_settled(objects, INDEX)


def _settle(objects: Objects, companions: Mapping[str, str | bytes]) -> None:
    """Write what follows from the index.

    Another publisher may be at it too: the last to write looks again, so that the files end as the index is.
    """
    for _ in range(RACES_MAX):
        stale = _stale(objects, companions)
        if not stale:
            return
        for path, content in stale.items():
            objects.write(path, content)
    raise _never_settled(objects, LATEST)


def _stale(objects: Objects, companions: Mapping[str, str | bytes]) -> dict[str, bytes]:
    """Return {path: content} of what should follow from the index and does not: `latest`, and a layout's companions.

    A companion is the content of a file, or, as text, the name of a file of the newest release.
    """
    latest = read_index(objects)[0].latest
    if latest is None:
        return {}
    wanted = {LATEST: f"{latest}\n".encode()}
    for path, content in companions.items():
        if isinstance(content, str):
            found = objects.read(f"{latest}/{content}", COMPANION_BYTES_MAX)
            if found is None:
                continue
            content = found.content
        wanted[path] = content
    return {path: content for path, content in wanted.items() if not _holds(objects, path, content)}


def _holds(objects: Objects, path: str, content: bytes) -> bool:
    found = objects.read(path, COMPANION_BYTES_MAX)
    return found is not None and found.content == content


def _never_settled(objects: Objects, path: str) -> DestinationFailed:
    return DestinationFailed(
        f"{objects.shown}/{path} could not be written",
        received=f"another state of it each time, {RACES_MAX} times",
        expected="a publisher that is the only one at times",
        fix="run the same command again: it goes on where this one ended",
    )
