"""One repository of an OCI registry: its blobs, manifests and tags, each hashed as it arrives.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md. oras finds the credentials and gets the
tokens; the transfers are plain requests, since oras reads whole blobs into memory to upload them, waits without a
limit, tries again for minutes, and takes altered blobs for good ones.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

from pipeline.errors import DestinationFailed, PipelineError, ReleaseRefused
from pipeline.release.destination import Patience
from pipeline.release.destinations._http import Answer, Client, missing_library
from pipeline.release.destinations._oci_manifest import INDEX_TYPE, MANIFEST_TYPE, Blob, blob_of
from pipeline.release.destinations._origins import is_safe, next_page, same_origin

EXTRA = "oci"
ACCEPTED = {"Accept": f"{MANIFEST_TYPE}, {INDEX_TYPE}"}
TAG_PAGES_MAX = 1_000
CREDENTIALS = "log in with `docker login` (DOCKER_CONFIG names its folder), or set ORAS_USER and ORAS_PASS"


class Repository:
    """`host[:port]` and the repository's name, such as `team/models`."""

    def __init__(self, host: str, name: str, patience: Patience):
        scheme = "http" if is_safe(f"http://{host}", f"http://{host}") else "https"
        self.origin = f"{scheme}://{host}"
        self.base = f"{self.origin}/v2/{name}"
        self.shown = f"oci://{host}/{name}"
        self.client = Client(self.shown, patience, self._authorise, extra=EXTRA, credentials=CREDENTIALS)
        self._host, self._name = host, name
        self._header: str | None = None
        self._known: dict[str, Any] | None = None

    def manifest(self, reference: str) -> bytes | None:
        """Return the manifest of a tag or digest, which its digest was compared with; None where there is none."""
        answer = self.client.ask("GET", f"{self.base}/manifests/{reference}", headers=ACCEPTED, ok=(200, 404))
        if answer.status == 404:
            return None
        digest = reference if ":" in reference else answer.headers.get("Docker-Content-Digest", "")
        if digest and blob_of(answer.body).digest != digest:
            raise self.altered(f"the manifest {reference}", digest)
        return answer.body

    def put_manifest(self, reference: str, content: bytes, media_type: str = MANIFEST_TYPE) -> Answer:
        """Write a manifest under a tag or its digest."""
        headers = {"Content-Type": media_type}
        url = f"{self.base}/manifests/{reference}"
        return self.client.ask("PUT", url, headers=headers, body=content, ok=(201, 202))

    def put_blob(self, blob: Blob, content: bytes | Path) -> None:
        """Write a blob, from the disk where `content` is a path; nothing where the registry says it has it."""
        if self.client.ask("HEAD", f"{self.base}/blobs/{blob.digest}", ok=(200, 404)).status == 200:
            return
        headers = {"Content-Type": "application/octet-stream"}
        for _ in range(self.client.patience.attempts):
            begun = self.client.ask("POST", f"{self.base}/blobs/uploads/", ok=(202,))
            where = urljoin(self.base, begun.headers.get("Location", ""))
            if not is_safe(where, self.origin):
                raise self.client.failed("an upload to be sent to where it can be read on the way")
            where += ("&" if "?" in where else "?") + urlencode({"digest": blob.digest})
            # An upload that was cut may be over for the registry (404): a new one begins from the start.
            answer = self.client.ask("PUT", where, headers=headers, body=content, ok=(201, 404, 416))
            if answer.status == 201:
                return
        raise self.client.failed(f"status {answer.status} for an upload, each time")

    def stream(self, blob: Blob, name: str, offset: int = 0) -> Iterator[bytes]:
        """Yield a blob from a byte on. Read from 0, it is hashed: DestinationFailed where it is not what its digest
        says. Read from a later byte only its length is known; who resumed hashes the whole."""
        found = hashlib.sha256()
        for part in self.client.stream(f"{self.base}/blobs/{blob.digest}", offset, blob.size):
            found.update(part)
            yield part
        if offset == 0 and f"sha256:{found.hexdigest()}" != blob.digest:
            raise self.altered(name, blob.digest)

    def tags(self) -> list[str]:
        """Return all tags; empty where the registry does not have the repository."""
        url: str | None = f"{self.base}/tags/list?n=1000"
        found: list[str] = []
        for _ in range(TAG_PAGES_MAX):
            if url is None:
                break
            answer = self.client.ask("GET", url, ok=(200, 404))
            if answer.status == 404:
                return found
            try:
                found += [tag for tag in answer.json()["tags"] or [] if isinstance(tag, str)]
            except (ValueError, KeyError, TypeError) as error:
                raise self.client.failed("a list of tags that is none") from error
            url = next_page(answer.headers.get("Link", ""), url)
        return found

    def altered(self, what: str, digest: str) -> PipelineError:
        return DestinationFailed(
            f"{self.shown}: {self.client.shown(what)} is not what its digest says",
            received="other bytes",
            expected=digest,
            fix="do not use this release; have the registry's storage repaired, or publish to another repository",
        )

    def _authorise(self, url: str, challenge: Any) -> str | None:
        """Return the Authorization for a request; nothing for another host, such as that of a storage."""
        if not same_origin(url, self.origin):
            return None
        if challenge is not None:
            self._header = self._answer_to(challenge)
        return self._header

    def _answer_to(self, challenge: Any) -> str | None:
        """Return the Authorization that a 401 asks for: a Basic one, or a token that is fetched for it."""
        import oras.auth
        import oras.auth.utils

        asked = challenge.headers.get("WWW-Authenticate", "")
        kind = "basic" if asked[:5].casefold() == "basic" else "token"
        realm = oras.auth.utils.parse_auth_header(asked).realm or ""
        if kind == "token" and not is_safe(realm, self.origin):
            return None  # the password would be sent where it can be read
        backend = oras.auth.get_auth_backend(kind, self.client.session, insecure=self.origin.startswith("http:"))
        basic = self._basic(backend)
        if basic:
            backend._basic_auth = basic
            self.client.secrets += [basic, *_decoded(basic).split(":", 1)[1:]]
        elif kind == "basic":
            return None
        headers, changed = backend.authenticate_request(challenge, {})
        value = headers.get("Authorization") if changed else None
        if value:
            self.client.secrets.append(value.partition(" ")[2])
        return value

    def _basic(self, backend: Any) -> str:
        """Return user and password, in base64, of the environment or of docker's configuration; "" without any."""
        import oras.auth.utils
        import oras.container

        user, password = os.environ.get("ORAS_USER"), os.environ.get("ORAS_PASS")
        if user and password:
            return oras.auth.utils.get_basic_auth(user, password)
        # oras reads ~/.docker alone, and adds it to any other: docker itself reads the one that DOCKER_CONFIG names.
        folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        path = Path(folder) / "config.json"
        try:
            known = json.loads(path.read_bytes()) if path.is_file() else {}
            backend._auth_config = {
                "auths": dict(known.get("auths") or {}),
                "credsStore": known.get("credsStore"),
                "credHelpers": dict(known.get("credHelpers") or {}),
            }
            backend.load_configs(oras.container.Container(f"{self._host}/{self._name}"))
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise ReleaseRefused(
                "docker's configuration cannot be read",
                received=type(error).__name__,
                expected="the config.json that `docker login` writes",
                fix=CREDENTIALS,
            ) from error
        return getattr(backend, "_basic_auth", "")


def need_oras() -> None:
    """Raise EnvironmentUnsuited where oras is not installed; let it write nothing of its own."""
    try:
        import oras.auth
        import oras.logger
    except ModuleNotFoundError as error:
        raise missing_library(error, EXTRA) from error
    oras.logger.logger.set_level(logging.CRITICAL + 1)


def _decoded(basic: str) -> str:
    try:
        return base64.b64decode(basic).decode("utf-8", "replace")
    except ValueError:
        return ""
