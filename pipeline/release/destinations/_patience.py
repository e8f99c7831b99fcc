"""How often something is asked again, how long is waited, and what is said in the end.

Nothing that the other side wrote is repeated in a message, since it may repeat our credentials: only its
status and its error code are.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import DestinationFailed, PipelineError, ReleaseRefused
from pipeline.release.destination import Patience

Answer = TypeVar("Answer")
TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
FIRST_WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class Trouble:
    """Why a request failed."""

    detail: str  # without anything that the other side could choose freely
    again: bool = False  # whether another attempt may help
    refused: bool = False  # whether it is the request that is wrong
    fix: str = ""
    retry_after: float | None = None  # seconds, as the other side asks for


def pause(trouble: Trouble, attempt: int, patience: Patience) -> float | None:
    """Return the seconds to wait before another attempt; None where none should follow. `attempt` counts from 1."""
    if not trouble.again or attempt >= patience.attempts:
        return None
    backoff = FIRST_WAIT_SECONDS * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
    return min(trouble.retry_after if trouble.retry_after is not None else backoff, patience.longest_wait)


def failure(trouble: Trouble, shown: str, attempt: int) -> PipelineError:
    """Return the error of the tree for a request that is not made again."""
    times = f", {attempt} times" if attempt > 1 else ""
    if trouble.refused:
        return ReleaseRefused(
            f"{shown}: the destination refuses",
            received=trouble.detail + times,
            expected="a destination that exists and credentials that may read and write there",
            fix=trouble.fix or "look at the URL, and whether these credentials may list, read and write there",
        )
    return DestinationFailed(
        f"{shown}: the destination does not work",
        received=trouble.detail + times,
        expected="an answer to the request",
        fix=trouble.fix or "run the same command again later: it goes on where this one ended",
    )


def patiently(
    call: Callable[[], Answer], judge: Callable[[Exception], Trouble | None], shown: str, patience: Patience
) -> Answer:
    """Return what `call` returns, asking again where that may help. `judge` gives None for errors to pass on."""
    attempt = 1
    while True:
        try:
            return call()
        except Exception as error:
            trouble = None if isinstance(error, PipelineError) else judge(error)
            if trouble is None:
                raise
        seconds = pause(trouble, attempt, patience)
        if seconds is None:
            raise failure(trouble, shown, attempt)
        time.sleep(seconds)
        attempt += 1


def of_status(status: int, code: str = "", retry_after: str | None = None) -> Trouble:
    """Return what an HTTP status means; `code` is the other side's name for the error, if it is a plain word."""
    detail = f"HTTP {status}" + (f" {code}" if re.fullmatch(r"[A-Za-z]{1,60}", code) else "")
    wait = float(retry_after) if retry_after and re.fullmatch(r"\d{1,6}", retry_after) else None
    if status in TEMPORARY:
        return Trouble(detail, again=True, retry_after=wait)
    if status in (401, 403):
        return Trouble(
            detail,
            refused=True,
            fix="give credentials that are valid now and may list, read and write there",
        )
    if status == 404:
        return Trouble(detail, refused=True, fix="create the bucket, or correct the URL")
    return Trouble(detail, refused=400 <= status < 500)


def of_network(error: Exception) -> Trouble | None:
    """Return what an error of a connection means; None for an error that is none of a connection."""
    name = type(error).__name__
    if isinstance(error, TimeoutError) or "Timeout" in name:
        return Trouble(f"no answer in time ({name})", again=True)
    network = isinstance(error, ConnectionError) or any(
        base.__name__ in ("ClientError", "HTTPClientError", "RequestException", "IncompleteRead")
        for base in type(error).__mro__
    )
    return Trouble(f"a connection that fails or ends early ({name})", again=True) if network else None
