"""Releases of a GitHub repository: `github://owner/repository`, a version's tag being `v<version>`.

A release is made as a draft, which readers do not see; its files are uploaded, read back and hashed, and the end of
the draft is the one step that publishes it. The token comes from GITHUB_TOKEN or GH_TOKEN, the API's address from
GITHUB_API_URL (as in GitHub's own workflows) and is https://api.github.com without it.

A draft is found by its tag and by a mark in its text, so that one which a person has begun is left alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import DestinationFailed, PipelineError, ReleaseRefused
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
from pipeline.release.destinations._github_api import BYTES, EXTRA, Asset, Release, Repository
from pipeline.release.destinations._http import Answer
from pipeline.release.manifest import CHECKSUMS, MANIFEST, ReleaseManifest, is_version
from pipeline.watch import Watch

__all__ = ["EXTRA", "SCHEMES", "open_destination"]
SCHEMES = ("github",)
MARK = "<!-- published by edge-deployment-pipeline -->"
_PLACE = re.compile(r"github://([A-Za-z0-9](?:[A-Za-z0-9-]{0,98}))/([A-Za-z0-9._-]{1,100}?)/?")


def open_destination(url: str, patience: Patience = Patience()) -> GitHubDestination:  # noqa: B008 (it is frozen)
    """Return the destination of a `github://` URL. Raises ReleaseRefused for one that cannot be."""
    found = _PLACE.fullmatch(url)
    if found is None or found[2] in (".", ".."):
        raise ReleaseRefused(
            "this is no GitHub repository",
            received=without_secrets(url),
            expected="github://owner/repository, without user and password",
            fix="correct the URL; the token comes from GITHUB_TOKEN or GH_TOKEN",
        )
    return GitHubDestination(Repository(found[1], found[2], patience))


class GitHubDestination:
    """The releases of a repository that were published from here: they have a manifest and checksums."""

    def __init__(self, repository: Repository):
        self.repository = repository

    def publish(self, folder: Path, version: str, watch: Watch) -> bool:
        self.repository.need_token()
        manifest, files = read_folder(folder, version)
        identity = files[CHECKSUMS][0]
        if self._is_there(version, identity):
            return False
        draft = self._draft(manifest, identity)
        self._upload(draft, folder, files, watch)
        self._read_back(draft, files, watch)
        versions = self.versions()
        fields = self._fields(manifest, identity) | {
            "draft": False,
            "make_latest": "true" if "-" not in version and newest([*versions, version]) == version else "false",
        }
        answer = self.repository.update(draft, fields)
        if isinstance(answer, Answer):
            if self._is_there(version, identity):  # another was quicker, with the same
                return False
            raise self._not_taken(answer, manifest)
        return True

    def versions(self) -> list[str]:
        return sorted_versions(
            release.tag[1:] for release in self.repository.releases() if not release.draft and _is_ours(release)
        )

    def latest(self) -> str | None:
        release = self.repository.latest()
        # GitHub has no latest where there are only pre-releases, and may show one of something else.
        return release.tag[1:] if release and _is_ours(release) else newest(self.versions())

    def open_release(self, version: str) -> PublishedRelease:
        release = self.repository.by_tag(f"v{version}") if is_version(version) else None
        if release is None:
            raise no_such_release(self.repository.shown, version, self.versions())
        return GitHubRelease(self.repository, version, self.repository.assets(release))

    def _is_there(self, version: str, identity: str) -> bool:
        """True where the same bytes are published. Raises ReleaseRefused where others are."""
        release = self.repository.by_tag(f"v{version}")
        if release is None:
            return False
        published = GitHubRelease(self.repository, version, self.repository.assets(release))
        found = ""
        if CHECKSUMS in published.names():
            found = hashlib.sha256(published.read(CHECKSUMS, 1_000_000)).hexdigest()
        if found != identity:
            raise other_bytes(self.repository.shown, version)
        return True

    def _draft(self, manifest: ReleaseManifest, identity: str) -> Release:
        """Return our draft of this version, made where there is none."""
        tag = f"v{manifest.version}"

        def found() -> Release | None:
            drafts = [row for row in self.repository.releases() if row.draft and row.tag == tag and MARK in row.body]
            return min(drafts, key=lambda row: row.id, default=None)

        draft = found() or self.repository.create(self._fields(manifest, identity) | {"draft": True}, found)
        if isinstance(draft, Answer):
            raise self._not_taken(draft, manifest)
        return draft

    def _fields(self, manifest: ReleaseManifest, identity: str) -> dict:
        return {
            "tag_name": f"v{manifest.version}",
            "target_commitish": manifest.commit,
            "name": f"{manifest.workload} {manifest.version}",
            "body": f"The SHA-256 of `{CHECKSUMS}` is `{identity}`; MODEL_CARD.md describes the models.\n\n{MARK}\n",
            "prerelease": "-" in manifest.version,
        }

    def _upload(self, draft: Release, folder: Path, files: dict[str, tuple[str, int]], watch: Watch) -> None:
        """Bring the draft's files to those of the folder; what is there whole is not sent again."""
        wanted = dict(files)
        for asset in self.repository.assets(draft):
            if asset.name in wanted and _is_whole(asset, wanted[asset.name]):
                del wanted[asset.name]
            else:
                self.repository.delete(asset)
        total = sum(size for _, size in wanted.values()) or 1
        sent = 0
        for name, facts in wanted.items():
            self._upload_file(draft, name, folder / name, facts)
            sent += facts[1]
            watch.progress({"done": 0.5 * sent / total})

    def _upload_file(self, draft: Release, name: str, path: Path, facts: tuple[str, int]) -> None:
        def cleared() -> Answer | None:
            """What an attempt left behind: taken where it is whole, deleted where it is not."""
            for asset in self.repository.assets(draft):
                if asset.name == name and _is_whole(asset, facts):
                    return Answer(201, {}, b"")
                if asset.name == name:
                    self.repository.delete(asset)
            return None

        for _ in range(self.repository.client.patience.attempts):
            answer = self.repository.upload(draft, name, path, cleared)
            if answer.status == 201 or (b"already_exists" in answer.body and cleared()):
                return
            if b"already_exists" not in answer.body:
                raise self.repository.client.refusal(answer)
        raise self.repository.client.failed(f"{name} exists already and is not the file, each time")

    def _read_back(self, draft: Release, files: dict[str, tuple[str, int]], watch: Watch) -> None:
        """Hash what the draft has. Raises DestinationFailed where it is not what was sent, which is deleted then."""
        assets = {asset.name: asset for asset in self.repository.assets(draft)}
        if set(assets) != set(files):
            raise self.repository.client.failed(f"other files than were sent: {sorted(set(assets) ^ set(files))}")
        release = GitHubRelease(self.repository, draft.tag[1:], list(assets.values()))
        total, done = sum(size for _, size in files.values()) or 1, 0
        for name, (sha256, _) in files.items():
            found = hashlib.sha256()
            for part in release.stream(name, verify=False):
                found.update(part)
                done += len(part)
                watch.progress({"done": 0.5 + 0.5 * done / total})
            if found.hexdigest() != sha256:
                self.repository.delete(assets[name])
                raise _altered(self.repository, name, sha256)

    def _not_taken(self, answer: Answer, manifest: ReleaseManifest) -> PipelineError:
        return ReleaseRefused(
            f"{self.repository.shown} does not take v{manifest.version}",
            received=self.repository.client.refusal(answer).received,
            expected=f"a repository that has the commit {manifest.commit}",
            fix="push the commit, then run the same command again",
        )


