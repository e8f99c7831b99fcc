"""What `invoke report` says on the terminal."""

from __future__ import annotations

from typing import Any


def print_report(document: Any) -> None:
    """Print where the report is and which parts it lacks."""
    for part, why in document.missing.items():
        print(f"not shown: {part}: {why}")
    print(f"{document.verdict}: {document.kind}, {document.bytes:,} bytes")
    print(document.path)
