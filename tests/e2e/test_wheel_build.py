"""A real build in another repository, with this project installed from its wheel."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.small_project import BUILD, copy_project
from tests.wheel import install


def test_a_repository_builds_its_own_target_with_the_installed_wheel(tmp_path: Path) -> None:
    installed, project = install(tmp_path), copy_project(tmp_path / "mine")
    before = installed.files()
    document = json.loads(installed.invoke(*BUILD, cwd=project / "workloads"))
    assert document["verdict"] == "pass"
    assert (project / document["artifact"]).stat().st_size == document["size_bytes"]
    assert installed.files() == before
