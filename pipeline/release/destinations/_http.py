"""HTTP requests that are bounded in time, made again where that can help, and hold no secret in what they say.

What may be asked again (a lost connection, 408, 429, 5xx, and 403 where it is a rate limit) is, `Patience.attempts`
times, after the wait that the server names (`Retry-After`, or `x-ratelimit-reset` as GitHub has it) or one that
doubles, never longer than `Patience.longest_wait`. Redirects are followed here and not by `requests`, since an
`Authorization` must not go to another host, and none from HTTPS to HTTP.
"""

from __future__ import annotations

import email.utils
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin

from pipeline.errors import DestinationFailed, EnvironmentUnsuited, PipelineError, ReleaseRefused
from pipeline.release.destination import CHUNK_BYTES, Patience, without_secrets
from pipeline.release.destinations._origins import is_safe

ANSWER_BYTES_MAX = 8_000_000  # of one that is read whole, such as a list of releases
SLOWEST = 1_000  # bytes/s that an answer must come with, or it hangs
REDIRECTS_MAX = 5
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A whole answer; header names are those of the server, found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises ValueError where it is none."""
        try:
            return json.loads(self.body)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


class _TryAgain(Exception):
    """An attempt that did not work, where another may."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait  # seconds, where the server named them


# What goes into the Authorization of a request to this URL; the second argument is the answer 401 to the one before.
Authorise = Callable[[str, Any], str | None]


class Client:
    """Asks one server. `place` names it in messages; texts in `secrets` appear in none of them."""

    def __init__(self, place: str, patience: Patience, authorise: Authorise, *, extra: str, credentials: str):
        self.place, self.patience, self.authorise = place, patience, authorise
        self.credentials = credentials  # how to give them: what an error's fix says
        self.secrets: list[str] = []
        self.session = new_session(patience, extra)

    def ask(
        self,
        method: str,
        url: str,
        *,
        ok: tuple[int, ...] = (200,),
        headers: Mapping[str, str] | None = None,
        body: bytes | Path = b"",
        before_again: Callable[[], Answer | None] = lambda: None,
    ) -> Answer:
        """Return the whole answer, of a status in `ok`; a Path as body is streamed from the disk.

        `before_again` is called before each further attempt: a request that must not be made twice looks there
        whether it worked after all, and returns what it should have been answered.
        Raises ReleaseRefused for 401, 403 and 404, DestinationFailed for whatever else does not work.
        """

        def attempt() -> Answer:
            with self._once(method, url, headers or {}, body) as response:
                content = bytearray()
                for part in _parts(response, self.patience):
                    content += part
                    if len(content) > ANSWER_BYTES_MAX:
                        raise self.failed(f"an answer of more than {ANSWER_BYTES_MAX:,} bytes")
            # GitHub's secondary limits may come without a header: its documentation says to wait a minute then.
            if response.status_code == 403 and b"rate limit" in content.lower():
                raise _TryAgain("status 403, a rate limit", 60.0)
            return Answer(response.status_code, response.headers, bytes(content))

        answer = self._attempts(attempt, before_again)
        if answer.status not in ok:
            raise self.refusal(answer)
        return answer

    def stream(self, url: str, offset: int, size: int, headers: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """Yield the `size - offset` bytes from `offset` on; a body that is cut is continued with a Range request."""
        at, idle = offset, 0
        while at < size:
            began = at
            try:
                with self._attempts(functools.partial(self._range, url, at, headers or {}), lambda: None) as response:
                    behind = at if response.status_code == 200 else 0  # the server does not do ranges
                    for part in _parts(response, self.patience):
                        behind, part = max(0, behind - len(part)), part[behind:]
                        at += len(part)
                        if at > size:
                            raise self.failed(f"more than the {size:,} bytes that the file has")
                        if part:
                            yield part
                reason = f"a body that ends after {at:,} of {size:,} bytes"
            except _TryAgain as again:
                reason = str(again)
            idle = 0 if at - began >= CHUNK_BYTES else idle + 1
            if at < size and idle >= self.patience.attempts:
                raise self.failed(f"{reason}, {idle} times")

    def _range(self, url: str, offset: int, headers: Mapping[str, str]) -> Any:
        """Return the open answer to a request for the bytes from `offset` on."""
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._once("GET", url, {**headers, **wanted}, b"")
        begins = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        if response.status_code == 200 or (response.status_code == 206 and offset and begins):
            return response
        with response:
            if response.status_code == 206:
                raise self.failed(f"another range than the one from byte {offset}")
            raise self.refusal(Answer(response.status_code, response.headers, response.raw.read(2000)))

    def _attempts(self, action: Callable[[], T], before_again: Callable[[], T | None]) -> T:
        """Return what `action` returns, which is called again while it raises _TryAgain."""
        for attempt in range(1, self.patience.attempts + 1):
            try:
                if attempt > 1 and (found := before_again()) is not None:
                    return found
                with _network_errors(self.patience):
                    return action()
            except _TryAgain as again:
                reason = f"{again} ({attempt} attempts)"
                wait = again.wait if again.wait is not None else 0.5 * 2 ** (attempt - 1)
            if attempt < self.patience.attempts:
                time.sleep(max(0.0, min(wait, self.patience.longest_wait)))
        raise self.failed(reason)

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Path) -> Any:
        """Return an open answer that needs no other attempt; redirects of GET and HEAD are followed."""
        challenge = None
        for _ in range(REDIRECTS_MAX):
            sent = {"Accept-Encoding": "identity", "User-Agent": "edge-deployment-pipeline", **headers}
            value = self.authorise(url, challenge)
            if value:
                sent["Authorization"] = value
            response = self._send(method, url, sent, body)
            if response.status_code == 401 and challenge is None:
                challenge = response
                again = self.authorise(url, challenge)
                if again:
                    response.close()
                    sent["Authorization"] = again
                    response = self._send(method, url, sent, body)
            where = response.headers.get("Location", "")
            if method not in ("GET", "HEAD") or response.status_code not in (301, 302, 303, 307, 308) or not where:
                _check_status(response)
                return response
            response.close()
            target = urljoin(url, where)
            if not is_safe(target, url):
                raise self.failed(f"a redirect to {without_secrets(target)}, which is not HTTPS")
            url, challenge = target, None
        raise self.failed(f"more than {REDIRECTS_MAX} redirects")

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Path) -> Any:
        options: dict[str, Any] = {"headers": headers, "stream": True, "allow_redirects": False}
        # An empty file is sent as b"", for which Content-Length is written and not a chunked body.
        if isinstance(body, Path) and body.stat().st_size:
            with body.open("rb") as file:
                return self.session.request(method, url, data=file, **options)
        return self.session.request(method, url, data=b"" if isinstance(body, Path) else body, **options)

    def failed(self, received: str) -> DestinationFailed:
        """Return the error of a server that does not do its part."""
        return DestinationFailed(
            f"{self.place} fails",
            received=self.shown(received),
            expected="complete answers in time",
            fix="run the same command again later: it continues; what is published stays as it is",
        )

    def refusal(self, answer: Answer) -> PipelineError:
        """Return the error for a status that no other attempt changes."""
        received = self.shown(f"status {answer.status} {_said(answer)}".strip())
        if answer.status in (401, 403):
            return ReleaseRefused(
                f"{self.place} does not accept the credentials",
                received=received,
                expected="credentials that may do this, and have not expired",
                fix=self.credentials,
            )
        if answer.status == 404:
            return ReleaseRefused(
                f"{self.place} has no such thing, or does not show it with these credentials",
                received=received,
                expected="a place that exists",
                fix=f"check the URL; {self.credentials}",
            )
        return self.failed(received)

    def shown(self, text: str) -> str:
        """Return a text fit for a message: printable, short, without secrets."""
        for secret in sorted(filter(None, self.secrets), key=len, reverse=True):
            text = text.replace(secret, "…")
        text = "".join(letter if letter.isprintable() else " " for letter in without_secrets(text))
        return text[:300]


