"""`invoke history`, the sparklines of `invoke targets`, and `invoke diff`, as a person calls them."""

from __future__ import annotations

import json
import re
import shutil

from pipeline.report.sparkline import BLOCKS
from tests.null.cli import Project


def test_history_shows_each_build_and_counts_what_cannot_be_read(built: Project) -> None:
    built.build()
    with (built.root / "artifacts" / "history.jsonl").open("a") as stream:
        stream.write("cut\n")
    document = built.run("history", "--json").json("history")
    assert document["unreadable"] == 1
    trend = document["trends"][0]
    assert (trend["workload"], trend["target"], len(trend["lines"])) == ("grey", "null", 2)
    text = built.run("history").stdout
    assert BLOCKS[3] * 2 in text
    assert "unreadable lines in artifacts/history.jsonl: 1" in text
    plain = built.run("history", env={"LC_ALL": "C"}).stdout
    assert re.search(r"size_bytes +== +\S", plain)
    assert not set(BLOCKS) & set(plain)


def test_history_before_any_build_says_what_to_type(project: Project) -> None:
    assert "invoke build" in project.run("history").stdout
    error = project.run("history", "--last=x", "--json", expect=2).json("error")["error"]
    assert error["fix"] == "--last=20"


def test_targets_show_the_last_builds(built: Project) -> None:
    rows = {row["name"]: row for row in built.run("targets", "--json").json("targets")["targets"]}
    assert len(rows["null"]["trend"]["grey"]) == 1
    assert rows["mobile"]["trend"] == {}
    assert BLOCKS[3] in built.run("targets").stdout


def test_a_build_does_not_differ_from_itself(built: Project) -> None:
    document = built.run("diff", "null", "artifacts", "--json").json("diff")
    assert {change["outcome"] for change in document["metrics"]} == {"no difference shown"}
    assert {stage["state"] for stage in document["recipe"]} == {"same"}
    assert document["answers"]["changed"] == 0
    assert (document["versions"], document["operators"], document["missing"]) == ([], [], {})


def test_an_earlier_build_document_against_the_target(built: Project) -> None:
    earlier = shutil.copytree(built.artifact().parent, built.root / "earlier")
    built.configure("null_train", epochs=3)
    built.build()
    document = built.run("diff", str(earlier / "build.json"), "null", "--json").json("diff")
    stages = {stage["name"]: stage for stage in document["recipe"]}
    assert stages["null_train"]["state"] == "changed"
    assert [change["field"] for change in stages["null_train"]["parameters"]] == ["epochs"]
    assert stages["null_quantize"]["state"] == "follows a change"
    text = built.run("diff", "earlier", "null").stdout
    assert "epochs: " in text
    assert "test samples changed class" in text


def test_answers_that_changed_are_shown_and_damaged_ones_are_not_believed(built: Project) -> None:
    document = json.loads(built.artifact(name="build.json").read_text())
    key = next(stage["key"] for stage in document["stages"] if stage["name"] == "evaluate")
    answers = built.entry(key) / "test.npy"
    answers.chmod(0o644)
    content = bytearray(answers.read_bytes())
    content[-1] ^= 1
    answers.write_bytes(content)
    found = built.run("diff", "null", "null", "--json").json("diff")
    assert found["answers"] is None
    assert "damaged" in found["missing"]["answers"]
    assert answers.is_file()  # a diff moves nothing aside
    shutil.rmtree(answers.parent)
    text = built.run("diff", "null", "null").stdout
    assert "the store no longer has the evaluation" in text


def test_what_names_no_build_is_refused(built: Project) -> None:
    error = built.run("diff", "null", "nul", "--json", expect=2).json("error")["error"]
    assert "'null'" in error["fix"]
    error = built.run("diff", "null", "mobile", "--json", expect=2).json("error")["error"]
    assert error["fix"] == "invoke build --target=mobile"
    error = built.run("diff", "targets", "null", "--json", expect=2).json("error")["error"]
    assert "holds no finished build" in error["message"]
    (built.root / "cut.json").write_text("{")
    error = built.run("diff", "cut.json", "null", "--json", expect=2).json("error")["error"]
    assert "is no finished build" in error["message"]
