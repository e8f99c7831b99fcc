"""The flags of `invoke bench`, on constant numbers."""

from __future__ import annotations

import json

import pytest

from tests.null.cli import Project

BENCH = ("bench", "--target=null", "--workload=grey", "--json")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.create(tmp_path_factory.mktemp("flags"))
    project.build()
    return project


@pytest.mark.parametrize(
    "flag",
    [
        *("--runs=abc", "--runs=0", "--runs=-5", "--runs=1.5", "--min-time=soon", "--min-time=0", "--min-time=nan"),
        *("--threads=1,x", "--threads=0", "--threads=1,", "--threads=999", "--min-time=99999"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(project: Project, flag: str) -> None:
    error = project.run(*BENCH, flag, expect=2).json("error")["error"]
    assert flag.split("=")[0] in error["message"]
    assert error["fix"]


def test_each_number_of_threads_is_measured_and_budgets_bind_on_the_targets_own(project: Project) -> None:
    results = project.run(*BENCH, "--threads=1,2,4").json("bench")["results"]
    assert [result["latency"]["threads"] for result in results] == [1, 2, 4]
    assert [bool(result["verdicts"]) for result in results] == [True, False, False]


def test_so_many_runs_are_made(project: Project) -> None:
    results = project.run(*BENCH, "--runs=1000").json("bench")["results"]
    assert results[0]["latency"]["samples"] >= 1000
    assert project.run(*BENCH).json("bench")["results"][0]["latency"]["samples"] < 1000
    timed = project.run(*BENCH, "--min-time=0.001").json("bench")["results"][0]["latency"]
    assert timed["samples"] * 1000 >= 1_000_000  # 1 µs each


def test_nothing_is_worse_than_its_own_build(project: Project) -> None:
    earlier = project.artifact(name="build.json")
    changes = project.run(*BENCH, f"--against={earlier}").json("bench")["results"][0]["changes"]
    assert {change["metric"] for change in changes} >= {"size_bytes", "accuracy", "p50_us", "p90_us"}
    assert {change["outcome"] for change in changes} == {"no difference shown"}
    text = project.run(*BENCH[:-1], f"--against={earlier}").stdout
    assert "no difference shown" in text


def test_a_worse_metric_fails(project: Project) -> None:
    document = json.loads(project.artifact(name="build.json").read_text())
    document["size_bytes"] -= 1
    earlier = project.add("earlier.json", json.dumps(document))
    found = project.run(*BENCH, f"--against={earlier}", expect=5).json("bench")
    assert found["verdict"] == found["results"][0]["verdict"] == "fail"
    assert found["results"][0]["changes"][0]["outcome"] == "worse"


def test_an_earlier_measurement_of_something_else_is_refused(project: Project) -> None:
    document = json.loads(project.artifact(name="build.json").read_text())
    document["target"] = "other"
    earlier = project.add("other.json", json.dumps(document))
    error = project.run(*BENCH, f"--against={earlier}", expect=2).json("error")["error"]
    assert "something else" in error["message"]
    error = project.run(*BENCH, "--against=nowhere.json", expect=2).json("error")["error"]
    assert "no earlier measurement" in error["message"]


def test_two_files_are_compared_by_path_and_by_name(project: Project) -> None:
    model = project.artifact()
    document = project.run("bench", f"--compare={model},grey/null", "--target=null", "--json").json("bench_compare")
    assert document["word"] == "no difference shown"
    assert document["ratio"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert document["first_sha256"] == document["second_sha256"]
    assert "no difference shown" in project.run("bench", "--compare=null,null", "--target=null").stdout


@pytest.mark.parametrize(
    "flag", ["--runs=100", "--profile", "--threads=2", "--against=x.json", "--model=x", "--min-time=1"]
)
def test_a_comparison_takes_no_other_flag(project: Project, flag: str) -> None:
    error = project.run("bench", "--compare=null,null", flag, "--json", expect=2).json("error")["error"]
    assert error["received"] == flag.split("=")[0]


def test_a_comparison_is_two_lines_of_the_history(project: Project) -> None:
    path = project.root / "artifacts" / "history.jsonl"
    before = len(path.read_text().splitlines())
    project.run("bench", "--compare=null,null", "--target=null")
    lines = path.read_text().splitlines()[before:]
    assert [json.loads(line)["kind"] for line in lines] == ["compare", "compare"]


def test_what_bench_printed_is_an_earlier_measurement(project: Project) -> None:
    printed = project.run(*BENCH).stdout
    earlier = project.add("printed.json", printed)
    assert project.run(*BENCH, f"--against={earlier}").json("bench")["results"][0]["changes"]


@pytest.mark.parametrize("given", ["null", "null,null,null", ",null", "null,nul", "null,nowhere.tflite", "null,a/b"])
def test_what_is_no_pair_of_files_is_refused(project: Project, given: str) -> None:
    error = project.run("bench", f"--compare={given}", "--target=null", "--json", expect=2).json("error")["error"]
    assert error["received"]
    assert error["fix"]


def test_every_measurement_is_a_line_of_the_history(project: Project) -> None:
    path = project.root / "artifacts" / "history.jsonl"
    before = path.read_text().splitlines()
    assert json.loads(before[0])["kind"] == "build"
    project.run(*BENCH)
    project.build()
    after = path.read_text().splitlines()
    assert after[: len(before)] == before
    bench, build = map(json.loads, after[len(before) :])
    assert (bench["kind"], build["kind"], build["reused"]) == ("bench", "build", True)
    assert build["accuracy"] is not None
    assert build["target"] == bench["target"] == "null"
