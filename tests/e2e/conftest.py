"""The small project, built once for all tests and all processes that run them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from filelock import FileLock
from small_project import BUILD, copy_project, invoke


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a finished build; read it, and add to it, but change nothing that is there."""
    shared = (
        tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.mktemp("e2e")
    )
    project = shared / "small_project"
    with FileLock(shared / "small_project.lock"):
        if not project.exists():
            copy_project(project)
            (project / "stderr.txt").write_text(invoke(project, *BUILD).stderr)
    return project


@pytest.fixture(scope="session")
def document(built: Path) -> dict:
    return json.loads((built / "artifacts" / "small" / "small" / "build.json").read_text())
