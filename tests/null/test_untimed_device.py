"""A device that gives neither outputs nor times, as a compiler for an NPU does: every command copes."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.null.cli import Project, made

RUNNER = '''"""Tells two numbers of a file, and makes another one from it."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import RunnerFailed
from pipeline.runner import Device, Figure, ModelRun, RunResult
from pipeline.runners._files import check_model_file

DESCRIPTION = "an NPU that nothing runs on"
VERSION = "1"
MEASURES_TIME = False
TAKES_BASELINE = False
EVALUATED_BY = "null"
REFUSED = ""


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    clock: int = Field(100, gt=0, description="MHz.")


def device(settings):
    clock = (settings.config or Config()).clock
    return Device(device_class="npu", name="NPU of none", fingerprint={"clock": str(clock)})


def run(models, samples, settings):
    runs = {}
    for name, path in models.items():
        check_model_file(path)
        content = path.read_bytes()
        if REFUSED and len(content) > 4000:
            raise RunnerFailed(REFUSED, received="a float file", expected="integers", fix="quantize it")
        with open("runs.txt", "a") as log:
            log.write(f"{name} {len(content)}\\n")
        figures = {
            "npu_operator_share": Figure(value=0.0 if len(content) > 4000 else 1.0, note="3 operators"),
            "npu_cycles": Figure(value=len(content), estimated=True, note="by none at 100 MHz"),
        }
        files = {"npu.bin": content[::-1]}
        runs[name] = ModelRun(None, np.empty((0, 0), np.int64), "none", figures=figures, files=files)
    return RunResult(device(settings), None, runs)