def new_session(patience: Patience, extra: str) -> Any:
    """Return a requests.Session of which no request waits longer than `patience.seconds` for the next bytes."""
    try:
        import requests
    except ModuleNotFoundError as error:
        raise missing_library(error, extra) from error

    class Bounded(requests.Session):
        def request(self, *arguments: Any, **options: Any) -> requests.Response:
            options.setdefault("timeout", patience.seconds)
            return super().request(*arguments, **options)

    session = Bounded()
    session.auth = lambda request: request  # else requests puts what ~/.netrc has in the place of our Authorization
    return session


def missing_library(error: ModuleNotFoundError, extra: str) -> EnvironmentUnsuited:
    """Return the error for a library that an extra of this project brings."""
    return EnvironmentUnsuited(
        f"this destination needs {error.name}, which is not installed",
        received="no such distribution",
        expected=f"the libraries of the extra {extra!r}",
        fix=f"pip install 'edge-deployment-pipeline[{extra}]'",
    )


class _network_errors:
    """Turns what requests and urllib3 raise into _TryAgain, without their texts: they may hold signed URLs."""

    def __init__(self, patience: Patience):
        self.patience = patience

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        import requests
        import urllib3

        if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
            raise _TryAgain(f"no answer within {self.patience.seconds:g} s") from error
        if isinstance(error, (requests.RequestException, urllib3.exceptions.HTTPError)):
            reason = getattr(error.args[0], "reason", None) if error.args else None
            raise _TryAgain(f"no connection, or one that was cut: {type(reason or error).__name__}") from error


def _parts(response: Any, patience: Patience) -> Iterator[bytes]:
    """Yield the body as it comes. Raises _TryAgain where it is cut, or slower than SLOWEST: one byte at a time may
    come in time each, and hangs all the same."""
    waited, got = 0.0, 0
    while True:
        began = time.monotonic()
        with _network_errors(patience):
            part = response.raw.read1(CHUNK_BYTES)
        if not part:
            return
        waited, got = waited + time.monotonic() - began, got + len(part)
        if waited > patience.seconds:
            if got < SLOWEST * waited:
                raise _TryAgain(f"an answer slower than {SLOWEST:,} bytes/s")
            waited, got = 0.0, 0
        yield part


def _check_status(response: Any) -> None:
    """Raise _TryAgain for a status that another attempt may change."""
    status, headers = response.status_code, response.headers
    limited = status == 429 or (
        status == 403 and ("Retry-After" in headers or headers.get("x-ratelimit-remaining") == "0")
    )
    if not limited and status not in (408, 500, 502, 503, 504):
        return
    response.close()
    wait = None
    told = headers.get("Retry-After", "").strip()
    if told.isdigit():
        wait = float(told)
    elif told and (date := email.utils.parsedate_tz(told)):
        wait = email.utils.mktime_tz(date) - time.time()
    elif limited and headers.get("x-ratelimit-reset", "").isdigit():
        wait = float(headers["x-ratelimit-reset"]) - time.time()
    raise _TryAgain(f"status {status}" + (", a rate limit" if limited else ""), wait)


def _said(answer: Answer) -> str:
    """Return what the server says of an error, as registries and GitHub do."""
    try:
        said = answer.json()
        first = said["errors"][0] if said.get("errors") else {}
        return " ".join(str(text) for text in (said.get("message"), first.get("code"), first.get("message")) if text)
    except (ValueError, KeyError, AttributeError, TypeError, IndexError):
        return answer.body[:200].decode("utf-8", "replace")
