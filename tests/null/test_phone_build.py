"""A whole build on a (stand-in) phone: devices.toml decides whether it is measured there, and build.json says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from phone import Phone

from tests.null.cli import Project


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    return Phone(tmp_path / "phone")


@pytest.fixture
def project(tmp_path: Path, phone: Phone) -> Project:
    """A target as `mobile` is: the runner of a phone, and another until there is one."""
    project = Project.create(tmp_path / "p")
    project.environment["PATH"] = phone.path()
    content = (project.root / "targets" / "null.toml").read_text()
    waiting = content.replace('runner = "null"', 'runner = "adb"\nrunner_without_device = "null"')
    assert waiting != content
    project.add("targets/null.toml", waiting)
    return project


def configure(project: Project, phone: Phone, **changes: Any) -> None:
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in phone.config(**changes).items())
    project.add("devices.toml", f"[null]\n{lines}\n")


def test_devices_toml_decides_whether_it_is_measured_here_or_on_the_phone(project: Project, phone: Phone) -> None:
    project.budget(
        latency_p50_ms='{ limit = 0.3, device_class = "android-arm64" }',
        latency_p90_ms='{ limit = 1.0, device_class = "android-arm64" }',
        memory_bytes="6_500_000",
    )
    result = project.run("build", "--target=null", "--workload=grey", "--json", expect=None)
    here = result.json("build")
    assert here["device"]["runner"] == "null"
    assert [verdict["verdict"] for verdict in here["verdicts"][:2]] == ["not applicable", "not applicable"]
    assert "no device is configured" in result.stderr
    assert phone.calls() == []

    configure(project, phone)
    there = project.built(expect=5)
    assert there["device"]["runner"] == "adb"
    assert there["device"]["device"]["name"] == "Test Phone"
    assert there["device"]["device"]["device_class"] == "android-arm64"
    assert there["latency"]["p50_us"] == 400.0
    assert there["latency"]["invocations_a_time"] == 50
    verdicts = {verdict["metric"]: verdict for verdict in there["verdicts"]}
    assert {name: verdict["verdict"] for name, verdict in verdicts.items()} == {
        "latency_p50_ms": "fail",
        "latency_p90_ms": "pass",
        "memory_bytes": "pass",
    }
    assert verdicts["latency_p90_ms"]["measured"] == 0.8
    assert verdicts["latency_p90_ms"]["note"] == "by the 95th percentile"
    assert verdicts["memory_bytes"]["measured"] == 2.25 * 2**20
    assert phone.left() == []


def test_a_phone_that_is_not_there_is_told_before_training(project: Project, phone: Phone) -> None:
    configure(project, phone)
    phone.behave(devices={})
    result = project.run("build", "--target=null", "--workload=grey", expect=4)
    assert "no device is connected" in result.stderr
    assert "turn on USB debugging" in result.stderr
    assert project.entries() == set()


def test_a_mistake_in_devices_toml_is_named_by_file_and_key(project: Project, phone: Phone) -> None:
    configure(project, phone, seriall="x")
    result = project.run("build", "--target=null", "--workload=grey", expect=2)
    assert f"{project.root / 'devices.toml'}: unknown key null.seriall" in result.stderr
    assert "did you mean 'serial'?" in result.stderr
    assert phone.calls() == []
