"""`invoke fetch`: one target's files of a published release, each verified before it appears under its name.

`<to>/<version>/` gets the target's files, the consumer's script, manifest, SHA256SUMS and signature. `.releases.json`
in `<to>` remembers what was seen at each URL, so that nobody can offer an older release as the latest one, or other
bytes under a version, to somebody who was there before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ReleaseRefused, UnknownName
from pipeline.files import write_whole
from pipeline.release.destination import Patience, without_secrets
from pipeline.release.documents import FetchDocument
from pipeline.release.download import Described, altered, download, open_published, refuse_other, rolled_back
from pipeline.release.manifest import CHECKSUMS, MANIFEST, SIGNATURE, version_order
from pipeline.watch import Watch

SEEN, LOCK = ".releases.json", ".releases.lock"
DEFAULT_KEY = "release.pub"


class Source(BaseModel):
    """What was seen at one URL."""

    model_config = ConfigDict(extra="forbid")

    latest: str | None = Field(None, description="The highest version that was the latest one.")
    identities: dict[str, str] = Field({}, description="SHA-256 of SHA256SUMS, by version.")


class Seen(BaseModel):
    """`.releases.json`."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    sources: dict[str, Source] = Field({}, description="By URL, without secrets.")


@dataclass(frozen=True)
class FetchOptions:
    """What the flags of `invoke fetch` say."""

    source: str
    target: str
    version: str = "latest"
    to: str = "."
    key: str = ""
    allow_rollback: bool = False
    patience: Patience = Patience()


def fetch(options: FetchOptions, root: Path, watch: Watch) -> FetchDocument:
    """Fetch a target's files; return the FetchDocument.

    Raises ReleaseRefused for what is not the publisher's, and UnknownName for a target that the release lacks.
    """
    base = Path(options.to)
    base.mkdir(parents=True, exist_ok=True)
    with _alone(base, options.patience.seconds):
        return _fetch(options, base, root, watch)


def _fetch(options: FetchOptions, base: Path, root: Path, watch: Watch) -> FetchDocument:
    where = without_secrets(options.source)
    seen = _seen(base / SEEN)
    source = seen.sources.setdefault(where, Source())
    release = open_published(options.source, options.version, options.patience, allow_rollback=options.allow_rollback)
    if options.version == "latest":
        _refuse_rollback(source, release.version, where, options.allow_rollback)
    described = Described(release, where)
    if source.identities.get(release.version, described.identity) != described.identity:
        raise altered(where, CHECKSUMS, f"other bytes than {release.version} had when it was fetched before")
    key = public_key(options.key, root)
    if key:
        described.verify(key, where)
    else:
        watch.note(f"the signature was not checked: give --key=FILE, or put {DEFAULT_KEY} into the project's root")
    target = described.manifest.target(options.target)
    if target is None:
        raise UnknownName("target", options.target, [one.target for one in described.manifest.targets], where=where)
    refuse_swapped(described, where)
    folder = base / release.version
    if folder.is_symlink():
        raise ReleaseRefused(
            f"{folder} is a symbolic link",
            received="a link",
            expected="a folder of its own for the release, or none",
            fix="remove the link, or fetch into another folder",
        )
    folder.mkdir(parents=True, exist_ok=True)
    small = {MANIFEST: described.content, CHECKSUMS: described.checksums, SIGNATURE: described.signature}
    for name, content in small.items():
        refuse_other(folder / name, content)
    wanted = [*target.files, *(file for file in described.manifest.files if file.role == "consumer")]
    fetched = [file.name for file in wanted if download(release, file, folder / file.name)]
    for name, content in small.items():
        write_whole(folder / name, content)
    if options.version == "latest" and not options.allow_rollback:
        source.latest = release.version
    source.identities[release.version] = described.identity
    write_whole(base / SEEN, seen.model_dump_json(indent=2) + "\n")
    return FetchDocument(
        source=where,
        version=release.version,
        target=target.target,
        folder=str(folder),
        model=str(folder / target.model),
        sha256=target.sha256,
        files=[file.name for file in wanted],
        fetched=fetched,
        signature="good" if key else "not checked",
    )


@contextmanager
def _alone(base: Path, seconds: float) -> Iterator[None]:
    """Let one fetch at a time into a folder: another would write on into a part that was verified, and renamed, here.

    Raises ReleaseRefused after `seconds`.
    """
    lock = FileLock(base / LOCK)
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise ReleaseRefused(
            f"another fetch is at work in {base}",
            received=f"a lock that was held for {seconds:g} s",
            expected="one fetch at a time into a folder",
            fix="run the same command when that one is done, with a longer --timeout, or into another folder",
        ) from error
    try:
        yield
    finally:
        lock.release()


def refuse_swapped(described: Described, where: str) -> None:
    """Raise where a target's files are not named as its own: another target's may fail on its device."""
    version = described.manifest.version
    for target in described.manifest.targets:
        stem = f"{target.workload}-{target.target}-{version}."
        if any(not file.name.startswith(stem) for file in target.files):
            raise altered(where, MANIFEST, f"files of {target.target} that do not begin with {stem}")


def public_key(given: str, root: Path) -> Path | None:
    """Return the key that is given, else the project's release.pub; None where there is neither."""
    default = root / DEFAULT_KEY
    return Path(given) if given else default if default.is_file() else None


def _refuse_rollback(source: Source, version: str, where: str, allowed: bool) -> None:
    if not allowed and source.latest and version_order(version) < version_order(source.latest):
        raise rolled_back(where, version, source.latest, "was the latest one before")


def _seen(path: Path) -> Seen:
    try:
        return Seen.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Seen()
    except (OSError, ValidationError, ValueError) as error:
        raise ReleaseRefused(
            f"{path} cannot be used",
            received=str(error).splitlines()[0],
            expected="what `invoke fetch` wrote: the releases that were seen before",
            fix=f"mend it, or remove {path} and with it the memory of them",
        ) from error
