"""MkDocs' hooks: made pages join the site, the navigation names them, links to the repository's files find a page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # MkDocs loads this file by its path

from docs.made.links import linked  # noqa: E402
from docs.made.pages import TAKEN, made_pages  # noqa: E402

_MADE = "made: "
_TITLES = {
    "tasks": "Tasks",
    "toml": "TOML keys",
    "documents": "JSON documents",
    "steps": "Steps",
    "examples": "Examples",
    "others": "Looking and tools",
}
_pages: dict[str, dict[str, str]] = {}


def on_config(config: Any) -> Any:
    """Put the made pages where the navigation asks for them."""
    _pages.clear()
    _pages.update(made_pages())
    named = set(re.findall(r"[\w/.-]+\.md", str(config.nav)))
    _pages["others"] = {page: "" for page in _own_pages() if page not in named}
    config.nav = _expanded(config.nav)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the made pages."""
    for section, pages in _pages.items():
        if section == "others":
            continue  # they lie in docs/
        for path, text in pages.items():
            files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links to files of the repository into links to their pages, or into their names where they have none."""
    sources = {made: source for source, made in TAKEN.items()}
    source = sources.get(page.file.src_uri)
    return linked(markdown, source or f"docs/{page.file.src_uri}", page.file.src_uri)


def _own_pages() -> list[str]:
    return sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


def _expanded(nav: list[Any]) -> list[Any]:
    found: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.startswith(_MADE):
            name = entry.removeprefix(_MADE)
            if _pages[name]:
                found.append({_TITLES[name]: list(_pages[name])})
        elif isinstance(entry, dict):
            found.append({key: _expanded(value) if isinstance(value, list) else value for key, value in entry.items()})
        else:
            found.append(entry)
    return found