class GitHubRelease:
    """One release; a file read from its beginning is hashed where GitHub tells its digest."""

    def __init__(self, repository: Repository, version: str, assets: list[Asset]):
        self.repository, self.version = repository, version
        self.assets = {asset.name: asset for asset in assets if asset.state == "uploaded"}

    def read(self, name: str, limit: int) -> bytes:
        asset = self._asset(name)
        if asset.size > limit:
            raise too_long(self._shown(), name, asset.size, limit)
        return b"".join(self.stream(name))

    def stream(self, name: str, offset: int = 0, *, verify: bool = True) -> Iterator[bytes]:
        return self._streamed(self._asset(name), offset, verify)

    def names(self) -> list[str]:
        return sorted(self.assets)

    def _streamed(self, asset: Asset, offset: int, verify: bool) -> Iterator[bytes]:
        found = hashlib.sha256()
        for part in self.repository.client.stream(self.repository.asset_url(asset), offset, asset.size, BYTES):
            found.update(part)
            yield part
        known = asset.digest.partition(":")[2] if asset.digest.startswith("sha256:") else ""
        if verify and known and offset == 0 and found.hexdigest() != known:
            raise _altered(self.repository, asset.name, known)

    def _asset(self, name: str) -> Asset:
        if name not in self.assets:
            raise no_such_file(self._shown(), name, self.assets)
        return self.assets[name]

    def _shown(self) -> str:
        return f"{self.repository.shown} {self.version}"


def _is_ours(release: Release) -> bool:
    names = {asset.name for asset in release.assets}
    return release.tag.startswith("v") and is_version(release.tag[1:]) and {MANIFEST, CHECKSUMS} <= names


def _is_whole(asset: Asset, facts: tuple[str, int]) -> bool:
    """True where an asset is what was to be sent; without a digest the size speaks, and it is read back later."""
    sha256, size = facts
    return asset.state == "uploaded" and asset.size == size and asset.digest in ("", f"sha256:{sha256}")


def _altered(repository: Repository, name: str, sha256: str) -> PipelineError:
    return DestinationFailed(
        f"{repository.shown}: {name} is not what was sent or what its digest says",
        received="other bytes",
        expected=f"SHA-256 {sha256}",
        fix="do not use it; run the same command again, which sends it anew where it is not published yet",
    )
