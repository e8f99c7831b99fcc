"""Workloads, steps, files and systems that do not fit: a clear error or a right answer, and nothing lost."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from pipeline.store import Store
from tests.null.cli import BUILD, Project, finish

ODD_RUNNER = """
from pipeline.runners import null

VERSION, MEASURES_TIME = "1", False


def device(settings):
    raise ZeroDivisionError


def run(models, samples, settings):
    return null.run(models, samples, settings)
"""


def test_bench_finds_a_workload_that_was_given_by_path(project: Project, tmp_path: Path) -> None:
    mine = tmp_path / "elsewhere" / "mine.py"
    mine.parent.mkdir()
    shutil.copy(project.root / "workloads" / "grey.py", mine)
    document = project.run("build", "--target=null", f"--workload={mine}", "--json").json("build")
    assert document["workload_file"] == str(mine)
    for arguments in ([], [f"--workload={mine}"], ["--workload=mine"]):
        results = project.run("bench", *arguments, "--json").json("bench")["results"]
        assert [result["workload"] for result in results] == ["mine"]


def test_operators_are_not_timed_where_there_are_no_times(built: Project) -> None:
    result = built.run("bench", "--target=null", "--profile", "--json")
    assert result.json("bench")["results"][0]["profile"] is None
    assert "gives no times" in result.stderr


def test_bench_measures_the_others_when_one_build_is_broken(built: Project) -> None:
    other = built.root / "artifacts" / "grey" / "gone"
    shutil.copytree(built.artifact().parent, other)
    (other / "model.tflite").write_bytes(b"something else")
    result = built.run("bench", "--json", expect=3)
    document = result.json("bench")
    assert [found["target"] for found in document["results"]] == ["null"]
    assert document["verdict"] == "inconclusive"
    assert "grey/gone is left out" in result.stderr


def test_a_file_that_changes_during_the_build_poisons_no_key(project: Project) -> None:
    project.configure("null_train", seconds=1.0, epochs=1)
    process = project.start(*BUILD)
    while not process.stderr.readline().startswith("null_train: started"):  # type: ignore[union-attr]
        pass
    time.sleep(0.2)
    project.edit("workloads/grey.py", '"train": 200', '"train": 300')
    result = finish(process, expect=4)
    assert "grey.py" in result.stderr
    assert "run the command again" in result.stderr
    assert project.entries() == set()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('(out / "link").symlink_to("/etc/hostname")', "link"),
        ('(out / "folder").mkdir()', "folder"),
        ('(out / "record.json").write_text("{}")', "record.json"),
    ],
)
def test_a_step_that_writes_what_the_store_cannot_keep(project: Project, line: str, named: str) -> None:
    run = "def run(source, workload, config, out, report):\n"
    project.edit("steps/null_train.py", run, f"{run}    {line}\n")
    error = project.build("--json", expect=4).json("error")["error"]
    assert error["received"] == named
    assert Store(project.root / "artifacts" / "store").entries() == []


@pytest.mark.parametrize(
    ("labels", "received"),
    [
        ("np.arange(count) % 11", "int64 [200], values from 0 to 10"),
        ("np.arange(count) % 10 - 1", "int64 [200], values from -1 to 8"),
        ("(np.arange(count) % 10).astype(float)", "float64 [200], values from 0.0 to 9.0"),
        ("(np.arange(count) % 10).reshape(-1, 1)", "int64 [200, 1], values from 0 to 9"),
    ],
)
def test_labels_that_do_not_fit(project: Project, labels: str, received: str) -> None:
    project.edit("workloads/grey.py", "np.arange(count) % 10", labels)
    run = "def run(source, workload, config, out, report):\n"
    project.edit("steps/null_train.py", run, f'{run}    workload.load("train")\n')
    error = project.build("--json", expect=2).json("error")["error"]
    assert error["code"] == "bad_workload"
    assert error["received"] == received


def test_data_files_that_depend_on_the_folder_are_refused(project: Project) -> None:
    project.edit("workloads/grey.py", "LABELS =", 'DATA_FILES = ("data.csv",)\nLABELS =')
    assert "absolute paths" in project.build(expect=2).stderr


def test_output_that_the_encoding_lacks_ends_no_build(project: Project) -> None:
    result = project.build(env={"PYTHONIOENCODING": "ascii"})
    assert "pass: grey for null" in result.stdout


def test_a_system_that_refuses_is_an_error_and_no_traceback(project: Project) -> None:
    project.add("artifacts", "a file where a folder has to be")
    result = project.build("--json", expect=4)
    assert result.json("error")["error"]["code"] == "system_refused"
    assert "Traceback" not in result.stderr


def test_a_defect_keeps_its_promise_of_json(project: Project) -> None:
    project.edit("targets/null.toml", 'runner = "null"', 'runner = "odd"')
    project.add("runners/odd.py", ODD_RUNNER)
    result = project.build("--json", expect=1)
    assert result.json("error")["error"]["code"] == "defect"
    assert "ZeroDivisionError" in result.stderr


def test_a_target_without_a_binding_budget_says_so(project: Project) -> None:
    project.budget(latency_p50_ms='{ limit = 1.0, device_class = "nul" }')
    assert "no budget of this target binds" in project.build().stderr


@pytest.mark.parametrize("value", ["true", '"20000"', "1" + "0" * 400, "20000.5"])
def test_a_budget_is_a_number(project: Project, value: str) -> None:
    project.budget(size_bytes=value)
    error = project.build("--json", expect=2).json("error")["error"]
    assert error["code"] == "bad_target"
    assert "size_bytes" in error["message"] or "is not TOML" in error["message"]


def test_clean_leaves_what_it_did_not_make(built: Project) -> None:
    foreign = built.add("artifacts/releases/1.0/manifest.json", "{}")
    mine = built.add("artifacts/grey/null/notes.json", "{}")
    built.run("clean")
    assert json.loads(foreign.read_text()) == json.loads(mine.read_text()) == {}
    assert not built.artifact().exists()
