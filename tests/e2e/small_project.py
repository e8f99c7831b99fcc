"""A small real project, and how to run tasks in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BUILD = ("build", "--target=small", "--workload=small", "--json")


def copy_project(folder: Path) -> Path:
    shutil.copytree(Path(__file__).parent / "project", folder)
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "invoke", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"}


def invoke(project: Path, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*arguments), cwd=project, env=environment(), capture_output=True, text=True)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def add_target(project: Path, name: str, *changes: tuple[str, str]) -> None:
    """Write targets/<name>.toml: small.toml with some text replaced, each exactly once."""
    text = (project / "targets" / "small.toml").read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (project / "targets" / f"{name}.toml").write_text(text)
