"""The release before this one, and whether this one is worse: beyond the interval, on the same test split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from pipeline.documents import BuildDocument
from pipeline.errors import ReleaseRefused
from pipeline.project import Project
from pipeline.regression import changes
from pipeline.release.collect import Collected
from pipeline.release.destination import Destination
from pipeline.release.manifest import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    ReleaseManifest,
    is_version,
    read_manifest,
    release_folder,
    version_order,
)

BUILD_BYTES_MAX = 16_000_000


@dataclass(frozen=True)
class Previous:
    """An earlier release, as far as it is compared with."""

    version: str
    where: str
    manifest: ReleaseManifest
    read: Callable[[str, int], bytes]


def previous_release(version: str, destination: Destination | None, project: Project) -> Previous | None:
    """Return the highest version below this one: of the destination, else of the project's own releases."""
    if destination is not None:
        below = _below(version, destination.versions())
        if below is None:
            return None
        release = destination.open_release(below)
        return _opened(below, "as it is published", release.read)
    folders = release_folder(project.artifacts, version).parent
    below = _below(version, [path.name for path in folders.glob("*") if (path / MANIFEST).is_file()])
    if below is None:
        return None
    return _opened(below, str(folders / below), lambda name, limit: _read(folders / below / name, limit))


def changes_since(previous: Previous, collected: Collected) -> Collected:
    """Return the target's part with its changes; none where the earlier release does not have the target.

    A score is compared with those of the same test split alone: where its size differs, the data are others.
    """
    before = previous.manifest.target(collected.row.target)
    if before is None or before.workload != collected.row.workload:
        return collected
    document = next((file for file in before.files if file.role == "build"), None)
    if document is None:
        return collected
    try:
        build = BuildDocument.model_validate_json(previous.read(document.name, BUILD_BYTES_MAX))
    except (FileNotFoundError, ValidationError, ValueError) as error:
        raise ReleaseRefused(
            f"{previous.where}: {document.name} of {previous.version} cannot be read",
            received=str(error).splitlines()[0],
            expected="the build.json of a release of this schema",
            fix="release to where no earlier version lies, or mend what is published",
        ) from error
    scores = (collected.build.scores, collected.row.test_samples)
    found = changes(collected.build, build, scores if before.test_samples == collected.row.test_samples else None)
    return replace(collected, row=collected.row.model_copy(update={"changes": found}))


def _below(version: str, versions: list[str]) -> str | None:
    lower = [one for one in versions if is_version(one) and version_order(one) < version_order(version)]
    return max(lower, key=version_order, default=None)


def _opened(version: str, where: str, read: Callable[[str, int], bytes]) -> Previous:
    manifest = read_manifest(read(MANIFEST, MANIFEST_BYTES_MAX), f"{version} {where}")
    return Previous(version, where, manifest, read)


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(limit)