'''
TECHNIQUES = """
[technique.float32]
description = "plain"
float_io = true
recipe = [{ step = "null_quantize", scheme = "float32" }]

[technique.int8]
description = "full-integer"
against = "float32"
recipe = [{ step = "null_quantize", scheme = "int8" }]
"""
NUMBERS = {"npu_operator_share_min": 1.0, "npu_cycles_max": 3000}


@pytest.fixture
def npu(project: Project) -> Project:
    """The null project, whose target goes to the NPU."""
    project.add("runners/npu.py", RUNNER)
    project.edit("targets/null.toml", 'runner = "null"', 'runner = "npu"')
    project.budget(**NUMBERS)
    return project


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {verdict["metric"]: verdict["verdict"] for verdict in document["verdicts"]}


def runs(project: Project) -> list[str]:
    return (project.root / "runs.txt").read_text().splitlines()


def test_a_build_has_figures_and_no_latency(npu: Project) -> None:
    printed = npu.build("--json")
    document = printed.json("build")
    assert printed.stdout == npu.artifact(name="build.json").read_text()
    assert document["latency"] is None
    assert verdicts(document) == {"npu_operator_share_min": "pass", "npu_cycles_max": "pass"}
    assert document["verdict"] == "pass"
    device = document["device"]
    assert (device["runner"], device["device"]["device_class"]) == ("npu", "npu")
    assert device["figures"]["npu_cycles"] == {"value": 2752, "estimated": True, "note": "by none at 100 MHz"}
    assert device["memory_bytes"] is None
    assert device["device_check"] is None
    made_from_it = npu.artifact().read_bytes()[::-1]
    assert npu.artifact(name="npu.bin").read_bytes() == made_from_it
    assert device["files"] == {"npu.bin": hashlib.sha256(made_from_it).hexdigest()}
    assert "an estimate: by none at 100 MHz" in document["verdicts"][1]["note"]
    assert {line.split()[1] for line in runs(npu)} == {"2752"}  # the float file was never sent


def test_a_person_reads_the_device_and_which_figures_are_estimates(npu: Project) -> None:
    shown = npu.build().stdout
    assert "device      NPU of none (npu), which gives no times\n" in shown
    assert "npu_cycles  2,752 (estimate); by none at 100 MHz" in shown
    assert "npu_operator_share 1; 3 operators" in shown
    assert "latency" not in shown
    assert "reused from" in npu.build().stdout


def test_a_second_build_asks_the_device_nothing_and_publishes_its_file_again(npu: Project) -> None:
    npu.build()
    before, content = runs(npu), npu.artifact(name="npu.bin").read_bytes()
    npu.artifact(name="npu.bin").unlink()
    document = npu.built()
    assert made(document) == []
    assert document["device"]["reused"]
    assert runs(npu) == before
    assert npu.artifact(name="npu.bin").read_bytes() == content


def test_other_settings_are_another_device(npu: Project) -> None:
    npu.build()
    npu.edit("targets/null.toml", "[budgets]", "[device]\nclock = 50\n\n[budgets]")
    document = npu.built()
    assert not document["device"]["reused"]
    assert document["device"]["device"]["fingerprint"] == {"clock": "50"}


@pytest.mark.parametrize("limit", [{"npu_cycles_max": 2751}, {"npu_operator_share_min": 1.0, "size_bytes": 100}])
def test_each_limit_can_fail(npu: Project, limit: dict[str, float]) -> None:
    npu.budget(**limit)
    assert npu.built(expect=5)["verdict"] == "fail"
    assert npu.artifact(name="npu.bin").exists()  # a failed budget is a result


def test_what_needs_a_time_is_open_and_what_binds_elsewhere_is_not_applicable(npu: Project) -> None:
    npu.budget(
        latency_p50_ms='{ limit = 1, device_class = "npu" }',
        latency_p90_ms='{ limit = 1, device_class = "phone" }',
        speedup_min=1,
        memory_bytes=10**9,
        arena_bytes=10**9,
    )
    document = npu.built(expect=3)
    assert verdicts(document) == {
        "latency_p50_ms": "inconclusive",
        "latency_p90_ms": "not applicable",
        "speedup_min": "inconclusive",
        "memory_bytes": "inconclusive",
        "arena_bytes": "inconclusive",
    }


def test_bench_shows_the_figures_again(npu: Project, tmp_path: Path) -> None:
    npu.build()
    result = npu.run("bench", "--target=null", "--json").json("bench")["results"][0]
    assert result["latency"] is None
    assert result["device"]["figures"]["npu_cycles"]["value"] == 2752
    assert not result["device"]["reused"]
    assert result["verdict"] == "pass"
    shown = npu.run("bench").stdout
    assert "NPU of none (npu)" in shown
    assert "(estimate)" in shown
    file = npu.run("bench", f"--model={npu.artifact()}", "--target=null", "--json").json("bench")["results"][0]
    assert file["device"]["figures"]["npu_cycles"]["value"] == 2752
    npu.budget(npu_cycles_max=2751)
    npu.run("bench", expect=5)


def test_targets_predict_and_inspect_cope(npu: Project, tmp_path: Path) -> None:
    npu.build()
    rows = npu.run("targets", "--json").json("targets")["targets"]
    row = next(row for row in rows if row["name"] == "null")
    assert (row["runner"], row["last"], row["budgets"]["npu_cycles_max"]) == ("npu", {"grey": "pass"}, 3000)
    assert "npu_cycles_max 3,000" in npu.run("targets").stdout
    Image.new("L", (28, 28), 30).save(tmp_path / "digit.png")
    arguments = ("--target=null", "--workload=grey", f"--image={tmp_path / 'digit.png'}", "--json")
    assert npu.run("predict", *arguments).json("predict")["predicted"] == "a"
    npu.run("inspect", str(npu.artifact()))


COMPARE = ("compare", "--target=null", "--workload=grey", "--techniques=int8,target")


@pytest.fixture
def comparing(npu: Project) -> Project:
    npu.add("techniques.toml", TECHNIQUES)
    return npu


def test_a_comparison_takes_times_elsewhere_and_figures_from_the_device(comparing: Project) -> None:
    document = comparing.run(*COMPARE, "--json").json("compare")
    rows = {row["name"]: row for row in document["candidates"]}
    assert {row["latency"]["runner"] for row in rows.values()} == {"null"}
    assert rows["int8"]["figures"]["npu_cycles"]["value"] == 2752
    assert rows["float32"]["figures"]["npu_operator_share"]["value"] == 0
    assert verdicts(rows["float32"]) == {"npu_operator_share_min": "fail", "npu_cycles_max": "fail"}
    assert (document["choice"], document["verdict"]) == ("int8", "pass")
    table = list(csv.DictReader(io.StringIO(comparing.artifact(name="compare/compare.csv").read_text())))
    assert [float(row["npu_cycles"]) for row in table] == [
        row["figures"]["npu_cycles"]["value"] for row in rows.values()
    ]
    shown = comparing.run(*COMPARE).stdout
    assert "times by the runner null on null" in shown
    assert "npu_cycles (estimate)" in shown


def test_what_another_device_timed_decides_no_budget_of_this_one(comparing: Project) -> None:
    comparing.budget(
        latency_p50_ms='{ limit = 1, device_class = "null" }',
        latency_p90_ms='{ limit = 1, device_class = "npu" }',
        speedup_min=1,
        memory_bytes=10**9,
    )
    document = comparing.run(*COMPARE, "--json", expect=3).json("compare")
    found = {verdict["metric"]: verdict["verdict"] for verdict in document["choice_verdicts"]}
    assert found == {
        "latency_p50_ms": "not applicable",
        "latency_p90_ms": "inconclusive",
        "speedup_min": "inconclusive",
        "memory_bytes": "inconclusive",
    }
    assert found == verdicts(comparing.built(expect=3))  # as the build of the choice says


def test_a_technique_that_the_device_refuses_is_left_out_by_name(comparing: Project) -> None:
    comparing.edit("runners/npu.py", 'REFUSED = ""', 'REFUSED = "the NPU takes no floats"')
    comparing.add("techniques.toml", TECHNIQUES + TECHNIQUES.split("\n\n")[0].replace("float32]", "floats]"))
    document = comparing.run(*COMPARE[:3], "--techniques=int8,floats", "--json").json("compare")
    assert [row["name"] for row in document["candidates"]] == ["float32", "int8"]  # the reference stays
    assert [(one["name"], one["message"]) for one in document["excluded"]] == [("floats", "the NPU takes no floats")]


def test_a_comparison_without_any_times_says_what_is_missing(comparing: Project) -> None:
    comparing.edit("runners/npu.py", 'EVALUATED_BY = "null"', 'EVALUATED_BY = "mute"')
    comparing.add(
        "runners/mute.py",
        "from dataclasses import replace\n\nimport numpy as np\n\nfrom pipeline.runners import null\n"
        'VERSION, MEASURES_TIME, device = "1", False, null.device\n\n\n'
        "def run(models, samples, settings):\n"
        "    result = null.run(models, samples, replace(settings, rounds=0))\n"
        "    return result\n",
    )
    error = comparing.run(*COMPARE, "--json", expect=2).json("error")["error"]
    assert "gives no times" in error["message"]
    assert "EVALUATED_BY" in error["fix"]
