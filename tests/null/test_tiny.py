"""The whole pipeline through the command line, in seconds: numpy-only steps, null runner."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.terminal import REFRESHES_PER_SECOND
from pipeline.score_intervals import wilson_interval
from tests.null.cli import BUILD, DATA, TIMEOUT_SECONDS, Project, finish, keys, made

STAGES = ["null_train", "null_prune", "null_quantize", "evaluate", "baseline", "evaluate_baseline"]
BUDGETS = [
    "size_bytes",
    "accuracy_min",
    "accuracy_drop_max",
    "latency_p50_ms",
    "latency_p90_ms",
    "speedup_min",
    "memory_bytes",
]
ESCAPE = "\x1b"


def step_named_as_shipped(project: Project, *names: str) -> None:
    """Give the project a numpy-only step of the same name as a shipped one, and put it into the recipe."""
    for name in names:
        shutil.copy(project.root / "steps" / f"null_{name}.py", project.root / "steps" / f"{name}.py")
        project.edit("targets/null.toml", f'\nstep = "null_{name}"', f'\nstep = "{name}"')


def second_target(project: Project) -> None:
    """Add a target `other` that differs from `null` from the quantize step on."""
    text = (project.root / "targets" / "null.toml").read_text()
    text = text.replace('dtype = "int8"', 'dtype = "float32"')
    text = text.replace('\nstep = "null_quantize"\n', '\nstep = "null_quantize"\nscheme = "float32"\n')
    project.add("targets/other.toml", text)


# ---------------------------------------------------------------- build


def test_build_writes_what_it_prints(project: Project) -> None:
    result = project.build("--json")
    document = result.json("build")
    assert result.stdout == project.artifact(name="build.json").read_text()
    assert set(document) == {
        *(
            "schema_version",
            "target",
            "workload",
            "workload_file",
            "seed",
            "artifact",
            "sha256",
            "size_bytes",
            "deflated_bytes",
        ),
        *(
            "accuracy",
            "validation_accuracy",
            "baseline_accuracy",
            "task",
            "metric",
            "scores",
            "score_intervals",
            "validation_scores",
            "baseline_scores",
            "latency",
            "device",
            "stages",
            "calibration",
            "versions",
        ),
        *("stages", "calibration", "versions", "verdicts", "verdict"),
    }
    assert document["schema_version"] == 3
    assert (document["target"], document["workload"], document["seed"]) == ("null", "grey", 0)
    assert document["artifact"] == "artifacts/grey/null/model.tflite"


def test_build_numbers_belong_to_the_very_file(built: Project) -> None:
    document = json.loads(built.artifact(name="build.json").read_text())
    content = built.artifact().read_bytes()
    assert content == (DATA / "tiny_int8.tflite").read_bytes()
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    assert document["size_bytes"] == len(content)
    assert document["deflated_bytes"] == len(zlib.compress(content, 9))
    # The null runner answers class 0, which a tenth of the samples has.
    assert document["accuracy"] == document["validation_accuracy"] == document["baseline_accuracy"] == 0.1
    samples = next(stage["facts"]["test"]["samples"] for stage in document["stages"] if stage["name"] == "evaluate")
    assert document["score_intervals"]["accuracy"] == list(wilson_interval(samples // 10, samples))
    assert set(document["score_intervals"]) == set(document["scores"])


def test_build_tells_latency_stages_versions_and_verdicts(built: Project) -> None:
    document = json.loads(built.artifact(name="build.json").read_text())
    latency = document["latency"]
    assert latency["runner"] == "null"
    assert latency["device"]["device_class"] == latency["device"]["name"] == "null"
    assert latency["threads"] == 1
    assert latency["kernels"] == "none"
    assert [latency[f"p{share}_us"] for share in (50, 90, 99)] == [1.0, 1.0, 1.0]
    assert [latency[f"p{share}_us_interval"] for share in (50, 90, 99)] == [[1.0, 1.0]] * 3
    assert latency["samples"] == latency["rounds"] * 5 >= 100
    assert not latency["reused"]
    assert [stage["name"] for stage in document["stages"]] == STAGES
    assert all(re.fullmatch("[0-9a-f]{64}", stage["key"]) for stage in document["stages"])
    assert all(stage["state"] == "made" and stage["seconds"] >= 0 for stage in document["stages"])
    assert document["stages"][0]["facts"] == {"parameters": 1000}
    assert document["calibration"] is None
    assert document["versions"]["numpy"] == np.__version__
    assert document["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert [verdict["metric"] for verdict in document["verdicts"]] == BUDGETS
    verdicts = {verdict["metric"]: verdict for verdict in document["verdicts"]}
    assert verdicts["size_bytes"] == {
        **{"metric": "size_bytes", "limit": 20_000, "measured": document["size_bytes"], "interval": None},
        **{"verdict": "pass", "note": ""},
    }
    assert verdicts["latency_p50_ms"]["interval"] == [0.001, 0.001]
    assert verdicts["latency_p90_ms"]["verdict"] == "not applicable"
    assert "phone" in verdicts["latency_p90_ms"]["note"]
    assert document["verdict"] == "pass"


def test_build_names_the_calibration_samples(project: Project) -> None:
    indices = [3, 1, 2]
    calibration = {"split": "train", "samples": 3, "indices": indices, "sha256": "0" * 64}
    project.edit("steps/null_quantize.py", 'return {"promises"', f'return {{"calibration": {calibration}, "promises"')
    assert project.built()["calibration"] == calibration


def test_second_build_makes_nothing(built: Project) -> None:
    before = built.artifact().read_bytes()
    document = built.built()
    assert made(document) == []
    assert document["latency"]["reused"]
    assert built.artifact().read_bytes() == before


def test_second_build_starts_no_worker(built: Project) -> None:
    log = built.root / "artifacts" / "logs" / "grey-null.log"
    log.write_text("of the first build")
    built.build()
    assert log.read_text() == "of the first build"


def test_force_makes_everything_anew(built: Project) -> None:
    document = built.built("--force")
    assert made(document) == STAGES
    assert not document["latency"]["reused"]


def test_moved_project_keeps_its_keys(project: Project, built: Project) -> None:
    """Two builds of one seed in two folders: the same keys and bytes."""
    document = project.built()
    assert keys(document) == keys(built.built())
    assert project.artifact().read_bytes() == built.artifact().read_bytes()


def test_second_target_reuses_the_first_ones_stages(built: Project) -> None:
    second_target(built)
    document = built.run("build", "--target=other", "--workload=grey", "--json").json("build")
    assert made(document) == ["null_quantize", "evaluate"]
    assert built.artifact("other").read_bytes() == (DATA / "tiny_float32.tflite").read_bytes()
    assert built.artifact("null").read_bytes() == (DATA / "tiny_int8.tflite").read_bytes()


def test_what_steps_and_workloads_print_stays_off_stdout(project: Project) -> None:
    project.edit("steps/null_prune.py", "    weights = np.load", '    print("noise")\n    weights = np.load')
    project.edit("workloads/grey.py", "DESCRIPTION =", 'print("noise")\nDESCRIPTION =')
    project.edit("workloads/grey.py", "def load(split):", 'def load(split):\n    print("noise")')
    result = project.build("--json")
    result.json("build")
    assert "noise" in (project.root / "artifacts" / "logs" / "grey-null.log").read_text()


def test_workload_by_path_from_another_folder(project: Project) -> None:
    elsewhere = project.root.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.move(project.root / "workloads" / "grey.py", elsewhere / "mine.py")
    project.run("build", "--target=null", f"--workload={elsewhere / 'mine.py'}")
    assert (project.root / "artifacts" / "mine" / "null" / "model.tflite").is_file()


def test_commands_work_in_a_folder_below_the_project(project: Project) -> None:
    project.build(cwd=project.root / "targets")
    assert project.artifact().is_file()


# ---------------------------------------------------------------- dry run and explain


def test_dry_run_runs_nothing(project: Project) -> None:
    document = project.build("--dry-run", "--json").json("plan")
    assert [(stage["name"], stage["state"]) for stage in document["stages"]] == [(name, "make") for name in STAGES]
    assert document["expected_seconds"] is None
    assert project.entries() == set()
    assert not project.artifact().exists()


def test_dry_run_after_a_build(built: Project) -> None:
    document = built.build("--dry-run", "--json").json("plan")
    assert {stage["state"] for stage in document["stages"]} == {"hit"}
    forced = built.build("--dry-run", "--json", "--force").json("plan")
    assert {stage["state"] for stage in forced["stages"]} == {"make"}
    assert all("--force" in stage["reason"] for stage in forced["stages"])
    assert all(stage["expected_seconds"] is not None for stage in forced["stages"])
    # The measurement of the new file comes on top.
    assert forced["expected_seconds"] > sum(stage["expected_seconds"] for stage in forced["stages"])


def config_changed(project: Project) -> None:
    project.configure("null_prune", final_sparsity=0.6)


def seed_changed(project: Project) -> None:
    """The seed is given on the command line."""


def step_changed(project: Project) -> None:
    project.edit("steps/null_quantize.py", '"""Stands for', '"""Stands in for')


def workload_changed(project: Project) -> None:
    project.edit("workloads/grey.py", "grey noise", "gray noise")


@pytest.mark.parametrize(
    ("change", "options", "stage", "field", "kept"),
    [
        (config_changed, (), "null_prune", "config.final_sparsity", ["null_train", "baseline", "evaluate_baseline"]),
        (seed_changed, ("--seed=7",), "null_train", "seed", []),
        (step_changed, (), "null_quantize", "source.null_quantize.py", ["null_train", "null_prune"]),
        (workload_changed, (), "evaluate", "source.grey.py", []),
    ],
    ids=["config", "seed", "step", "workload"],
)
def test_explain_names_the_changed_field(
    built: Project, change: Callable[[Project], None], options: tuple[str, ...], stage: str, field: str, kept: list[str]
) -> None:
    change(built)
    planned = {
        found["name"]: found
        for found in built.build("--dry-run", "--json", "--explain", *options).json("plan")["stages"]
    }
    assert planned[stage]["reason"] == f"changed: {field}"
    (change_,) = [change for change in planned[stage]["changes"] if change["field"] == field]
    assert change_["before"] != change_["after"]
    assert [name for name in STAGES if planned[name]["state"] == "hit"] == kept
    result = built.build("--explain", "--json", *options)
    assert f"{field}: " in result.stderr
    assert [name for name in STAGES if name not in made(result.json("build"))] == kept


def test_explain_names_the_stage_that_it_follows(built: Project) -> None:
    built.configure("null_train", epochs=3)
    text = built.build("--dry-run").stdout
    assert re.search(r"null_train .* make.*: config\.epochs: 2 → 3\n", text)
    assert re.search(r"null_prune .*the stage that it follows changed: null_train", text)


def test_explain_names_a_lost_output(built: Project) -> None:
    shutil.rmtree(built.entry(keys(built.built())["null_prune"]))
    stages = built.build("--dry-run", "--json").json("plan")["stages"]
    assert {stage["name"]: stage["reason"] for stage in stages if stage["state"] == "make"} == {
        "null_prune": "its output is gone from the store"
    }


# ---------------------------------------------------------------- a part of the plan


@pytest.mark.parametrize("step", ["train", "prune", "quantize"])
def test_partial_task_names_the_steps_that_the_recipe_has(project: Project, step: str) -> None:
    error = project.run(step, *BUILD[1:], "--json", expect=2).json("error")["error"]
    assert error["message"] == f"the recipe has no {step!r} step"
    assert error["expected"] == "one of null_train, null_prune, null_quantize"
    assert project.entries() == set()


def test_partial_tasks_make_their_part(project: Project) -> None:
    step_named_as_shipped(project, "train", "prune", "quantize")
    recipe = ["train", "prune", "quantize"]
    for count, step in enumerate(recipe, start=1):
        document = project.run(step, *BUILD[1:], "--json").json(step)
        assert [stage["name"] for stage in document["stages"]] == recipe[:count]
        assert made(document) == [step]
        assert Path(document["output"]).name == keys(document)[step]
        assert (project.root / document["output"] / "record.json").is_file()
    assert "from the store" in project.run("prune", *BUILD[1:]).stdout
    assert made(project.built()) == ["evaluate", "baseline", "evaluate_baseline"]


def test_convert_gives_the_verified_file(project: Project) -> None:
    document = project.run("convert", *BUILD[1:], "--json").json("convert")
    content = (project.root / document["artifact"]).read_bytes()
    assert content == (DATA / "tiny_int8.tflite").read_bytes()
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    assert document["size_bytes"] == len(content)
    assert made(document) == STAGES[:3]
    assert not project.artifact().exists()


def test_convert_leaves_the_built_file_alone(built: Project) -> None:
    before = built.artifact().read_bytes()
    shutil.copy(DATA / "tiny_float32.tflite", built.root / "steps" / "tiny_int8.tflite")
    built.edit("targets/null.toml", '"int8"\noutput_dtype = "int8"', '"float32"\noutput_dtype = "float32"')
    built.configure("null_quantize", promised_dtype="float32")
    built.edit("steps/null_quantize.py", '"full_integer": config.scheme == "int8"', '"full_integer": False')
    document = built.run("convert", *BUILD[1:], "--json").json("convert")
    assert document["sha256"] == hashlib.sha256((DATA / "tiny_float32.tflite").read_bytes()).hexdigest()
    assert built.artifact().read_bytes() == before
    built.run("bench", "--target=null")


# ---------------------------------------------------------------- bench


def test_bench_measures_all_built_targets_anew(built: Project) -> None:
    second_target(built)
    built.run("build", "--target=other", "--workload=grey")
    document = built.run("bench", "--json").json("bench")
    assert [(result["target"], result["workload"]) for result in document["results"]] == [
        ("null", "grey"),
        ("other", "grey"),
    ]
    assert document["verdict"] == "pass"
    for result in document["results"]:
        assert result["sha256"] == hashlib.sha256((built.root / result["model"]).read_bytes()).hexdigest()
        assert not result["latency"]["reused"]
        assert result["latency"]["speedup"]["value"] == 4
        assert [verdict["metric"] for verdict in result["verdicts"]] == BUDGETS
    (one,) = built.run("bench", "--target=other", "--json").json("bench")["results"]
    assert one["target"] == "other"


def test_bench_without_the_float_file_says_so(built: Project) -> None:
    shutil.rmtree(built.entry(keys(built.built())["baseline"]))
    result = built.run("bench", "--json", expect=3)
    (measured,) = result.json("bench")["results"]
    assert measured["latency"]["speedup"] is None
    assert {v["metric"]: v["verdict"] for v in measured["verdicts"]}["speedup_min"] == "inconclusive"
    assert "no longer has the float32 file" in result.stderr


def test_bench_any_file(project: Project) -> None:
    document = project.run("bench", "--model=steps/tiny_float32.tflite", "--target=null", "--json").json("bench")
    (result,) = document["results"]
    assert result["sha256"] == hashlib.sha256((DATA / "tiny_float32.tflite").read_bytes()).hexdigest()
    assert (result["target"], result["workload"], result["verdicts"]) == (None, None, [])
    assert result["latency"]["p50_us"] == 1.0


@pytest.mark.parametrize("options", [(), ("--target=null",), ("--workload=grey",)])
def test_bench_with_nothing_built(project: Project, options: tuple[str, ...]) -> None:
    error = project.run("bench", "--json", *options, expect=2).json("error")["error"]
    assert error["message"] == "there is no built file to measure"
    assert "--model=FILE.tflite" in error["fix"]


# ---------------------------------------------------------------- the other tasks


def picture(project: Project, size: tuple[int, int] = (40, 30), background: int = 0) -> str:
    pixels = np.full(size[::-1], background, np.uint8)
    pixels[size[1] // 4 : -size[1] // 4, size[0] // 3 : -size[0] // 3] = 255 - background
    Image.fromarray(pixels).save(project.root / "digit.png")
    return "--image=digit.png"


def test_predict(built: Project) -> None:
    document = built.run("predict", picture(built), *BUILD[1:], "--json").json("predict")
    assert document["predicted"] == "a"
    assert document["confidence"] == document["probabilities"]["a"] == pytest.approx(np.e / (np.e + 9), abs=1e-4)
    assert list(document["probabilities"]) == list("abcdefghij")
    assert sum(document["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert document["image"] == "digit.png"
    assert document["sha256"] == hashlib.sha256(built.artifact().read_bytes()).hexdigest()
    assert document["notes"] == []
    assert built.run("predict", "--image=digit.png", *BUILD[1:]).stdout == "a  23.2%\n"


def test_predict_notes_an_inverted_background(built: Project) -> None:
    result = built.run("predict", picture(built, background=255), *BUILD[1:])
    assert "--invert" in result.stderr
    assert result.stdout == "a  23.2%\n"
    assert built.run("predict", "--image=digit.png", "--invert", *BUILD[1:]).stderr == ""


def test_predict_without_a_build(project: Project) -> None:
    error = project.run("predict", picture(project), *BUILD[1:], "--json", expect=2).json("error")["error"]
    assert error["message"].startswith("there is no finished build in ")
    assert error["fix"] == "invoke build --target=null --workload=grey"


def test_inspect(project: Project) -> None:
    document = project.run("inspect", "steps/tiny_int8.tflite", "--json").json("inspect")
    assert document["path"] == "steps/tiny_int8.tflite"
    assert document["float_leftovers"] == []
    assert [operator["name"] for operator in document["inspection"]["operators"]] == [
        *("CONV_2D", "RESHAPE", "FULLY_CONNECTED"),
    ]
    assert document["inspection"]["sha256"] == hashlib.sha256((DATA / "tiny_int8.tflite").read_bytes()).hexdigest()
    assert project.run("inspect", "steps/tiny_float32.tflite", "--json").json("inspect")["float_leftovers"]
    text = project.run("inspect", "steps/tiny_int8.tflite").stdout
    assert "full-integer: yes" in text
    assert "CONV_2D" in text


def test_targets_shows_budgets_and_last_verdicts(built: Project) -> None:
    built.add("targets/broken.toml", 'description = "x"\nrecipe = [{ step = "null_train" }]\nthread = 1\n')
    rows = {row["name"]: row for row in built.run("targets", "--json").json("targets")["targets"]}
    assert {"mobile", "browser", "null", "broken"} <= set(rows)
    assert rows["null"]["last"] == {"grey": "pass"}
    assert rows["null"]["budgets"]["size_bytes"] == 20_000
    assert rows["null"]["recipe"] == STAGES[:3]
    assert rows["null"]["path"] == str(built.root / "targets" / "null.toml")
    assert rows["mobile"]["last"] == {}
    assert "unknown key thread" in rows["broken"]["error"]
    text = built.run("targets", env={"COLUMNS": "200"}).stdout
    assert "grey: pass" in text
    assert "not built" in text


def test_store_lists_verifies_and_collects(built: Project) -> None:
    first = built.entries()
    for action in ("list", "verify"):
        document = built.run(f"store.{action}", "--json").json("store")
        assert document["action"] == action
        assert {entry["key"] for entry in document["entries"]} == first
        assert {entry["step"] for entry in document["entries"]} >= {*STAGES[:3], "evaluate", "benchmark"}
        assert all(entry["workload"] == "grey" and not entry["damage"] for entry in document["entries"])
    built.configure("null_train", epochs=3)
    second = set(keys(built.built()).values())
    assert built.entries() > first
    document = built.run("store.gc", "--json").json("store")
    assert document["freed_bytes"] > 0
    assert second <= built.entries() == {entry["key"] for entry in document["entries"]}
    assert set(document["removed"]) == first - built.entries()
    assert len(document["removed"]) == len(STAGES)
    built.run("store.verify")
    again = built.built()
    assert made(again) == []
    assert again["latency"]["reused"]


def test_store_alone_lists(built: Project) -> None:
    assert "null_train" in built.run("store").stdout


def test_store_verify_lists_every_damaged_entry(built: Project) -> None:
    known = keys(built.built())
    damaged = {known["null_train"]: "weights.npy", known["null_quantize"]: "model.tflite"}
    for key, name in damaged.items():
        flip_byte(built.entry(key) / name)
    document = built.run("store.verify", "--json", expect=4).json("store")
    assert {entry["key"] for entry in document["entries"] if entry["damage"]} == set(damaged)
    for entry in document["entries"]:
        assert damaged.get(entry["key"], "") in entry["damage"]
    assert "2 damaged" in built.run("store.verify", expect=4).stdout


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize("task", [("store",), ("store.verify",), ("store.gc",), ("clean",), ("clean", "--store")])
def test_housekeeping_in_an_empty_project(project: Project, task: tuple[str, ...]) -> None:
    document = project.run(*task, "--json").json(task[0].partition(".")[0])
    assert document.get("entries", []) == document.get("removed", []) == []


def test_clean_leaves_the_store(built: Project) -> None:
    second_target(built)
    built.run("convert", "--target=other", "--workload=grey")
    before = sorted(path for path in (built.root / "artifacts").rglob("*") if path.is_file())
    planned = built.run("clean", "--dry-run", "--json").json("clean")
    assert before == sorted(path for path in (built.root / "artifacts").rglob("*") if path.is_file())
    document = built.run("clean", "--json").json("clean")
    assert document == planned
    assert set(document["removed"]) == {
        *("artifacts/grey/null/model.tflite", "artifacts/grey/null/build.json"),
        *("artifacts/grey/other/converted", "artifacts/logs"),
    }
    assert document["freed_bytes"] > 2 * 2752
    assert {path.name for path in (built.root / "artifacts").iterdir()} == {"store", "history.jsonl"}
    again = built.built()
    assert made(again) == []
    assert again["latency"]["reused"]


def test_clean_store_removes_everything(built: Project) -> None:
    document = built.run("clean", "--store", "--json").json("clean")
    assert "artifacts/store" in document["removed"]
    assert [path.name for path in (built.root / "artifacts").iterdir()] == ["history.jsonl"]
    assert made(built.built()) == STAGES


def test_list_is_quick_because_it_imports_little(project: Project) -> None:
    result = finish(
        subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "invoke", "--list"],
            **{"cwd": project.root, "env": project.environment, "text": True},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
        )
    )
    tasks = set(re.findall(r"^  (\S+)", result.stdout, re.MULTILINE))
    assert tasks == {
        *("train", "prune", "quantize", "convert", "build", "ci", "bench", "predict", "inspect", "targets", "clean"),
        *(
            "compare",
            "sensitivity",
            "report",
            "new",
            "data",
            "check",
            "release",
            "verify-release",
            "fetch",
            "history",
            "diff",
            "doctor",
            "start",
            "store.list",
            "store.verify",
            "store.gc",
            "track",
        ),
    }
    imported = set(re.findall(r"\| +(\S+)$", result.stderr, re.MULTILINE))
    assert "pipeline.tasks" in imported
    assert not imported & {"pydantic", "rich", "numpy", "PIL", "tensorflow"}


# ---------------------------------------------------------------- streams, errors, terminals


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("build", "--target=nul", "--workload=grey"), "unknown_name"),
        (("build", "--target=null", "--workload=gray"), "unknown_name"),
        (("convert", "--target=nul", "--workload=grey"), "unknown_name"),
        (("bench", "--target=nul"), "unknown_name"),
        (("bench", "--model=missing.tflite"), "bad_model_file"),
        (("inspect", "missing.tflite"), "bad_model_file"),
        (("predict", "--image=missing.png", "--target=nul", "--workload=grey"), "unknown_name"),
    ],
)
def test_errors_are_documents_too(built: Project, arguments: tuple[str, ...], code: str) -> None:
    result = built.run(*arguments, "--json", expect=2)
    error = result.json("error")["error"]
    assert error["code"] == code
    assert error["received"]
    assert error["expected"]
    assert error["fix"]
    assert result.stderr.startswith(f"error: {error['message']}\n")
    assert error["fix"] in result.stderr
    assert "Traceback" not in result.stderr


def test_errors_without_json_leave_stdout_empty(built: Project) -> None:
    result = built.run("build", "--target=nul", expect=2)
    assert result.stdout == ""
    assert result.stderr.startswith("error: unknown target 'nul'\n")


def test_data_goes_to_stdout_and_messages_to_stderr(project: Project) -> None:
    result = project.build()
    for metric in BUDGETS:
        assert metric in result.stdout
    assert "artifacts/grey/null/model.tflite" in result.stdout
    assert "pass: grey for null" in result.stdout
    assert "null_train: made in" not in result.stdout
    lines = result.stderr.splitlines()
    assert lines[0].startswith("to make: null_train, null_prune")
    for stage in (*STAGES, "benchmark"):
        assert any(line.startswith(f"{stage}: started") for line in lines)
        assert any(line.startswith(f"{stage}: made in ") for line in lines)


def test_a_reader_who_has_seen_enough(built: Project) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = built.start("targets", stdout=writing)
    os.close(writing)
    assert finish(process).stderr == ""


def on_terminal(project: Project, *arguments: str, columns: int, **environment: str) -> tuple[int, str, str]:
    """Run with a terminal of that width on stdout and stderr; return the exit code and what came on each."""
    import fcntl
    import struct
    import termios

    ends = [pty.openpty(), pty.openpty()]
    for _, slave in ends:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {"TERM": "xterm-256color", **environment}
    process = project.start(*arguments, stdout=ends[0][1], stderr=ends[1][1], env=environment)
    shown: dict[int, bytes] = {master: b"" for master, _ in ends}
    for _, slave in ends:
        os.close(slave)
    open_ends = set(shown)
    while open_ends:
        ready, _, _ = select.select(list(open_ends), [], [], TIMEOUT_SECONDS)
        assert ready, "nothing comes any more"
        for master in ready:
            try:
                data = os.read(master, 65536)
            except OSError:  # the other end is closed
                data = b""
            shown[master] += data
            if not data:
                open_ends.remove(master)
                os.close(master)
    return process.wait(TIMEOUT_SECONDS), *(data.decode() for data in shown.values())


@pytest.mark.parametrize("columns", [40, 100])
def test_live_view_on_a_terminal(project: Project, columns: int) -> None:
    project.configure("null_train", epochs=2, seconds=8 / REFRESHES_PER_SECOND)  # each epoch is drawn some times
    code, stdout, stderr = on_terminal(project, *BUILD, columns=columns)
    assert code == 0
    assert "\x1b[?25l" in stderr  # the cursor is hidden while the view lives
    assert stderr.rstrip().endswith("\x1b[?25h")
    for stage in STAGES:
        assert stage[: columns // 4] in stderr
    assert "Traceback" not in stderr
    assert "\x1b[32mpass" in stdout
    if columns == 100:
        assert "epoch 1/2" in stderr


@pytest.mark.parametrize("variable", ["NO_COLOR", "TERM"])
def test_no_escape_codes_where_they_are_not_wanted(project: Project, variable: str) -> None:
    code, stdout, stderr = on_terminal(project, *BUILD, columns=100, **{variable: "dumb"})
    assert code == 0
    assert ESCAPE not in stdout + stderr
    assert "null_train: made in" in stderr
    assert "pass: grey for null" in stdout


@pytest.mark.parametrize(
    "task",
    [
        ("build", "--target=null", "--workload=grey", "--explain"),
        ("targets",),
        ("store",),
        ("inspect", "steps/tiny_int8.tflite"),
    ],
)
def test_no_escape_codes_without_a_terminal(built: Project, task: tuple[str, ...]) -> None:
    result = built.run(*task, env={"TERM": "xterm-256color"})
    assert ESCAPE not in result.stdout + result.stderr
