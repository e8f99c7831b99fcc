"""`invoke verify-release`: everything that can be checked of a release, then its files run again.

Order matters: nothing is parsed as a model before its hash, and nothing is believed before the signature.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pipeline.errors import ReleaseRefused, UnknownName
from pipeline.files import sha256_of
from pipeline.release.destination import CHUNK_BYTES, Patience, PublishedRelease, without_secrets
from pipeline.release.documents import Check, Remeasured, VerifyReleaseDocument
from pipeline.release.download import Described, altered, download, open_published
from pipeline.release.fetch import public_key, refuse_swapped
from pipeline.release.manifest import (
    BOM,
    CHECKSUMS,
    MANIFEST,
    PROVENANCE,
    SIGNATURE,
    ReleasedTarget,
    ReleaseManifest,
    is_file_name,
    read_manifest,
)
from pipeline.watch import Watch

if TYPE_CHECKING:
    from pipeline.workload import Workload

EQUAL = 1e-9  # scores of equal answers, summed in another order


@dataclass(frozen=True)
class VerifyOptions:
    """What the flags of `invoke verify-release` say."""

    source: str
    key: str = ""
    version: str = "latest"
    quick: bool = False  # without running the files
    patience: Patience = Patience()


def verify_release(options: VerifyOptions, root: Path, watch: Watch) -> VerifyReleaseDocument:
    """Check a release at a URL, or the release's own folder; return the VerifyReleaseDocument.

    Raises ReleaseRefused for anything that its publisher did not write. A file that scores otherwise than was
    published is a verdict, not an exception.
    """
    where = without_secrets(options.source)
    key = public_key(options.key, root)
    if key is None:
        raise ReleaseRefused(
            "a release is verified with its publisher's public key",
            received="no --key, and no release.pub in the project's root",
            expected="the key in PEM, from another place than the release",
            fix="--key=release.pub",
        )
    with _local(options, where) as (folder, described):
        checks = _checks(folder, described, key, where)
        remeasured = [] if options.quick else _remeasured(folder, described.manifest, root, watch)
    return VerifyReleaseDocument(
        source=where,
        version=described.manifest.version,
        sha256sums=described.identity,
        checks=checks,
        remeasured=remeasured,
        verdict="pass" if all(one.agrees for one in remeasured) else "fail",
    )


@dataclass(frozen=True)
class FolderRelease:
    """A release's own folder as a PublishedRelease."""

    folder: Path
    version: str

    def read(self, name: str, limit: int) -> bytes:
        path = self._path(name)
        with path.open("rb") as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise altered(str(self.folder), name, f"more than {limit:,} bytes")
        return content

    def stream(self, name: str, offset: int = 0) -> Iterator[bytes]:
        with self._path(name).open("rb") as stream:
            stream.seek(offset)
            while content := stream.read(CHUNK_BYTES):
                yield content

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if not is_file_name(name) or path.is_symlink() or not path.is_file():
            raise altered(str(self.folder), name[:100], "a symbolic link" if path.is_symlink() else "no such file")
        return path


@contextmanager
def _local(options: VerifyOptions, where: str) -> Iterator[tuple[Path, Described]]:
    """Yield the release as a folder of this machine, every file with its hash, and what it says of itself."""
    folder = Path(options.source)
    if "://" not in options.source and (folder / MANIFEST).is_file():
        own = FolderRelease(folder, "")
        manifest = read_manifest(own.read(MANIFEST, 1 << 23), where)
        wanted = manifest.version if options.version == "latest" else options.version
        described = Described(FolderRelease(folder, wanted), where)
        _refuse_other_names(own, described, where)
        for file in described.files.values():
            if sha256_of(folder / file.name) != file.sha256:
                raise altered(where, file.name, "another SHA-256 than its manifest says")
        yield folder, described
        return
    release = open_published(options.source, options.version, options.patience)
    described = Described(release, where)
    _refuse_other_names(release, described, where)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file in described.files.values():
            download(release, file, folder / file.name)
        small = {MANIFEST: described.content, CHECKSUMS: described.checksums, SIGNATURE: described.signature}
        for name, content in small.items():
            (folder / name).write_bytes(content)
        yield folder, described


