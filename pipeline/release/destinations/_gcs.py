"""Google's storage as a store, by its JSON API (https://cloud.google.com/storage/docs/json_api/v1/objects).

The claim and the index are written with ifGenerationMatch
(https://cloud.google.com/storage/docs/request-preconditions), so that of two publishers one is told that it was
slower. `gcsfs.core.GCSFileSystem` and not gcsfs's default class, which asks each bucket by gRPC what kind it is and
so stalls for a minute where nothing answers that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.release.destination import Patience
from pipeline.release.destinations._any import parts
from pipeline.release.destinations._objects import ABSENT, WINDOW_BYTES, Found, too_long
from pipeline.release.destinations._patience import Trouble, failure, of_network, of_status, pause
from pipeline.watch import Watch

PART_BYTES = 8 << 20  # a multiple of 256 KiB, as resumable uploads need


class Answered(Exception):
    """An answer of the server that is an error."""

    def __init__(self, status: int, retry_after: str | None = None):
        super().__init__(status)
        self.status, self.retry_after = status, retry_after


def open_gcs(bucket: str, prefix: str, shown: str, patience: Patience) -> GcsObjects:
    """Return the `Objects` of a bucket below `prefix`. Raises ImportError without gcsfs."""
    import aiohttp
    from gcsfs.core import GCSFileSystem

    class Patient(GCSFileSystem):
        """gcsfs, with each request asked as often and as long as `patience` says, and nothing of it logged."""

        async def _request(self, method: str, path: str, *arguments: Any, **named: Any) -> Any:
            attempt = 1
            while True:
                try:
                    return await self.ask(method, path, *arguments, **named)
                except Exception as error:
                    trouble = _trouble(error)
                seconds = pause(trouble, attempt, patience)
                if seconds is None:
                    raise failure(trouble, shown, attempt)
                await asyncio.sleep(seconds)
                attempt += 1

        async def ask(
            self,
            method: str,
            path: str,
            *arguments: Any,
            headers: dict[str, str] | None = None,
            json: Any = None,
            data: Any = None,
            cache_type: Any = None,
            cache_source: Any = None,
            **parameters: Any,
        ) -> Any:
            await self._set_session()
            async with self.session.request(
                method=method,
                url=self._format_path(path, arguments),
                params=self._get_params(parameters),
                json=json,
                headers=self._get_headers(headers),
                data=data,
            ) as answer:
                if answer.status >= 400:
                    raise Answered(answer.status, answer.headers.get("Retry-After"))
                content = await answer.read()
                return answer.status, answer.headers, answer.request_info, content

    waits = aiohttp.ClientTimeout(total=None, sock_connect=patience.seconds, sock_read=patience.seconds)
    system = Patient(
        skip_instance_cache=True,
        use_listings_cache=False,
        token="anon" if os.environ.get("STORAGE_EMULATOR_HOST") else None,
        session_kwargs={"timeout": waits},
    )
    return GcsObjects(system, bucket, prefix, shown)


@dataclass(frozen=True)
class GcsObjects:
    """The `Objects` of a bucket, below `prefix`."""

    system: Any  # gcsfs.core.GCSFileSystem
    bucket: str
    prefix: str
    shown: str

    def read(self, path: str, limit: int) -> Found | None:
        try:
            facts = self._facts(path)
            size = int(facts["size"])
            if size > limit:
                raise too_long(f"{self.shown}/{path}", limit)
            # Of the same state as the tag, or newer: then a conditional write with that tag fails, as it should.
            content = self._get(path)
        except FileNotFoundError:
            self._check_bucket()
            return None
        return Found(content, str(facts["generation"]))

    def stream(self, path: str, offset: int = 0) -> Iterator[bytes]:
        size = int(self._facts(path)["size"])
        while offset < size:
            end = min(offset + WINDOW_BYTES, size)
            yield from parts(self._get(path, offset, end))
            offset = end

    def sizes(self, folder: str) -> dict[str, int]:
        start = self._key(folder) + "/"
        found: dict[str, int] = {}
        more: dict[str, str] = {}
        while True:
            page = self._call("GET", "b/{}/o", self.bucket, prefix=start, json_out=True, **more)
            found |= {item["name"].removeprefix(start): int(item["size"]) for item in page.get("items", [])}
            if "nextPageToken" not in page:
                return found
            more = {"pageToken": page["nextPageToken"]}

    def write(self, path: str, content: bytes, expected: str | None = None) -> bool:
        condition = {} if expected is None else {"ifGenerationMatch": "0" if expected == ABSENT else expected}
        try:
            self._call(
                "POST",
                f"{self.system._location}/upload/storage/v1/b/{self.bucket}/o",
                uploadType="media",
                name=self._key(path),
                data=content,
                headers={"Content-Type": "application/octet-stream"},
                **condition,
            )
        except Answered as answered:
            if answered.status != 412:
                raise
            return False
        return True

    def put(self, path: str, source: Path) -> None:
        target = f"{self.bucket}/{self._key(path)}"
        try:
            self._run(lambda: self.system._put_file(str(source), target, chunksize=PART_BYTES))
        except Answered as answered:
            raise failure(of_status(answered.status), self.shown, 1) from None

    def publishing(self, folder: str, watch: Watch) -> AbstractContextManager[None]:
        return contextlib.nullcontext()  # what is left of an interrupted upload is removed by Google after a week

    def _check_bucket(self) -> None:
        """Raise ReleaseRefused where it is the bucket that is missing."""
        try:
            self._call("GET", "b/{}/o", self.bucket, maxResults=1)
        except FileNotFoundError:
            raise failure(of_status(404), self.shown, 1) from None

    def _facts(self, path: str) -> dict[str, Any]:
        return self._call("GET", "b/{}/o/{}", self.bucket, self._key(path), json_out=True)

    def _get(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        headers = {} if end is None else {"Range": f"bytes={start}-{end - 1}"}
        _, content = self._call("GET", "b/{}/o/{}", self.bucket, self._key(path), alt="media", headers=headers)
        if end is not None and len(content) != end - start:
            raise failure(Trouble("a body of another length than asked for"), self.shown, 1)
        return content

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _call(self, method: str, path: str, *arguments: str, **named: Any) -> Any:
        try:
            return self._run(lambda: self.system._call(method, path, *arguments, **named))
        except Answered as answered:
            if answered.status == 404:
                raise FileNotFoundError(path) from None
            raise

    def _run(self, call: Any) -> Any:
        """Run a coroutine on fsspec's own loop, in whose thread the connections live."""
        from fsspec.asyn import sync

        return sync(self.system.loop, call)


def _trouble(error: Exception) -> Trouble:
    """Return what an error means. Raises `Answered` for 404 and 412, which callers understand, and our own errors."""
    if isinstance(error, PipelineError):
        raise error
    if isinstance(error, Answered):
        if error.status in (404, 412):
            raise error
        return of_status(error.status, retry_after=error.retry_after)
    if type(error).__module__.startswith("google.auth"):
        return Trouble(
            f"no usable credentials ({type(error).__name__})",
            refused=True,
            fix="run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
        )
    return of_network(error) or Trouble(f"an error ({type(error).__name__})")
