"""A stand-in for GitHub's releases, after its documentation: https://docs.github.com/en/rest/releases

Drafts are seen by whoever may write and are not found by their tag; lists come in pages, with a Link header; an
upload that was cut leaves an asset in the state "starter", and a second of its name is 422 `already_exists`; bytes
are redirected to a storage on another host, which takes no token and does ranges; without a token a write is 404.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.http_faults import FaultyHandler, FaultyServer, serving

TOKEN, READER = "ghp_test0token0that0writes", "ghp_test0token0that0reads"
Response = tuple[int, Mapping[str, str], bytes]


class GitHub(FaultyServer):
    """One repository, `team/models`."""

    def __init__(self, commits: set[str], storage: Storage):
        super().__init__(_Api)
        self.commits, self.storage = commits, storage
        self.rows: dict[int, dict[str, Any]] = {}  # releases, each with its "assets"
        self.latest: int | None = None
        self.page_size = 3
        self.tells_digests = True
        self.upload_base = f"http://{self.address}"
        self.numbers = 0

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def shown(self, row: dict[str, Any]) -> dict[str, Any]:
        upload = f"{self.upload_base}/repos/team/models/releases/{row['id']}/assets{{?name,label}}"
        return {**row, "upload_url": upload, "assets": [self.shown_asset(asset) for asset in row["assets"]]}

    def shown_asset(self, asset: dict[str, Any]) -> dict[str, Any]:
        return asset if self.tells_digests else {**asset, "digest": None}

    def add_asset(self, row: dict[str, Any], name: str, content: bytes, whole: bool) -> dict[str, Any]:
        asset = {"id": self.number(), "name": name, "state": "starter", "size": 0, "digest": None}
        if whole:
            digest = hashlib.sha256(content).hexdigest()
            asset |= {"state": "uploaded", "size": len(content), "digest": f"sha256:{digest}"}
            self.storage.files[asset["id"]] = content
        row["assets"].append(asset)
        return asset


class _Api(FaultyHandler):
    server: GitHub

    def respond(self, body: bytes) -> Response:
        parts = urlsplit(self.path)
        told = self.headers.get("Authorization", "")
        if told and told not in (f"Bearer {TOKEN}", f"Bearer {READER}"):
            return _json(401, {"message": f"Bad credentials {told}"})
        if "User-Agent" not in self.headers:
            return _json(403, {"message": "Request forbidden by administrative rules"})
        base = "/repos/team/models/releases"
        if not parts.path.startswith(base):
            return _json(404, {"message": "Not Found"})
        if self.command != "GET" and not told:
            return _json(404, {"message": "Not Found"})
        if self.command != "GET" and told != f"Bearer {TOKEN}":
            return _json(403, {"message": "Resource not accessible by personal access token"})
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self.server.lock:
            return self.answer(parts.path.removeprefix(base), query, body, told == f"Bearer {TOKEN}")

    def answer(self, path: str, query: dict[str, str], body: bytes, writes: bool) -> Response:
        server, rows = self.server, self.server.rows
        visible = [row for row in reversed(rows.values()) if writes or not row["draft"]]
        found = re.fullmatch(r"/(\d+)(/assets)?", path)
        row = rows.get(int(found[1])) if found else None
        if path == "" and self.command == "GET":
            return self.page([server.shown(row) for row in visible], query)
        if path == "" and self.command == "POST":
            return self.save({"id": server.number(), "assets": [], "draft": False, "prerelease": False}, body, 201)
        if path == "/latest":
            candidates = [row for row in visible if not row["draft"] and not row["prerelease"]]
            chosen = rows.get(server.latest or 0) or (candidates[0] if candidates else None)
            return _json(200, server.shown(chosen)) if chosen else _json(404, {"message": "Not Found"})
        if path.startswith("/tags/"):
            tagged = [row for row in visible if not row["draft"] and row["tag_name"] == path.removeprefix("/tags/")]
            return _json(200, server.shown(tagged[0])) if tagged else _json(404, {"message": "Not Found"})
        if row is not None and found and not found[2] and self.command == "PATCH":
            return self.save(row, body, 200)
        if row is not None and found and found[2] and self.command == "GET":
            return self.page([server.shown_asset(asset) for asset in row["assets"]], query)
        if row is not None and found and found[2] and self.command == "POST":
            return self.upload(row, query["name"], body)
        return self.asset(path)

    def save(self, row: dict[str, Any], body: bytes, status: int) -> Response:
        server, fields = self.server, json.loads(body)
        new = {**row, **{name: value for name, value in fields.items() if name != "make_latest"}}
        others = [other for other in server.rows.values() if other["id"] != row["id"] and not other["draft"]]
        if new["target_commitish"] not in server.commits:
            return _invalid("Release", "invalid", "target_commitish")
        if not new["draft"] and any(other["tag_name"] == new["tag_name"] for other in others):
            return _invalid("Release", "already_exists", "tag_name")
        server.rows[row["id"]] = new
        if not new["draft"] and not new["prerelease"] and fields.get("make_latest", "true") == "true":
            server.latest = row["id"]
        return _json(status, server.shown(new))

    def upload(self, row: dict[str, Any], name: str, body: bytes) -> Response:
        if "Content-Length" not in self.headers:
            return _json(411, {"message": "Length Required"})
        if any(asset["name"] == name for asset in row["assets"]):
            return _invalid("ReleaseAsset", "already_exists", "name")
        whole = len(body) == int(self.headers["Content-Length"])
        return _json(201, self.server.shown_asset(self.server.add_asset(row, name, body, whole)))

    def dropped(self, length: int) -> None:
        parts = urlsplit(self.path)
        found = re.search(r"/releases/(\d+)/assets$", parts.path)
        if found and self.command == "POST":
            name = parse_qs(parts.query)["name"][0]
            with self.server.lock:
                self.server.add_asset(self.server.rows[int(found[1])], name, b"", False)

    def asset(self, path: str) -> Response:
        number = int(path.removeprefix("/assets/")) if re.fullmatch(r"/assets/\d+", path) else 0
        for row in self.server.rows.values():
            for asset in row["assets"]:
                if asset["id"] != number:
                    continue
                if self.command == "DELETE":
                    row["assets"].remove(asset)
                    return 204, {}, b""
                if self.headers.get("Accept") != "application/octet-stream":
                    return _json(200, asset)
                return 302, {"Location": f"http://{self.server.storage.address}/{number}?signature=s1gned"}, b""
        return _json(404, {"message": "Not Found"})

    def page(self, rows: list[Any], query: dict[str, str]) -> Response:
        number, size = int(query.get("page", 1)), min(int(query.get("per_page", 30)), self.server.page_size)
        status, headers, body = _json(200, rows[(number - 1) * size : number * size])
        if number * size < len(rows):
            target = f"{self.server.url}{urlsplit(self.path).path}?per_page={size}&page={number + 1}"
            headers = {**headers, "Link": f'<{target}>; rel="next"'}
        return status, headers, body


class Storage(FaultyServer):
    """Where assets' bytes are: another origin, whose URLs are signed."""

    def __init__(self) -> None:
        super().__init__(_Storage)
        self.files: dict[int, bytes] = {}
        self.does_ranges = True


class _Storage(FaultyHandler):
    server: Storage

    def respond(self, body: bytes) -> Response:
        if "Authorization" in self.headers:
            return 400, {}, b"<Error><Code>InvalidArgument</Code></Error>"
        content = self.server.files.get(int(urlsplit(self.path).path.strip("/")))
        if content is None:
            return 404, {}, b""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted is None or not self.server.does_ranges:
            return 200, {}, content
        begin = int(wanted[1])
        if begin >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        return 206, {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}, content[begin:]


@contextmanager
def running_github(commits: set[str]) -> Iterator[GitHub]:
    """Run the API and its storage; set GITHUB_API_URL to the `url` of what is yielded."""
    with serving(Storage()) as storage, serving(GitHub(commits, storage)) as github:  # type: ignore[arg-type]
        yield github  # type: ignore[misc]


def _json(status: int, document: Any) -> Response:
    return status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(document).encode()


def _invalid(resource: str, code: str, field: str) -> Response:
    errors = [{"resource": resource, "code": code, "field": field}]
    return _json(422, {"message": "Validation Failed", "errors": errors})
