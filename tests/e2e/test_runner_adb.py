"""The adb runner against a recording stand-in for the client with a phone, and the real client without one.

No phone took part: what benchmark_model prints is written from its documented forms.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import BOTH, INT8, RunnerConformance, make_samples
from pydantic import ValidationError

from pipeline.errors import BadModelFile, EnvironmentUnsuited, PipelineError, RequestError, RunnerFailed
from pipeline.files import sha256_of
from pipeline.runner import Settings
from pipeline.runners import adb

STAND_IN = Path(__file__).parents[1] / "adb_phone.py"


class Phone:
    """The stand-in, first on the PATH."""

    def __init__(self, folder: Path):
        self.folder = folder
        program = folder / "adb"
        program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.tool = folder / "benchmark_model"
        self.tool.write_bytes(b"an arm64 program")
        self.behave()

    def behave(self, **behaviour: Any) -> None:
        (self.folder / "behaviour.json").write_text(json.dumps(behaviour))

    def config(self, **changes: Any) -> dict[str, Any]:
        given = {"benchmark_model": str(self.tool), "benchmark_model_sha256": sha256_of(self.tool)}
        return given | changes

    def settings(self, config: dict[str, Any] | None = None, **changes: Any) -> Settings:
        return Settings(config=adb.Config(**self.config(**(config or {}))), **changes)

    def calls(self) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def started(self) -> list[str]:
        """Return the command lines of the tool."""
        return [call[-1] for call in self.calls() if "--graph=" in call[-1]]


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    adb._phone.cache_clear()
    yield Phone(tmp_path)
    adb._phone.cache_clear()


def refused(phone: Phone, kind: type[PipelineError], config: dict[str, Any] | None = None, **changes: Any) -> Any:
    with pytest.raises(kind) as caught:
        adb.run({"model": INT8}, make_samples(1), phone.settings(config, **changes))
    error = caught.value
    assert error.received
    assert error.expected
    assert error.fix
    return error


class TestAdb(RunnerConformance):
    runner = adb
    loads_models = False  # the stand-in does not
    gives_outputs = False

    @pytest.fixture(autouse=True)
    def _reached(self, phone: Phone) -> None:
        self.phone = phone

    def settings(self, **changes: Any) -> Settings:
        return self.phone.settings(**changes)


def test_rounds_are_medians_of_starts_in_turns(phone: Phone) -> None:
    phone.behave(us={"0": 300, "1": 700})
    result = adb.run(BOTH, None, phone.settings(rounds=3, outputs=False))
    assert np.array_equal(result.models["model"].times_ns, np.full((3, 1), 300_000))
    assert np.array_equal(result.models["baseline"].times_ns, np.full((3, 1), 700_000))
    run = result.models["model"]
    assert run.kernels == "XNNPACK delegate; medians of 50 invocations"
    assert run.invocations_a_time == 50
    assert run.figures["p95_us"].value == 600
    assert run.figures["tool_memory_megabytes"].value == 2.25
    assert run.first_answer_ns == 5_900_000
    assert run.outputs is None
    files = [command.split("/")[-1].split(".")[0] for command in [c.split(" ")[1] for c in phone.started()]]
    assert files == ["0", "1", "1", "0", "0", "1"]


@pytest.mark.parametrize(
    ("config", "threads", "expected"),
    [
        ({}, 1, ["--num_threads=1", "--use_xnnpack=true"]),
        ({"delegate": "none"}, 2, ["--num_threads=2", "--use_xnnpack=false"]),
        ({"delegate": "nnapi"}, 1, ["--use_xnnpack=false", "--use_nnapi=true"]),
        ({"delegate": "gpu"}, 1, ["--use_xnnpack=false", "--use_gpu=true"]),
        ({"cpu_affinity": "f0"}, 4, ["taskset f0", "--num_threads=4"]),
    ],
)
def test_command_lines(phone: Phone, config: dict[str, Any], threads: int, expected: list[str]) -> None:
    adb.run({"model": INT8}, None, phone.settings(config, rounds=1, threads=threads))
    (command,) = phone.started()
    for part in (*expected, "--num_runs=50", "--warmup_runs=10"):
        assert part in command
    assert ("--use_nnapi" in command) == (config.get("delegate") == "nnapi")
    assert ("taskset" in command) == ("cpu_affinity" in config)


def test_the_tool_and_the_model_are_pushed_and_removed(phone: Phone) -> None:
    adb.run({"model": INT8}, None, phone.settings({"serial": "PHONE1"}, rounds=1))
    calls = phone.calls()
    assert all(call[:2] == ["-s", "PHONE1"] for call in calls if call != ["devices"])
    pushed = [call[3] for call in calls if call[2:3] == ["push"]]
    assert pushed == [str(phone.tool), str(INT8)]
    made = next(call[4] for call in calls if call[3:4] == ["mkdir"])
    assert made.startswith("/data/local/tmp/pipeline-")
    assert ["-s", "PHONE1", "shell", "rm", "-rf", made] in calls


def test_the_phone_is_described_with_its_state(phone: Phone) -> None:
    found = adb.device(phone.settings())
    assert (found.device_class, found.name) == ("android-arm64", "Test Phone")
    assert found.fingerprint["android"] == "14"
    assert found.fingerprint["benchmark_model"] == sha256_of(phone.tool)
    assert not found.emulated
    conditions = adb.run({"model": INT8}, None, phone.settings()).conditions
    assert conditions["battery_celsius_before"] == "31.5"
    assert conditions["throttling_after"] == "light"
    assert conditions["governor_after"] == "schedutil+walt"


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ({}, "no device is connected"),
        ({"PHONE1": "unauthorized"}, "does not trust this computer"),
        ({"PHONE1": "offline"}, "is offline"),
        ({"PHONE1": "device", "PHONE2": "device"}, "several devices"),
    ],
)
def test_a_device_that_cannot_be_used(phone: Phone, devices: dict[str, str], words: str) -> None:
    phone.behave(devices=devices)
    assert words in refused(phone, RunnerFailed).message


def test_a_serial_that_is_not_there(phone: Phone) -> None:
    assert "OTHER is not connected" in refused(phone, RunnerFailed, {"serial": "OTHER"}).message


def test_another_program_is_not_pushed(phone: Phone) -> None:
    error = refused(phone, RequestError, {"benchmark_model_sha256": "0" * 64})
    assert sha256_of(phone.tool) in error.received
    assert "0" * 64 in error.expected
    assert not any("push" in call for call in phone.calls())
    assert "no benchmark_model at" in refused(phone, RequestError, {"benchmark_model": "/nowhere"}).message


def test_a_push_that_fails_is_cleaned_up(phone: Phone) -> None:
    phone.behave(fail=["push"], fail_text="failed to copy: No space left on device")
    assert "No space left on device" in refused(phone, RunnerFailed).received
    assert phone.calls()[-1][:3] == ["shell", "rm", "-rf"]


def test_a_hanging_client_ends_in_bounded_time(phone: Phone) -> None:
    phone.behave(hang=["push"])
    started = time.monotonic()
    error = refused(phone, RunnerFailed, {"timeout_seconds": 1.0})
    assert time.monotonic() - started < 10
    assert "gave no answer" in error.message


def test_a_hanging_tool_ends_at_the_targets_limit(phone: Phone) -> None:
    phone.behave(tool="hang")
    assert refused(phone, RunnerFailed, {"timeout_seconds": 0.5}, seconds=1.0).received == "nothing within 1 s"
    assert phone.calls()[-1][:3] == ["shell", "rm", "-rf"]


def test_a_model_that_the_tool_refuses_is_named(phone: Phone) -> None:
    phone.behave(tool="ERROR: Didn't find op for builtin opcode\nERROR: Failed to construct interpreter")
    assert str(INT8) in refused(phone, BadModelFile).message
    phone.behave(tool="Segmentation fault")
    assert "Segmentation fault" in refused(phone, RunnerFailed).received
    phone.behave(tool="/data/local/tmp/x: not executable: 64-bit ELF file")
    assert "built for the device's processor" in refused(phone, RunnerFailed).fix


@pytest.mark.parametrize(
    "wrong",
    [
        {"serial": "-e rm"},
        {"cpu_affinity": "f0; reboot"},
        {"delegate": "hexagon"},
        {"remote_folder": "tmp"},
        {"benchmark_model_sha256": "abc"},
        {"unknown": 1},
    ],
)
def test_a_setting_that_cannot_be_meant(phone: Phone, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        adb.Config(**phone.config(**wrong))


def test_without_a_tool_it_says_where_to_name_one() -> None:
    with pytest.raises(RequestError, match="which tool") as caught:
        adb.run({"model": INT8}, None, Settings())
    assert "devices.toml" in caught.value.fix


def test_without_a_client_it_says_how_to_install_it(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert refused(phone, EnvironmentUnsuited).fix == "apt-get install adb"


@pytest.mark.skipif(not shutil.which("adb"), reason="apt-get install adb")
def test_the_real_client_without_a_phone(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which("adb", path=os.environ["PATH"].split(os.pathsep, 1)[1])
    assert real
    monkeypatch.setenv("PATH", str(Path(real).parent), prepend=os.pathsep)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free.getsockname()[1]))
    try:
        assert "no device is connected" in refused(phone, RunnerFailed).message
        assert "NOPE is not connected" in refused(phone, RunnerFailed, {"serial": "NOPE"}).message
    finally:
        subprocess.run([real, "kill-server"], capture_output=True, timeout=20)


def test_a_build_measures_on_the_phone_that_devices_toml_names(phone: Phone, tmp_path: Path) -> None:
    from tests.null.cli import Project

    project = Project.create(tmp_path / "p")
    project.environment["PATH"] = os.environ["PATH"]
    content = (project.root / "targets" / "null.toml").read_text()
    waiting = content.replace('runner = "null"', 'runner = "adb"\nrunner_without_device = "null"')
    project.add("targets/null.toml", waiting)
    project.budget(latency_p50_ms='{ limit = 1.0, device_class = "android-arm64" }')
    without = project.run("build", "--target=null", "--workload=grey", "--json")
    assert without.json("build")["device"]["runner"] == "null"
    assert without.json("build")["verdicts"][0]["verdict"] == "not applicable"
    assert "no device is configured" in without.stderr
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in phone.config().items())
    project.add("devices.toml", f"[null]\n{lines}\n")
    document = project.built()
    assert document["device"]["runner"] == "adb"
    assert document["device"]["device"]["name"] == "Test Phone"
    assert document["verdicts"][0]["verdict"] == "pass"
    assert document["latency"]["p50_us"] == 400.0