def _refuse_other_names(release: PublishedRelease, described: Described, where: str) -> None:
    """Raise for files that nobody vouches for, and for those that are gone."""
    expected = {*described.hashes, CHECKSUMS, SIGNATURE}
    there = set(release.names())
    if extra := sorted(there - expected):
        raise altered(where, extra[0][:100], f"a file that {CHECKSUMS} does not have")
    if missing := sorted(expected - there):
        raise altered(where, missing[0], "no such file")


def _checks(folder: Path, described: Described, key: Path, where: str) -> list[Check]:
    """Check everything but the scores. Raises ReleaseRefused at the first thing that does not hold."""
    from pipeline.release.bom import check_bom
    from pipeline.release.provenance import check_provenance
    from pipeline.release.signature import verify_signature

    manifest = described.manifest
    described.verify(key, where)
    verify_signature(folder, key)
    checks = [
        Check(name="hashes", detail=f"{len(described.hashes)} files as {CHECKSUMS} and {MANIFEST} say"),
        Check(name="signature", detail=f"{SIGNATURE} by the owner of {key.name}, over all files"),
    ]
    refuse_swapped(described, where)
    check_provenance((folder / PROVENANCE).read_bytes(), manifest)
    checks.append(Check(name="provenance", detail=f"SLSA v1, of commit {manifest.commit[:12]}"))
    check_bom((folder / BOM).read_bytes(), manifest)
    checks.append(Check(name="BOM", detail="valid CycloneDX 1.6, of the same files"))
    for target in manifest.targets:
        _check_build(folder, target, where)
    checks.append(Check(name="build.json", detail=f"{len(manifest.targets)} of the same files, scores and verdicts"))
    return checks


def _check_build(folder: Path, target: ReleasedTarget, where: str) -> None:
    """Raise where a target's build.json tells another story than the manifest."""
    from pipeline.documents import BuildDocument

    name = next((file.name for file in target.files if file.role == "build"), None)
    if name is None:
        raise altered(where, MANIFEST, f"no build.json of {target.target}")
    try:
        build = BuildDocument.model_validate_json((folder / name).read_bytes())
    except (ValidationError, ValueError) as error:
        raise altered(where, name, str(error).splitlines()[0]) from error
    same = ("target", "workload", "sha256", "size_bytes", "scores", "score_intervals", "verdicts", "verdict")
    theirs, ours = ([getattr(side, name) for name in same] for side in (build, target))
    if theirs != ours:
        raise altered(where, name, f"other numbers than the manifest's of {target.target}")


def _remeasured(folder: Path, manifest: ReleaseManifest, root: Path, watch: Watch) -> list[Remeasured]:
    """Run every file over the whole test split of this checkout's workload, in the interpreter's limited process."""
    from pipeline.data.streaming import answers_of
    from pipeline.lookup import is_plain_name
    from pipeline.runner import Settings, find_runner
    from pipeline.workload import load_workload

    if not is_plain_name(manifest.workload):  # it may name no file of somebody's choice
        raise altered(str(folder), MANIFEST, f"the workload {manifest.workload[:100]!r}")
    try:
        learned: Workload = load_workload(manifest.workload, root)
    except UnknownName as error:
        error.fix = "call it in a checkout that has the workload; --quick checks everything but the scores"
        raise
    samples, labels = learned.load("test")
    groups: dict[str, list[ReleasedTarget]] = {}
    for target in manifest.targets:
        groups.setdefault(target.sha256, []).append(target)
    files = {sha256: folder / targets[0].model for sha256, targets in groups.items()}
    watch.note(f"running {len(files)} files over {len(labels):,} test samples")
    settings = Settings(resident_megabytes=2048 * len(files), seconds=600.0)
    answers = answers_of(find_runner("host", root), files, samples, learned, settings)
    measured = {
        sha256: learned.task.scores(evidence, labels, learned.threshold) for sha256, (_, evidence) in answers.items()
    }
    return [_compared(target, measured[target.sha256], len(labels)) for target in manifest.targets]


def _compared(target: ReleasedTarget, scores: dict[str, float], samples: int) -> Remeasured:
    measured = {name: float(value) for name, value in scores.items()}
    agrees = (
        samples == target.test_samples
        and measured.keys() == target.scores.keys()
        and all(abs(measured[name] - value) <= EQUAL for name, value in target.scores.items())
    )
    return Remeasured(
        target=target.target,
        metric=target.metric,
        samples=samples,
        published=target.scores,
        measured=measured,
        agrees=agrees,
    )
