"""Projects to run the command line in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.null.cli import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project in which nothing was built."""
    return Project.create(tmp_path)


@pytest.fixture(scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.create(tmp_path_factory.mktemp("built"))
    project.build()
    return project


@pytest.fixture
def built(_built: Project, tmp_path: Path) -> Project:
    """A project with a finished build of the null target."""
    return _built.copy(tmp_path / "built")
