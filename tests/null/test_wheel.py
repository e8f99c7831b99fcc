"""Another repository: its own tasks.py, targets and workload; `pip install` of the wheel brings the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.null.cli import DATA, HERE, REPOSITORY
from tests.wheel import install


def test_a_repository_of_its_own_with_the_installed_wheel(tmp_path: Path) -> None:
    installed = install(tmp_path)
    before = installed.files()
    shipped = {f"pipeline/targets/{path.name}" for path in (REPOSITORY / "targets").glob("*.toml")}
    others = {
        "techniques.toml",
        "py.typed",
        "templates/workload.txt",
        "templates/target.txt",
        "runners/_browser/page.html",
        "runners/_browser/page.js",
    }
    data = {f"workloads/data/{path.name}" for path in (REPOSITORY / "pipeline/workloads/data").glob("*.xz")}
    assert shipped | {f"pipeline/{name}" for name in others | data} <= set(before)

    root = tmp_path / "mine"
    shutil.copytree(HERE / "project", root, ignore=shutil.ignore_patterns("__pycache__"))
    for model in DATA.glob("tiny_*.tflite"):
        shutil.copy(model, root / "steps")
    assert len((root / "tasks.py").read_text().splitlines()) <= 3
    below = root / "notebooks" / "deep"
    below.mkdir(parents=True)

    assert "build" in installed.invoke("--list", cwd=below)
    rows = json.loads(installed.invoke("targets", "--json", cwd=below))["targets"]
    paths = {row["name"]: Path(row["path"]) for row in rows}
    assert paths["null"] == root / "targets" / "null.toml"
    assert paths["mobile"] == installed.site / "pipeline" / "targets" / "mobile.toml"

    document = json.loads(installed.invoke("build", "--target=null", "--workload=grey", "--json", cwd=below))
    assert (root / document["artifact"]).is_file()
    again = json.loads(installed.invoke("build", "--target=null", "--workload=grey", "--json", cwd=root))
    assert {stage["state"] for stage in again["stages"]} == {"hit"}
    assert {path.name for path in root.iterdir()} >= {"artifacts"}
    assert not list(below.iterdir())

    # A target of the repository's own wins over the shipped one of that name.
    shutil.copy(root / "targets" / "null.toml", root / "targets" / "mobile.toml")
    own = json.loads(installed.invoke("build", "--workload=grey", "--json", cwd=below))
    assert (own["target"], own["sha256"]) == ("mobile", document["sha256"])

    # Its metadata say what it requires; what a repository's constraints.txt has is for that repository.
    doctor = json.loads(installed.invoke("doctor", "--quick", "--json", cwd=below))
    found = {finding["name"]: finding for finding in doctor["findings"]}
    assert "tensorflow 2.21" in found["packages"]["found"]
    assert {"extra s3", "extra micro"} <= set(found)
    assert "exact versions" not in found

    # The shipped workload's data come with the wheel.
    plan = json.loads(installed.invoke("build", "--target=browser", "--dry-run", "--json", cwd=below))
    assert plan["workload"] == "mnist"
    program = "from pipeline import build; print(build('null', 'grey').verdict)"
    assert installed.run("-c", program, cwd=below) == "pass\n"
    assert installed.files() == before
