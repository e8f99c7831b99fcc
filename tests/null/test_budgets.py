"""Every kind of budget can fail, and every outcome has its exit code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.null.cli import BUILD, Project, made

RUNNER = '''"""The null runner with a change."""

from dataclasses import replace

import numpy as np

from pipeline.runners import null

DESCRIPTION = "the null runner with a change"
VERSION = "1"
MEASURES_TIME = False
device = null.device
timed = 0


def run(models, samples, settings):
    global timed
    result = null.run(models, samples, settings)
    timed += bool(settings.rounds)
{change}
    return result
'''

# Times of one process are half as long as those of the next.
STRADDLING = """
    for name, model in result.models.items():
        result.models[name] = replace(model, times_ns=model.times_ns * (1 + timed % 2))
"""
SILENT_ABOUT_MEMORY = """
    result = replace(result, peak_resident_bytes=None)
"""
# On the test split, and there alone, the float32 file is always right.
BETTER_FLOAT = """
    if settings.outputs and len(samples) == 100 and models["model"].stat().st_size > 4000:
        better = np.eye(10, dtype=np.float32)[np.arange(100) % 10]
        result.models["model"] = replace(result.models["model"], outputs=better)
"""


def use_runner(project: Project, change: str) -> None:
    project.add("runners/changed.py", RUNNER.format(change=change))
    project.edit("targets/null.toml", 'runner = "null"', 'runner = "changed"')


def verdict_of(document: dict[str, Any], metric: str) -> dict[str, Any]:
    return next(verdict for verdict in document["verdicts"] if verdict["metric"] == metric)


def on_null(limit: float) -> str:
    return f'{{ limit = {limit}, device_class = "null" }}'


@pytest.mark.parametrize(
    ("metric", "limit", "measured"),
    [
        ("size_bytes", "2751", 2752),
        ("accuracy_min", "0.11", 0.1),
        ("accuracy_drop_max", "0.8", 0.9),
        ("latency_p50_ms", on_null(0.0009), 0.001),
        ("latency_p90_ms", on_null(0.0009), 0.001),
        ("speedup_min", "4.1", 4.0),
        ("memory_bytes", "499_999", 500_000),
    ],
)
def test_each_budget_can_fail(project: Project, metric: str, limit: str, measured: float) -> None:
    project.edit("targets/null.toml", f"{metric} = ", f"{metric} = {limit} # ")
    if metric == "accuracy_drop_max":
        use_runner(project, BETTER_FLOAT)
    document = project.build("--json", expect=5).json("build")
    assert document["verdict"] == "fail"
    assert verdict_of(document, metric)["measured"] == pytest.approx(measured)
    assert [verdict["metric"] for verdict in document["verdicts"] if verdict["verdict"] == "fail"] == [metric]
    assert json.loads(project.artifact(name="build.json").read_text()) == document  # a failed budget is a result
    table = project.run("bench", expect=5).stdout
    (shown,) = [line for line in table.splitlines() if line.startswith(f" {metric}")]
    assert shown.rstrip().endswith("fail")
    assert "-" in shown  # by how much it fails


def test_each_budget_passes_at_its_very_limit(built: Project) -> None:
    built.budget(
        size_bytes=2752,
        accuracy_min=0.1,
        accuracy_drop_max=0.0,
        latency_p50_ms=on_null(0.001),
        latency_p90_ms=on_null(0.001),
        speedup_min=4,
        memory_bytes=500_000,
    )
    document = built.built()
    assert [verdict["verdict"] for verdict in document["verdicts"]] == ["pass"] * 7
    assert made(document) == []
    assert document["latency"]["reused"]  # other limits need no other measurement


def test_without_budgets_everything_passes(built: Project) -> None:
    built.budget()
    document = built.built()
    assert (document["verdicts"], document["verdict"]) == ([], "pass")


def test_what_binds_elsewhere_decides_nothing(built: Project) -> None:
    built.budget(latency_p50_ms='{ limit = 1e-9, device_class = "phone" }')
    document = built.built()
    assert verdict_of(document, "latency_p50_ms")["verdict"] == "not applicable"
    assert document["verdict"] == "pass"


def test_times_around_the_limit_are_inconclusive(project: Project) -> None:
    """Shows as well that the project's own runner is found."""
    use_runner(project, STRADDLING)
    project.budget(latency_p50_ms=on_null(0.01))
    assert project.built()["verdict"] == "pass"
    project.budget(latency_p50_ms=on_null(0.0015), size_bytes=20_000)
    document = project.built(expect=3)
    assert not document["latency"]["reused"]  # the stored measurement decided another limit and leaves this one open
    found = verdict_of(document, "latency_p50_ms")
    low, high = found["interval"]
    assert low <= 0.0015 < high
    assert found["verdict"] == document["verdict"] == "inconclusive"
    assert document["latency"]["runner"] == "changed"
    assert made(document) == []
    project.run("bench", "--target=null", expect=3)
    project.budget(latency_p50_ms=on_null(0.0015), size_bytes=2000)
    assert project.built(expect=5)["verdict"] == "fail"  # what fails is not saved by what is open


def test_what_was_not_measured_does_not_pass(project: Project) -> None:
    use_runner(project, SILENT_ABOUT_MEMORY)
    document = project.built(expect=3)
    found = verdict_of(document, "memory_bytes")
    assert (found["measured"], found["verdict"]) == (None, "inconclusive")
    assert found["note"]
    assert [verdict["metric"] for verdict in document["verdicts"] if verdict["verdict"] == "inconclusive"] == [
        "memory_bytes"
    ]


def test_failed_step(project: Project) -> None:
    project.configure("null_train", fail=True)
    result = project.build("--json", expect=4)
    error = result.json("error")["error"]
    assert error["code"] == "step_failed"
    assert "ValueError: this step was told to fail" in error["message"]
    log = project.root / "artifacts" / "logs" / "grey-null.log"
    assert str(log) in error["fix"]
    assert "Traceback" in log.read_text()
    assert "Traceback" not in result.stderr
    assert not project.artifact().exists()
    project.edit("targets/null.toml", "fail = true", "fail = false")
    project.build()


def test_failed_build_leaves_the_last_one(built: Project) -> None:
    before = built.artifact(name="build.json").read_bytes()
    built.configure("null_quantize", agrees=False)
    built.build(expect=4)
    assert built.artifact(name="build.json").read_bytes() == before
    built.run("bench", "--target=null")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("biuld",), "biuld"),
        (("build", "--tarket=null"), "--tarket"),
        (("predict", *BUILD[1:]), "image"),
        (("inspect",), "file"),
    ],
    ids=["task", "flag", "missing flag", "missing file"],
)
def test_commands_that_invoke_refuses(project: Project, arguments: tuple[str, ...], message: str) -> None:
    result = project.run(*arguments, expect=1)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
