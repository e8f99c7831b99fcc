"""Links between the repository's files, as the site has them."""

from __future__ import annotations

import posixpath
import re

from docs.made.pages import ROOT, TAKEN

_LINK = re.compile(r"(?P<text>\[[^\]\n]*\])\((?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def linked(markdown: str, source: str, page: str) -> str:
    """Return the text with its links as the site needs them; fenced code stays as it is.

    source: path of the text in the repository; page: path of the page below docs/.
    """
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if index % 2 else _LINK.sub(lambda match: _one(match, source, page), part)
        for index, part in enumerate(parts)
    )


def _one(match: re.Match[str], source: str, page: str) -> str:
    path = match["path"]
    if ":" in path:
        return match.group()
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if meant.startswith("docs/") and source.startswith("docs/"):
        return match.group()  # MkDocs checks these itself
    if (ROOT / meant).is_dir():
        meant = posixpath.join(meant, "README.md")
    target = TAKEN.get(meant) or (meant.removeprefix("docs/") if meant.startswith("docs/") else None)
    if target:
        return f"{match['text']}({posixpath.relpath(target, posixpath.dirname(page) or '.')}{match['anchor'] or ''})"
    if (ROOT / meant).exists() or meant == "examples/README.md":
        return f"`{meant}`"
    return match.group()  # leads nowhere: MkDocs warns
