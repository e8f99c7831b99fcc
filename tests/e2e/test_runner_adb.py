"""The adb runner against a recording stand-in for the client with a phone, and the real client without one.

No phone took part: what benchmark_model prints is written from its documented forms.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import BOTH, INT8, RunnerConformance, make_samples
from phone import REPORT, Phone
from pydantic import ValidationError

from pipeline.errors import BadModelFile, EnvironmentUnsuited, PipelineError, RequestError, RunnerFailed
from pipeline.files import sha256_of
from pipeline.runner import Settings
from pipeline.runners import adb


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    phone = Phone(tmp_path / "phone")
    monkeypatch.setenv("PATH", phone.path())
    adb._phone.cache_clear()
    yield phone
    adb._phone.cache_clear()
    for number, _ in phone.started():
        if str(number) in phone.left():  # a test that failed
            os.kill(number, signal.SIGKILL)


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
    phone.take(0, 300)
    phone.take(1, 700)
    result = adb.run(BOTH, None, phone.settings(rounds=3, outputs=False))
    assert np.array_equal(result.models["model"].times_ns, np.full((3, 1), 300_000))
    assert np.array_equal(result.models["baseline"].times_ns, np.full((3, 1), 700_000))
    run = result.models["model"]
    assert run.kernels == "XNNPACK delegate; medians of 50 invocations or more"
    assert run.invocations_a_time == 50
    assert run.figures["p95_us"].value == 800
    assert run.memory_bytes == 2.25 * 2**20
    assert run.first_answer_ns == 5_900_000
    assert run.outputs is None
    graphs = [option for _, options in phone.started() for option in options if option.startswith("--graph=")]
    assert [graph[len("--graph=")] for graph in graphs] == ["0", "1", "1", "0", "0", "1"]


def test_an_older_tool_gives_averages(phone: Phone) -> None:
    older = "count=50 first=49060 curr=33978 min=32641 max=49060 avg=33209.4 std=450"
    phone.say(
        f"count=1 curr=49060\n{older}\nAverage inference timings in us: Warmup: 49060, Init: 855, no stats: 33209\n"
    )
    run = adb.run({"model": INT8}, None, phone.settings(rounds=1)).models["model"]
    assert run.times_ns.tolist() == [[33_209_400]]
    assert run.figures == {}
    assert run.memory_bytes is None
    assert run.kernels == (
        "delegate xnnpack was asked for, and the tool tells of none; averages of 50 invocations or more"
    )


@pytest.mark.parametrize(
    ("config", "threads", "expected"),
    [
        ({}, 1, ["--num_threads=1", "--use_xnnpack=true"]),
        ({"delegate": "none"}, 2, ["--num_threads=2", "--use_xnnpack=false"]),
        ({"delegate": "nnapi"}, 1, ["--num_threads=1", "--use_xnnpack=false", "--use_nnapi=true"]),
        ({"delegate": "gpu"}, 1, ["--num_threads=1", "--use_xnnpack=false", "--use_gpu=true"]),
        ({"delegate": "default"}, 1, ["--num_threads=1"]),
    ],
)
def test_command_lines(phone: Phone, config: dict[str, Any], threads: int, expected: list[str]) -> None:
    adb.run({"model": INT8}, None, phone.settings(config, rounds=1, threads=threads, seconds=80.0))
    ((_, options),) = phone.started()
    fixed = ["--graph=0.tflite", "--num_runs=50", "--warmup_runs=10", "--min_secs=0.2", "--max_secs=20"]
    assert sorted(options) == sorted([*fixed, "--enable_op_profiling=false", *expected])
    assert not any("taskset" in line for line in phone.command_lines())


def test_cores_are_chosen_with_taskset(phone: Phone) -> None:
    adb.run({"model": INT8}, None, phone.settings({"cpu_affinity": "f0"}, rounds=1))
    assert "taskset f0 ./benchmark_model --graph=" in phone.command_lines()[0]
    assert len(phone.started()) == 1


def test_the_tool_and_the_model_are_copied_and_removed(phone: Phone) -> None:
    adb.run({"model": INT8}, None, phone.settings({"serial": "PHONE1"}, rounds=1))
    calls = phone.calls()
    assert all(call[:2] == ["-s", "PHONE1"] for call in calls if call != ["devices"])
    pushed = [call[3:] for call in calls if call[2:3] == ["push"]]
    assert [source for source, _ in pushed] == [str(phone.tool), str(INT8)]
    assert all(to.startswith("/data/local/tmp/pipeline-") for _, to in pushed)
    adb.run({"model": INT8}, None, phone.settings({"serial": "PHONE1"}))
    again = [call[4] for call in phone.calls() if call[2:3] == ["push"]][2:]
    assert not set(again) & {to for _, to in pushed}
    assert phone.left() == []


def test_another_folder_on_the_phone(phone: Phone) -> None:
    (phone.data / "mine").mkdir()
    adb.run({"model": INT8}, None, phone.settings({"remote_folder": "/data/local/tmp/mine/"}))
    pushed = [call[2] for call in phone.calls() if call[0] == "push"]
    assert all(to.startswith("/data/local/tmp/mine/pipeline-") for to in pushed)
    assert phone.left() == [str(phone.data / "mine")]


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


def test_an_emulator_is_emulated(phone: Phone) -> None:
    phone.behave(properties={"ro.boot.qemu": "1", "ro.product.cpu.abi": "x86_64", "ro.soc.model": "SM8450"})
    found = adb.device(phone.settings())
    assert found.emulated
    assert found.device_class == "android-x86_64"
    assert found.fingerprint["chip"] == "SM8450"


def test_the_class_can_be_given(phone: Phone) -> None:
    assert adb.device(phone.settings({"device_class": "pixel"})).device_class == "pixel"


def test_what_is_no_android_says_so(phone: Phone) -> None:
    phone.behave(properties={"ro.product.cpu.abi": ""})
    assert "does not tell its processor" in refused(phone, RunnerFailed).message


def test_what_the_phone_does_not_tell_is_left_out(phone: Phone) -> None:
    (phone.folder / "bin/dumpsys").write_text("#!/bin/sh\nexit 20\n")
    shutil.rmtree(phone.folder / "sys")
    assert adb.run({"model": INT8}, None, phone.settings()).conditions == {}


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ({}, "no device is connected"),
        ({"PHONE1": "unauthorized"}, "does not trust this computer"),
        ({"PHONE1": "authorizing"}, "does not trust this computer"),
        ({"PHONE1": "offline"}, "is offline"),
        ({"PHONE1": "no permissions (missing udev rules? user is in the plugdev group)"}, "may not be used"),
        ({"PHONE1": "device", "PHONE2": "device"}, "several devices"),
    ],
)
def test_a_device_that_cannot_be_used(phone: Phone, devices: dict[str, str], words: str) -> None:
    phone.behave(devices=devices)
    error = refused(phone, RunnerFailed)
    assert words in error.message
    assert error.received == (", ".join(f"{serial} {state}" for serial, state in devices.items()) or "no device")


def test_one_of_several_devices(phone: Phone) -> None:
    phone.behave(devices={"PHONE1": "device", "PHONE2": "offline"})
    assert adb.device(phone.settings({"serial": "PHONE1"})).name == "Test Phone"
    assert "PHONE2 is offline" in refused(phone, RunnerFailed, {"serial": "PHONE2"}).message


def test_a_serial_that_is_not_there(phone: Phone) -> None:
    assert "OTHER is not connected" in refused(phone, RunnerFailed, {"serial": "OTHER"}).message


def test_what_an_older_client_says_of_its_server_is_no_device(phone: Phone) -> None:
    says = ["* daemon not running. starting it now on port 5037 *", "* daemon started successfully *"]
    phone.behave(server_says=says)
    assert adb.device(phone.settings()).name == "Test Phone"


def test_another_program_is_not_copied(phone: Phone) -> None:
    error = refused(phone, RequestError, {"benchmark_model_sha256": "0" * 64})
    assert sha256_of(phone.tool) in error.received
    assert "0" * 64 in error.expected
    assert "no benchmark_model at" in refused(phone, RequestError, {"benchmark_model": "/nowhere"}).message
    assert phone.calls() == []


def test_the_program_is_looked_at_before_anything_is_built(phone: Phone) -> None:
    with pytest.raises(RequestError, match="another program"):
        adb.device(phone.settings({"benchmark_model_sha256": "0" * 64}))


def test_its_path_starts_at_the_project(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    (phone.folder / "tasks.py").touch()
    monkeypatch.chdir(phone.data)
    adb.run({"model": INT8}, None, phone.settings({"benchmark_model": "benchmark_model"}))
    assert len(phone.started()) == 1


def test_a_copy_that_fails_is_cleaned_up(phone: Phone) -> None:
    phone.behave(fail=["push"], fail_text="failed to copy: No space left on device")
    assert "No space left on device" in refused(phone, RunnerFailed).received
    assert phone.left() == []


def test_a_folder_that_stays_after_a_good_run_is_said(phone: Phone) -> None:
    phone._program("bin/rm", "#!/bin/sh\nexit 1\n")
    assert "rm -rf /data/local/tmp/pipeline-" in refused(phone, RunnerFailed).message


def test_a_phone_that_is_disconnected_in_mid_run(phone: Phone) -> None:
    phone.mark("gone_after")
    error = refused(phone, RunnerFailed, rounds=2)
    assert "'PHONE1' not found" in error.received
    assert "still connected" in error.fix
    assert len(phone.started()) == 1


def test_a_hanging_client_ends_in_bounded_time(phone: Phone) -> None:
    phone.behave(hang=["push"])
    started = time.monotonic()
    error = refused(phone, RunnerFailed, {"timeout_seconds": 1.0})
    assert time.monotonic() - started < 10
    assert "gave no answer" in error.message
    assert phone.left() == []


def test_a_hanging_tool_is_stopped_on_the_phone_at_the_targets_limit(phone: Phone) -> None:
    phone.mark("hangs")
    assert refused(phone, RunnerFailed, {"timeout_seconds": 0.5}, seconds=1.0).received == "nothing within 1 s"
    assert len(phone.started()) == 1
    assert phone.left() == []


def test_an_interrupt_leaves_nothing_on_the_phone(phone: Phone) -> None:
    phone.mark("hangs")
    code = (
        "from pathlib import Path; from pipeline.runner import Settings; from pipeline.runners import adb; "
        f"adb.run({{'model': Path({str(INT8)!r})}}, None, Settings(config=adb.Config(**{phone.config()!r})))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while not phone.started() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert phone.left()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
    assert b"KeyboardInterrupt" in told
    assert phone.left() == []


@pytest.mark.parametrize(
    "says",
    [
        "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '9'\nERROR: Failed to construct interpreter",
        "ERROR: Model provided has model identifier 'xxxx', should be 'TFL3'\nERROR: Failed to mmap model m.tflite",
        "ERROR: Node number 57 (BATCH_MATMUL) failed to prepare.\nERROR: Failed to allocate tensors!",
    ],
)
def test_a_model_that_the_tool_refuses_is_named(phone: Phone, says: str) -> None:
    phone.say(says, 1)
    error = refused(phone, BadModelFile)
    assert str(INT8) in error.message
    assert error.received.startswith(says)


def test_a_tool_that_fails_shows_its_last_words_and_its_command(phone: Phone) -> None:
    phone.say(REPORT, 1)  # its report is worth nothing then
    assert "exit=1" in refused(phone, RunnerFailed).received
    phone.say("/data/local/tmp/x: not executable: 64-bit ELF file", 126)
    error = refused(phone, RunnerFailed)
    assert "64-bit ELF" in error.received
    assert "./benchmark_model --graph=0.tflite" in error.fix
    phone.say(REPORT.split("INFO: Inference timings")[0])
    assert "Inference timings in us" in refused(phone, RunnerFailed).expected
    assert phone.left() == []


@pytest.mark.parametrize("delegate", ["nnapi", "gpu"])
@pytest.mark.parametrize(
    "says",
    [
        "INFO: Though {name} delegate is explicitly applied, the model graph will not be executed by the delegate.",
        "WARN: {name} acceleration is unsupported on this platform.",
    ],
)
def test_the_cpus_time_is_not_taken_for_a_delegates(phone: Phone, delegate: str, says: str) -> None:
    phone.say(f"{says.format(name=delegate.upper())}\n{REPORT}")
    error = refused(phone, RunnerFailed, {"delegate": delegate}, rounds=1)
    assert f"the delegate {delegate} takes no operator" in error.message
    assert error.received == f"{delegate.upper()} delegate took no operator"


def test_kernels_say_when_xnnpack_took_nothing(phone: Phone) -> None:
    line = "INFO: Though XNNPACK delegate is explicitly applied, the model graph will not be executed by the delegate."
    phone.say(f"{line}\n{REPORT}")
    run = adb.run({"model": INT8}, None, phone.settings(rounds=1)).models["model"]
    assert run.kernels.startswith("XNNPACK delegate took no operator;")


def test_a_delegate_that_cannot_be_applied(phone: Phone) -> None:
    phone.say("ERROR: Failed to apply GPU delegate.\nERROR: Benchmarking failed.", 1)
    assert "delegate refuses" in refused(phone, RunnerFailed, {"delegate": "gpu"}).message


def test_an_option_that_the_tool_does_not_know(phone: Phone) -> None:
    phone.say(f"WARN: Unconsumed cmdline flags: --enable_op_profiling=false --use_gpu=true\n{REPORT}")
    error = refused(phone, RunnerFailed, {"delegate": "gpu"})
    assert error.message == "this benchmark_model does not know --use_gpu"
    phone.say(f"WARN: Unconsumed cmdline flags: --enable_op_profiling=false --max_secs=15\n{REPORT}")
    adb.run({"model": INT8}, None, phone.settings())


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
