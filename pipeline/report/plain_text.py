"""What a terminal without UTF-8 shows of signs that ASCII does not have: `7->7`, `36.6 us`, `1.2-1.4`.

Python writes UTF-8 in the C locale, whatever the terminal shows, so a locale that names another encoding
is taken at its word; where none is named, UTF-8 stays.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

ERRORS = "edge-pipeline-plain"
SIGNS = {
    "→": "->",
    "←": "<-",
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "×": "x",
    "·": "*",
    "µ": "u",
    "≤": "<=",
    "≥": ">=",
    "±": "+/-",
    "²": "^2",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
}


def shows_utf8(environment: Mapping[str, str]) -> bool:
    """Return False where the locale of the environment names an encoding that is not UTF-8."""
    named = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "utf-8")
    return "utf" in named.lower()


def in_plain_signs(text: str) -> str:
    """Return the text in ASCII: known signs in its words, letters without their accents, ? for the rest."""
    spelled = "".join(SIGNS.get(sign, sign) for sign in text)
    return unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode() or "?" * len(text)


def in_plain_words(text: str) -> str:
    """Return the text with what is not ASCII in it spelled as a stream without UTF-8 spells it."""
    return re.sub(r"[^\x00-\x7f]+", lambda run: in_plain_signs(run.group()), text)


def make_writable(stream: Any) -> None:
    """Let a text stream take any sign: as UTF-8 where the terminal shows that, else spelled in ASCII."""
    codecs.register_error(ERRORS, _spelled)
    with contextlib.suppress(AttributeError, ValueError):  # not a stream of the system's, or closed
        if not shows_utf8(os.environ) and stream.encoding.lower().replace("-", "") == "utf8":
            stream.reconfigure(encoding="ascii", errors=ERRORS)
        else:
            stream.reconfigure(errors=ERRORS)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return in_plain_signs(error.object[error.start : error.end]), error.end
