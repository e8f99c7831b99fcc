"""The release's folder: written beside its place, signed, and moved there whole.

Of the same facts the same bytes, but for the signature. A folder that is there already is never overwritten.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ReleaseRefused
from pipeline.files import sha256_of, sync_folder
from pipeline.release.collect import Collected, file_of
from pipeline.release.facts import ReleaseFacts
from pipeline.release.manifest import (
    BOM,
    CARD,
    CHECKSUMS,
    CONSUMER,
    MANIFEST,
    PROVENANCE,
    SIGNATURE,
    ReleasedFile,
    ReleaseManifest,
    Role,
    checksums_text,
    read_checksums,
    read_manifest,
)
from pipeline.release.reproducible import MEASURED_FIELDS

if TYPE_CHECKING:
    from pipeline.release.signature import SigningKey

_SHOWN = 5  # names in a message
CONSUMER_SOURCE = Path(__file__).parent / "templates" / CONSUMER


def assemble(
    facts: ReleaseFacts, collected: Iterable[Collected], place: Path, key: SigningKey, *, accepted_inconclusive: bool
) -> tuple[ReleaseManifest, bool]:
    """Write the release's folder at `place`; return its manifest, and False where it was there already.

    A version that is there of the same commit and the same builds is kept as it is: one release may go to several
    places, which have other earlier releases. Raises ReleaseRefused where it is of other builds, and the system's
    OSError where there is no room.
    """
    from pipeline.release.signature import refuse_signed_otherwise, sign

    if place.exists():
        kept = _kept(place, facts)
        refuse_signed_otherwise(place, key)
        return kept, False
    contents: dict[str, bytes | Path] = {name: content for one in collected for name, content in one.contents.items()}
    manifest, written = documents(facts, accepted_inconclusive=accepted_inconclusive)
    contents |= written
    working = place.with_name(f".{place.name}.working")
    shutil.rmtree(working, ignore_errors=True)  # of one that was interrupted: the version's lock is held
    working.mkdir(parents=True)
    try:
        for name, content in contents.items():
            _write(working / name, content)
        hashes = {name: sha256_of(working / name) for name in contents}
        _refuse_changed(manifest, hashes)
        _write(working / CHECKSUMS, checksums_text(hashes).encode())
        sign(working, key)
        sync_folder(working)
        working.rename(place)
        sync_folder(place.parent)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return manifest, True


def documents(facts: ReleaseFacts, *, accepted_inconclusive: bool) -> tuple[ReleaseManifest, dict[str, bytes | Path]]:
    """Return the manifest, and what is written for the whole release by file name, the manifest's own text included."""
    from pipeline.release.bom import bom, check_bom
    from pipeline.release.model_card import model_card
    from pipeline.release.provenance import check_provenance, provenance

    of_targets = [file for target in facts.targets for file in target.files]
    materials = bom(facts, of_targets)
    contents: dict[str, bytes | Path] = {CARD: model_card(facts).encode(), BOM: materials}
    contents[CONSUMER] = CONSUMER_SOURCE.read_bytes()
    roles: dict[str, Role] = {CARD: "card", BOM: "bom", CONSUMER: "consumer"}
    files = [file_of(name, roles[name], content) for name, content in contents.items()]
    contents[PROVENANCE] = origin = provenance(facts, [*of_targets, *files])
    files.append(file_of(PROVENANCE, "provenance", origin))
    manifest = ReleaseManifest(
        version=facts.version,
        workload=facts.workload,
        created=facts.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit=facts.commit,
        previous=facts.previous,
        accepted_inconclusive=accepted_inconclusive,
        allowed_regression=facts.allowed_regression,
        targets=list(facts.targets),
        files=files,
        measured_fields=list(MEASURED_FIELDS),
    )
    check_bom(materials, manifest)  # against the schema too: a text of a user's may be what it does not allow
    check_provenance(origin, manifest)
    contents[MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode()
    return manifest, contents


def complete_folder(folder: Path) -> dict[str, str]:
    """Return {name: SHA-256} of a release's folder. Raises ReleaseRefused where it is not as its SHA256SUMS says."""
    try:
        expected = read_checksums((folder / CHECKSUMS).read_text(encoding="utf-8"), str(folder))
        names = {path.name for path in folder.iterdir()} - {CHECKSUMS, SIGNATURE}
        altered = [
            name
            for name, sha256 in expected.items()
            if name in names and ((folder / name).is_symlink() or sha256_of(folder / name) != sha256)
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(folder, str(error)) from error
    if wrong := sorted(altered) + sorted(names ^ expected.keys()):
        raise _damaged(folder, ", ".join(wrong))
    if not (folder / SIGNATURE).is_file():
        raise _damaged(folder, f"no {SIGNATURE}")
    return expected


def _damaged(folder: Path, received: str) -> ReleaseRefused:
    return ReleaseRefused(
        f"{folder} is not a whole release",
        received=received,
        expected=f"the files of its {CHECKSUMS}, each with its hash, and {SIGNATURE}",
        fix=f"remove {folder}, and run invoke release again: from the same builds it writes the same bytes",
    )


def _refuse_changed(manifest: ReleaseManifest, hashes: dict[str, str]) -> None:
    """Raise where a file changed between being listed and being copied: another build is running."""
    listed: dict[str, ReleasedFile] = {file.name: file for file in manifest.all_files()}
    for name, file in listed.items():
        if hashes[name] != file.sha256:
            raise ReleaseRefused(
                f"{name} changed while it was released",
                received=f"SHA-256 {hashes[name]}",
                expected=f"SHA-256 {file.sha256}",
                fix="wait until no build runs, and run invoke release again",
            )


def _kept(place: Path, facts: ReleaseFacts) -> ReleaseManifest:
    """Return the manifest of the release that is there. Raises ReleaseRefused where it is not of these facts."""
    complete_folder(place)
    there = read_manifest((place / MANIFEST).read_bytes(), str(place))
    before = {file.name: file.sha256 for target in there.targets for file in target.files}
    now = {file.name: file.sha256 for target in facts.targets for file in target.files}
    differing = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if there.commit != facts.commit:
        differing.insert(0, f"the commit ({there.commit[:12]}, now {facts.commit[:12]})")
    if facts.allowed_regression and not there.allowed_regression:
        differing.insert(0, "the reason for what is worse, which it does not have")
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise ReleaseRefused(
            f"the version {place.name} is there with other bytes: versions do not change",
            received=f"other than in {place}: {', '.join(differing[:_SHOWN])}{more}",
            expected="the commit and the builds of that release, or a version that is new",
            fix=f"take a new version; if {place.name} was published nowhere, remove {place}",
        )
    return there


def _write(path: Path, content: bytes | Path) -> None:
    """Write or copy a file; both are flushed to the disk."""
    with path.open("xb") as stream:
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, stream, 1 << 20)
        else:
            stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
