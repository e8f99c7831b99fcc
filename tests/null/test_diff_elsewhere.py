"""`invoke diff` with a build of another machine: one key may have another output there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.store import Store
from tests.null.cli import Project, keys

WORKLOAD = "--workload=grey"


@pytest.fixture
def elsewhere(built: Project, tmp_path: Path) -> Path:
    """The artifacts of a machine where the same stages gave a file that answers 9 to everything."""
    artifacts = tmp_path / "elsewhere"
    (artifacts / "grey" / "null").mkdir(parents=True)
    document = json.loads(built.artifact(name="build.json").read_text(encoding="utf-8"))
    key = keys(document)["evaluate"]
    here = Store(built.root / "artifacts" / "store").get(key)
    facts = {**here.facts, "test": {**here.facts["test"], "accuracy": 0.1, "correct": 10}, "predictions": []}
    there = Store(artifacts / "store")
    with there.working_folder(key) as folder:
        for split, count in (("validation", 50), ("test", 100)):
            np.save(folder / f"{split}.npy", np.full(count, 9, np.int32))
        there.put(key, here.record, folder, facts, 1.0)
    next(stage for stage in document["stages"] if stage["name"] == "evaluate")["facts"] = facts
    document["sha256"] = "f" * 64
    (artifacts / "grey" / "null" / "build.json").write_text(json.dumps(document), encoding="utf-8")
    return artifacts


def test_answers_are_those_of_the_store_beside_the_build(built: Project, elsewhere: Path) -> None:
    found = built.run("diff", str(elsewhere), "null", WORKLOAD, "--json").json("diff")
    assert found["answers"]["changed"] == 100
    assert {one["before"] for one in found["answers"]["shown"]} == {"j"}


def test_answers_of_another_output_of_the_key_are_not_taken(built: Project, elsewhere: Path) -> None:
    """A copied build.json whose own store is gone: the key alone does not say whose answers lie in this one."""
    shutil.rmtree(elsewhere / "store")
    found = built.run("diff", str(elsewhere), "null", WORKLOAD, "--json").json("diff")
    assert found["answers"] is None
    assert "answers" in found["missing"]


def test_equal_scores_of_another_file_are_not_enough(built: Project, tmp_path: Path) -> None:
    document = json.loads(built.artifact(name="build.json").read_text(encoding="utf-8"))
    for stage in document["stages"]:
        if stage["facts"].get("file", {}).get("sha256") == document["sha256"]:
            stage["facts"]["file"]["sha256"] = "f" * 64
    document["sha256"] = "f" * 64
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(document), encoding="utf-8")
    found = built.run("diff", str(earlier), "null", WORKLOAD, "--json").json("diff")
    assert found["answers"] is None
