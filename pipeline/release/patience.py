"""`--timeout`: how long the other side is waited for."""

from __future__ import annotations

from pipeline.errors import RequestError
from pipeline.release.destination import Patience


def patience(seconds: str) -> Patience:
    """Return the Patience that `--timeout` asks for. Raises RequestError for what is no number of seconds."""
    try:
        value = float(seconds)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise RequestError(
            "--timeout is no time", received=seconds, expected="seconds, above 0 and at most 3600", fix="--timeout=30"
        )
    return Patience(seconds=value, longest_wait=min(value, Patience.longest_wait))
