"""`invoke build` with several targets: what they share is made once, and each has its own verdict."""

from __future__ import annotations

import pytest

from tests.null.cli import REPOSITORY, Project, made


@pytest.fixture
def two(tmp_path):
    """Return a project with the targets `null` and `other`, which differ in a budget."""
    project = Project.create(tmp_path)
    path = project.root / "targets" / "null.toml"
    content = path.read_text(encoding="utf-8")
    project.add("targets/other.toml", content)
    return project


def several(project: Project, targets: str, *arguments: str, expect: int = 0):
    return project.run("build", f"--target={targets}", "--workload=grey", "--json", *arguments, expect=expect)


def test_shared_stages_are_made_once(two: Project) -> None:
    document = several(two, "null,other").json("builds")
    first, second = document["builds"]
    assert (first["target"], second["target"], document["verdict"]) == ("null", "other", "pass")
    assert made(first)
    assert not made(second)
    assert two.artifact("other").is_file()


def test_force_makes_shared_stages_once(two: Project) -> None:
    several(two, "null,other")
    first, second = several(two, "null,other", "--force").json("builds")["builds"]
    assert made(first) == [stage["name"] for stage in first["stages"]]
    assert not made(second)


def test_one_failed_budget_fails_the_whole_and_the_others_are_built(two: Project) -> None:
    two.budget(size_bytes=1)
    document = several(two, "null,other", expect=5).json("builds")
    assert [build["verdict"] for build in document["builds"]] == ["fail", "pass"]
    assert document["verdict"] == "fail"
    assert two.artifact("other").is_file()


def test_a_mistake_in_the_second_target_is_found_before_the_first_is_built(two: Project) -> None:
    two.edit("targets/other.toml", '\nstep = "null_quantize"', '\nstep = "null_quantise"')
    error = several(two, "null,other", expect=2).json("error")["error"]
    assert "null_quantise" in error["message"]
    assert not two.entries()


def test_all_means_the_targets_for_the_workload(two: Project) -> None:
    for path in (REPOSITORY / "targets").glob("*.toml"):  # as the tutorial's, each is for one workload
        two.add(f"targets/{path.name}", 'workloads = ["mnist"]\n' + (two.root / "targets/null.toml").read_text())
    text = two.run("build", "--target=all", "--workload=grey", "--dry-run").stdout
    assert text.count("train") == 2


def test_a_device_that_is_not_there_is_said_before_anything_is_made(two: Project) -> None:
    two.edit("targets/other.toml", 'runner = "null"', 'runner = "ssh"')
    error = several(two, "null,other", expect=2).json("error")["error"]
    assert "device.host is missing" in error["message"]
    two.run("build", "--target=other", "--workload=grey", expect=2)
    assert not two.entries()


def test_each_is_printed_with_its_verdict(two: Project) -> None:
    text = two.run("build", "--target=null,other", "--workload=grey").stdout
    assert "pass: grey for null, runner null" in text
    assert "pass: grey for other, runner null" in text


def test_an_unknown_one_of_several_is_named(two: Project) -> None:
    error = several(two, "null,othr", expect=2).json("error")["error"]
    assert error["code"] == "unknown_name"
    assert error["fix"].startswith("did you mean 'other'?")


def test_a_plan_of_several_is_no_single_document(two: Project) -> None:
    assert several(two, "null,other", "--dry-run", expect=2).json("error")["error"]["received"] == "targets null, other"
