"""Which source files shape a result, and their hashes: a part of every stage's key.

A module's own file and, transitively, the project modules that it imports anywhere in it
(also inside functions). What is imported for type checkers alone does not count.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from pipeline.files import sha256_of
from pipeline.lookup import PACKAGE

# Wording and look-up of modules cannot change what a step computes.
_NEUTRAL = {PACKAGE / name for name in ("__init__.py", "errors.py", "files.py", "lookup.py")}


def source_hashes(*files: Path) -> dict[str, str]:
    """Return {name: SHA-256} of the files and of every project module that they import."""
    found: set[Path] = set()
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file not in found and file not in _NEUTRAL:
            found.add(file)
            waiting.extend(_imports(file))
    return {_label(file): file_hash(file) for file in sorted(found)}


@cache
def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file that does not change while this process runs."""
    return sha256_of(path)


@cache
def _imports(file: Path) -> tuple[Path, ...]:
    collector = _Imports(file.parent)
    collector.visit(ast.parse(file.read_bytes(), filename=str(file)))
    return tuple(collector.files)


class _Imports(ast.NodeVisitor):
    """Collects the files of project modules that a module imports."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: list[Path] = []

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = "." * node.level + (node.module or "")
        self._add(base)
        for alias in node.names:
            self._add(f"{base}.{alias.name}" if not base.endswith(".") else f"{base}{alias.name}")

    def _add(self, name: str) -> None:
        parts = name.lstrip(".").split(".")
        dots = len(name) - len(name.lstrip("."))
        if dots:
            base = self.folder.joinpath(*[".."] * (dots - 1))
        elif parts[0] == PACKAGE.name:
            base = PACKAGE.parent
        else:
            base = self.folder  # a user's workload may import its neighbours
        path = base.joinpath(*parts)
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                self.files.append(candidate.resolve())


def _label(file: Path) -> str:
    """The package's files by their place in it; a user's by name, so that a moved folder keeps its keys."""
    if file.is_relative_to(PACKAGE):
        return file.relative_to(PACKAGE.parent).as_posix()
    return file.name
