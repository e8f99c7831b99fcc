"""Which source files shape a result, and their hashes: a part of every stage's key.

A module's own file and, transitively, the project modules that it imports anywhere in it
(also inside functions). What is imported for type checkers alone does not count.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from pipeline.errors import RequestError
from pipeline.files import sha256_of
from pipeline.lookup import PACKAGE, project_root

# Wording and look-up of modules cannot change what a step computes.
_NEUTRAL = {PACKAGE / name for name in ("__init__.py", "errors.py", "files.py", "lookup.py", "toml_files.py")}


def source_hashes(*files: Path) -> dict[str, str]:
    """Return {name: SHA-256} of the files and of every project module that they import.

    Files of one name share their entry, in the order in which they are imported. Raises
    RequestError for a file that is no Python.
    """
    found: dict[Path, None] = {}
    for start in (file.resolve() for file in files):
        # A user's module may import its neighbours, and what lies in its project.
        bases = tuple(dict.fromkeys([start.parent, project_root(start.parent)]))
        waiting = [start]
        while waiting:
            file = waiting.pop()
            if file not in found and file not in _NEUTRAL:
                found[file] = None
                waiting.extend(_imports(file, bases))
    hashes: dict[str, list[str]] = {}
    for file in found:
        hashes.setdefault(_label(file), []).append(file_hash(file))
    return {label: " ".join(several) for label, several in hashes.items()}


@cache
def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file that does not change while this process runs."""
    return sha256_of(path)


def forget() -> None:
    """Read every file again from here on: a build lasts long enough for files to change."""
    file_hash.cache_clear()
    _imports.cache_clear()


@cache
def _imports(file: Path, bases: tuple[Path, ...]) -> tuple[Path, ...]:
    collector = _Imports(file.parent, bases)
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        raise RequestError(
            f"{file} is not Python: {error}",
            received=str(error),
            expected="a Python file, since a step or workload imports it",
            fix=f"correct {file.name}",
        ) from error
    collector.visit(tree)
    return tuple(collector.files)


class _Imports(ast.NodeVisitor):
    """Collects the files of project modules that a module imports."""

    def __init__(self, folder: Path, bases: tuple[Path, ...]):
        self.folder, self.bases = folder, bases
        self.files: list[Path] = []

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in (getattr(node.test, "id", None), getattr(node.test, "attr", None)):
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
            bases: tuple[Path, ...] = (self.folder.joinpath(*[".."] * (dots - 1)),)
        elif parts[0] == PACKAGE.name:
            bases = (PACKAGE.parent,)
        else:
            bases = self.bases
        for base in bases:
            for depth in range(1, len(parts) + 1):  # Python runs the packages on the way, too
                path = base.joinpath(*parts[:depth])
                for candidate in (path.with_suffix(".py"), path / "__init__.py"):
                    if candidate.is_file():
                        self.files.append(candidate.resolve())


def _label(file: Path) -> str:
    """The package's files by their place in it; a user's by name, so that a moved folder keeps its keys."""
    if file.is_relative_to(PACKAGE):
        return file.relative_to(PACKAGE.parent).as_posix()
    return file.name
