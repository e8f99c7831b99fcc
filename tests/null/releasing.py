"""A project under git with a finished build, a changelog and a key, and releases made of it."""

from __future__ import annotations

from typing import Any

from release_keys import commit_all, write_key
from release_keys import git as git_in

from tests.null.cli import Project, Result

STEM = "grey-null-1.0.0"
CHANGELOG = "# Changelog\n\n## 1.1.0\n\nMore.\n\n## [1.0.0] - 2026-01-01\n\nFirst.\n"
EPOCH = {"SOURCE_DATE_EPOCH": "1767225600"}


def git(project: Project, *arguments: str) -> str:
    return git_in(project.root, *arguments)


def commit(project: Project) -> None:
    commit_all(project.root)


def make_ready(built: Project) -> Project:
    """Put a project with a finished build under git, with a changelog and a key beside it."""
    built.add(".gitignore", "artifacts/\n__pycache__/\n")
    built.add("CHANGELOG.md", CHANGELOG)
    write_key(built.root.parent / "release.key")
    commit(built)
    return built


def release(project: Project, *arguments: str, version: str = "1.0.0", expect: int = 0, **options: Any) -> Result:
    key = f"--key={project.root.parent / 'release.key'}"
    flags = (f"--version={version}", "--workload=grey", key, *arguments)
    return project.run("release", *flags, expect=expect, **options)
