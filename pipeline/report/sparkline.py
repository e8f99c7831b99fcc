"""A row of numbers as a picture one character high."""

from __future__ import annotations

import sys
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-=+*#@"


def sparkline(values: Sequence[float], levels: str = BLOCKS) -> str:
    """Return one character a value, the lowest value at the lowest level; equal values stand in the middle."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if low == high:
        return levels[len(levels) // 2 - 1] * len(values)
    return "".join(levels[round((value - low) / (high - low) * (len(levels) - 1))] for value in values)


def levels_of_stdout() -> str:
    """Return the characters that stdout can show."""
    try:
        BLOCKS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS
