"""JSON files of a release: written so that equal facts give equal bytes, read with distrust."""

from __future__ import annotations

import json
import re
from typing import Any

from pipeline.errors import ReleaseRefused

DOCUMENT_BYTES_MAX = 4_000_000


def document_bytes(document: dict[str, Any]) -> bytes:
    """Return the document with sorted keys. What JSON has no type for, such as a path, is written as text."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str)
    return f"{text}\n".encode("utf-8", "replace")


def read_document(content: bytes, name: str) -> dict[str, Any]:
    """Return the object that `content` holds. Raises ReleaseRefused for anything else, and for a huge one."""
    if len(content) > DOCUMENT_BYTES_MAX:
        raise unsound(name, f"{len(content):,} bytes", f"at most {DOCUMENT_BYTES_MAX:,} bytes")
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise unsound(name, f"{type(error).__name__}: {error}"[:300], "a JSON document") from error
    if not isinstance(document, dict):
        raise unsound(name, f"JSON of another kind ({type(document).__name__})", "a JSON object")
    return document


def unsound(name: str, received: str, expected: str) -> ReleaseRefused:
    """Return the error for a document of a release that cannot be used."""
    return ReleaseRefused(
        f"{name} is not sound",
        received=received,
        expected=expected,
        fix="do not use these files: fetch them again from where they were published",
    )


def hashes_in(text: str) -> list[str]:
    """Return the SHA-256 of a data file as the facts have it: files of one name share an entry, each with its own."""
    return re.findall(r"\b[0-9a-f]{64}\b", text)
