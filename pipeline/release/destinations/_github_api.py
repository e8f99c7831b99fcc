"""The part of GitHub's REST API that releases need: https://docs.github.com/en/rest/releases (2022-11-28)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pipeline.errors import ReleaseRefused
from pipeline.release.destination import Patience, without_secrets
from pipeline.release.destinations._http import Answer, Client
from pipeline.release.destinations._origins import is_safe, next_page, same_origin

EXTRA = "release"
PAGES_MAX = 100  # of a hundred each: GitHub lists no more than 10,000 releases
HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
BYTES = {"Accept": "application/octet-stream", "X-GitHub-Api-Version": "2022-11-28"}
CREDENTIALS = "set GITHUB_TOKEN (or GH_TOKEN) to a token that may write the repository's contents"


@dataclass(frozen=True)
class Asset:
    """A file of a release; one that was not uploaded whole has the state "starter"."""

    id: int
    name: str
    size: int
    state: str
    digest: str  # sha256:<64 hexadecimal digits>, "" where GitHub does not know it


@dataclass(frozen=True)
class Release:
    """A release as GitHub lists it; of its assets there may be more than these."""

    id: int
    tag: str
    draft: bool
    body: str
    upload_url: str
    assets: tuple[Asset, ...]


class Repository:
    """The releases of `owner/name`, through the API at GITHUB_API_URL."""

    def __init__(self, owner: str, name: str, patience: Patience):
        self.api = os.environ.get("GITHUB_API_URL", "").strip().rstrip("/") or "https://api.github.com"
        if not is_safe(self.api, self.api) or "@" in urlsplit(self.api).netloc:
            raise ReleaseRefused(
                "GITHUB_API_URL cannot be used",
                received=without_secrets(self.api),
                expected="an https:// URL without a user, such as https://github.example/api/v3",
                fix="correct GITHUB_API_URL, or unset it for https://api.github.com",
            )
        self.shown = f"github://{owner}/{name}"
        self.base = f"{self.api}/repos/{owner}/{name}/releases"
        self.token = (os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or "").strip()
        self.client = Client(self.shown, patience, self._authorise, extra=EXTRA, credentials=CREDENTIALS)
        self.client.secrets.append(self.token)

    def releases(self) -> list[Release]:
        """Return all releases; drafts are among them for those who may write."""
        return [self._release(row) for row in self._listed(f"{self.base}?per_page=100")]

    def by_tag(self, tag: str) -> Release | None:
        """Return the published release of a tag: drafts are not found so."""
        answer = self._ask("GET", f"{self.base}/tags/{quote(tag)}", ok=(200, 404))
        return None if answer.status == 404 else self._release(self._json(answer))

    def latest(self) -> Release | None:
        """Return the release that GitHub shows as the latest; None where there is none."""
        answer = self._ask("GET", f"{self.base}/latest", ok=(200, 404))
        return None if answer.status == 404 else self._release(self._json(answer))

    def assets(self, release: Release) -> list[Asset]:
        """Return all files of a release."""
        return [self._asset(row) for row in self._listed(f"{self.base}/{release.id}/assets?per_page=100")]

    def create(self, fields: dict[str, Any], found: Any) -> Release | Answer:
        """Make a release; `found` is asked before it is tried again whether it is there. 422 is returned."""
        return self._write("POST", self.base, fields, 201, lambda: found())

    def update(self, release: Release, fields: dict[str, Any]) -> Release | Answer:
        """Change a release. 422 is returned."""
        return self._write("PATCH", f"{self.base}/{release.id}", fields, 200, lambda: None)

    def delete(self, asset: Asset) -> None:
        self._ask("DELETE", f"{self.base}/assets/{asset.id}", ok=(204, 404))

    def upload(self, release: Release, name: str, path: Path, before_again: Any) -> Answer:
        """Send a file, which is streamed from the disk; 422 says that there is one of this name."""
        url = release.upload_url.partition("{")[0]  # it is a URI template: …/assets{?name,label}
        if not self.takes_token(url):
            raise self.client.failed(f"an upload to another host, {without_secrets(url)}")
        headers = {**HEADERS, "Content-Type": "application/octet-stream"}
        url = f"{url}?name={quote(name)}"
        return self.client.ask("POST", url, headers=headers, body=path, ok=(201, 422), before_again=before_again)

    def asset_url(self, asset: Asset) -> str:
        """Return where an asset's bytes are asked for, with the headers BYTES."""
        return f"{self.base}/assets/{asset.id}"

    def need_token(self) -> None:
        """Raise ReleaseRefused where there is no token."""
        if not self.token:
            raise ReleaseRefused(
                f"{self.shown} cannot be published to without a token",
                received="neither GITHUB_TOKEN nor GH_TOKEN",
                expected="a token in the environment",
                fix=CREDENTIALS,
            )

    def _authorise(self, url: str, challenge: Any) -> str | None:
        return f"Bearer {self.token}" if self.token and challenge is None and self.takes_token(url) else None

    def takes_token(self, url: str) -> bool:
        """True for the API and its host for uploads; not for the storage that downloads are redirected to."""
        api = urlsplit(self.api)
        uploads = f"{api.scheme}://uploads.{api.netloc.removeprefix('api.')}"
        return same_origin(url, self.api) or (api.netloc.startswith("api.") and same_origin(url, uploads))

    def _ask(self, method: str, url: str, ok: tuple[int, ...]) -> Answer:
        return self.client.ask(method, url, headers=HEADERS, ok=ok)

    def _write(self, method: str, url: str, fields: dict[str, Any], done: int, found: Any) -> Release | Answer:
        there: list[Release] = []

        def look() -> Answer | None:
            there.extend(filter(None, [found()]))
            return Answer(done, {}, b"") if there else None

        body = json.dumps(fields).encode()
        answer = self.client.ask(
            method,
            url,
            headers={**HEADERS, "Content-Type": "application/json"},
            body=body,
            ok=(done, 422),
            before_again=look,
        )
        return there[0] if there else answer if answer.status == 422 else self._release(self._json(answer))

    def _listed(self, url: str) -> list[Any]:
        """Return the rows of all pages."""
        rows: list[Any] = []
        page: str | None = url
        for _ in range(PAGES_MAX):
            if page is None:
                break
            answer = self._ask("GET", page, ok=(200,))
            found = self._json(answer)
            if not isinstance(found, list):
                raise self._unlike()
            rows += found
            page = next_page(answer.headers.get("Link", ""), page)
        return rows

    def _json(self, answer: Answer) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise self._unlike() from error

    def _release(self, row: Any) -> Release:
        try:
            return Release(
                id=int(row["id"]),
                tag=str(row["tag_name"]),
                draft=bool(row["draft"]),
                body=str(row.get("body") or ""),
                upload_url=str(row["upload_url"]),
                assets=tuple(self._asset(asset) for asset in row.get("assets") or []),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unlike() from error

    def _asset(self, row: Any) -> Asset:
        try:
            digest = str(row.get("digest") or "")
            return Asset(int(row["id"]), str(row["name"]), int(row["size"]), str(row["state"]), digest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unlike() from error

    def _unlike(self) -> Exception:
        return self.client.failed("an answer that is not as GitHub documents it")
