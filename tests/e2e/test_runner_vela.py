"""The vela runner: Arm's real compiler on the tiny models of `tests/data`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.errors import EnvironmentUnsuited, RunnerFailed
from pipeline.flatbuffer import read_model
from pipeline.runner import Figure, ModelRun, Settings
from pipeline.runners import _vela_compile, vela
from tests.conformance import DATA, FLOAT32, INT8, RunnerConformance, make_samples

REPOSITORY = Path(__file__).parents[2]
SHIPPED = vela._config_path(None)


class TestVela(RunnerConformance):
    runner = vela
    gives_outputs = False
    gives_times = False


def compiled(path: Path = INT8, **config: Any) -> ModelRun:
    return vela.run({"model": path}, None, Settings(config=vela.Config(**config))).models["model"]


def names_in(content: bytes, folder: Path) -> list[str]:
    path = folder / "read.tflite"
    path.write_bytes(content)
    return [operator.name for operator in read_model(path).subgraphs[0].operators]


def test_an_int8_file_goes_to_the_npu_whole(tmp_path: Path) -> None:
    run = compiled()
    assert run.kernels == "Ethos-U55-128, 3 of 3 operators"
    assert run.figures["npu_operator_share"] == Figure(
        value=1.0, note="3 of 3 operators, counted in the file before and after"
    )
    assert list(run.files) == ["model_vela.tflite"]
    assert names_in(run.files["model_vela.tflite"], tmp_path) == ["ethos-u"]
    assert run.files == compiled().files  # the same bytes each time


def test_the_figures_are_those_that_the_command_itself_gives(tmp_path: Path) -> None:
    """The command's screen and not its CSV, which the runner reads."""
    command = [sys.executable, "-m", "ethosu.vela", str(INT8), "--accelerator-config=ethos-u55-128"]
    options = ["--system-config=Ethos_U55_Deep_Embedded", "--memory-mode=Shared_Sram", "--verbose-cycle-estimate"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = {line[:33].strip(): line[33:].split() for line in done.stdout.splitlines() if line[33:].strip()}
    figures = compiled(system_config="Ethos_U55_Deep_Embedded").figures
    assert f"{figures['sram_bytes'].value / 1024:.2f}" == lines["Total SRAM used"][0]
    assert f"{figures['flash_bytes'].value / 1024:.2f}" == lines["Total Off-chip Flash used"][0]
    assert figures["npu_cycles"].value == float(lines["Total cycles"][0])
    assert figures["estimated_latency_ms"].value == pytest.approx(figures["npu_cycles"].value / 200e6 * 1e3)


def test_estimates_are_called_so_and_name_what_they_assume() -> None:
    run = compiled(system_config="Ethos_U55_Deep_Embedded")
    figures, size = run.figures, len(run.files["model_vela.tflite"])
    estimates = {name: figure for name, figure in figures.items() if figure.estimated}
    assert set(estimates) == set(figures) - {"npu_operator_share"}
    assert {"npu_cycles", "estimated_latency_ms", "sram_bytes", "flash_bytes"} == set(estimates)
    for figure in estimates.values():
        assert "by Vela for Ethos_U55_Deep_Embedded and Shared_Sram" in figure.note
    assert "200 MHz" in figures["npu_cycles"].note
    assert f"all of model_vela.tflite is {size:,} bytes" in figures["flash_bytes"].note
    assert figures["flash_bytes"].value < size


def test_a_float_file_stays_on_the_cpu_and_nothing_is_estimated_for_it(tmp_path: Path) -> None:
    run = compiled(FLOAT32)
    assert list(run.figures) == ["npu_operator_share"]  # 0 cycles and 0 bytes would pass every budget
    share = run.figures["npu_operator_share"]
    assert share.value == 0
    assert "on the CPU: 1 CONV_2D, 1 RESHAPE, 1 FULLY_CONNECTED" in share.note
    assert "unsupported DataType Float32" in share.note
    assert "ethos-u" not in names_in(run.files["model_vela.tflite"], tmp_path)


@pytest.mark.parametrize("accelerator", vela.ACCELERATORS)
def test_every_accelerator_compiles_with_its_own_defaults(accelerator: str) -> None:
    config = vela.Config(accelerator=accelerator)
    run = compiled(accelerator=accelerator)
    assert run.figures["npu_operator_share"].value == 1
    assert f"{config.system_config} and {config.memory_mode}" in run.figures["npu_cycles"].note
    assert vela.device(Settings(config=config)).device_class == accelerator


def test_the_accelerators_are_those_of_the_compiler() -> None:
    usage = subprocess.run([sys.executable, "-m", "ethosu.vela", "--help"], capture_output=True, text=True, check=True)
    assert "{" + ",".join(vela.ACCELERATORS) + "}" in usage.stdout


def test_the_defaults_are_those_of_the_compiler() -> None:
    for family, defaults in vela.DEFAULTS.items():
        accelerator = next(name for name in vela.ACCELERATORS if family in name)
        command = [sys.executable, "-m", "ethosu.vela", str(INT8), f"--accelerator-config={accelerator}"]
        done = subprocess.run([*command, "--output-dir=/dev/null/none"], capture_output=True, text=True)
        for name in defaults.values():
            assert f"Using a default of {name}" in done.stdout


def test_larger_npus_take_fewer_cycles_and_settings_reach_the_compiler() -> None:
    model = DATA / "depthwise_int8.tflite"
    cycles = [
        compiled(model, accelerator=f"ethos-u55-{macs}").figures["npu_cycles"].value for macs in (32, 64, 128, 256)
    ]
    assert cycles == sorted(cycles, reverse=True)
    assert len(set(cycles)) > 1
    plain = compiled().figures["sram_bytes"].value
    assert compiled(arena_cache_size=500).figures["sram_bytes"].value < plain
    assert compiled(optimise="Size").figures["sram_bytes"].value < plain


def test_what_lies_in_another_memory_is_told(tmp_path: Path) -> None:
    figures = compiled(memory_mode="Sram_Only").figures
    assert figures["flash_bytes"].value == 0
    assert figures["on_chip_flash_bytes"].value == 1200
    figures = compiled(accelerator="ethos-u65-256").figures
    assert figures["flash_bytes"].value == 0
    assert figures["dram_bytes"].value > 0


def test_a_board_of_ones_own(tmp_path: Path) -> None:
    text = (
        SHIPPED.read_text()
        .replace("Ethos_U55_Deep_Embedded", "My_Board")
        .replace("core_clock=200e6", "core_clock=100e6")
    )
    board = tmp_path / "board.ini"
    board.write_text(text)
    config = {"config_file": board, "system_config": "My_Board", "memory_mode": "Shared_Sram"}
    assert "My_Board and Shared_Sram, 100 MHz" in compiled(**config).figures["npu_cycles"].note
    before = vela.device(Settings(config=vela.Config(**config)))
    board.write_text(text.replace("core_clock=100e6", "core_clock=50e6"))
    assert vela.device(Settings(config=vela.Config(**config))) != before  # so no older estimate is taken for it


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"accelerator": "ethos-u55-129"}, "did you mean 'ethos-u55-128'?"),
        ({"accelerator": "coral"}, "accelerator is one of ethos-u55-32"),
        ({"system_config": "Ethos_U55_DeepEmbedded"}, "did you mean 'Ethos_U55_Deep_Embedded'?"),
        ({"memory_mode": "shared_sram"}, "did you mean 'Shared_Sram'?"),
        ({"config_file": "none.ini"}, "No such file"),
        ({"config_file": REPOSITORY}, "cannot be read"),
        ({"config_file": REPOSITORY / "LICENSE"}, "cannot be read as a vela.ini"),
        ({"config_file": SHIPPED}, "system_config is one of Ethos_U55_Deep_Embedded"),
        ({"optimise": "speed"}, "'Performance' or 'Size'"),
        ({"arena_cache_size": 0}, "greater than 0"),
        ({"arena_cache_size": 2**41}, "less than or equal to"),
        ({"accelerater": "ethos-u55-128"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_work_are_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match="(?s)" + says.replace("?", r"\?")):
        vela.Config(**config)


def test_an_ini_without_the_sections(tmp_path: Path) -> None:
    (tmp_path / "empty.ini").write_text("[Memory_Mode.One]\n")
    with pytest.raises(ValidationError, match=r"no section \[System_Config"):
        vela.Config(config_file=tmp_path / "empty.ini")


def test_what_vela_refuses_is_said_in_its_words() -> None:
    with pytest.raises(RunnerFailed, match="Vela cannot compile") as caught:
        compiled(memory_mode="Dedicated_Sram")  # which needs a DRAM that this U55 has not
    assert "Invalid configuration of arena_mem_area=OffChipFlash (must be Sram or Dram)" in caught.value.received
    assert "Traceback" not in caught.value.received
    assert str(INT8) in caught.value.message


def test_a_crash_of_the_compiler_names_signal_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parser ends with a signal on a file that is cut off, which the runner itself refuses before."""
    cut = replace(read_model(INT8), content=INT8.read_bytes()[:1500])
    monkeypatch.setattr(_vela_compile, "read_model", lambda path: cut)
    with pytest.raises(RunnerFailed) as caught:
        compiled(INT8)
    assert "SIGSEGV" in caught.value.received
    assert "Failed to load TfLite model" in caught.value.received
    assert str(INT8) in caught.value.message


def test_int4_weights_which_crash_vela_are_named_before(tmp_path: Path) -> None:
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(INT8.read_bytes()))
    for tensor in content.subgraphs[0].tensors:
        if list(tensor.shape) == [10, 72]:
            tensor.type = schema.TensorType.INT4
            content.buffers[tensor.buffer].data = np.full(360, 0x11, np.uint8)
    builder = flatbuffers.Builder()
    builder.Finish(content.Pack(builder), b"TFL3")
    path = tmp_path / "int4.tflite"
    path.write_bytes(builder.Output())
    with pytest.raises(RunnerFailed, match="less than a byte") as caught:
        compiled(path)
    assert caught.value.received == "FULLY_CONNECTED 2 (int4)"
    assert 'scheme "int8"' in caught.value.fix


def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    path = tmp_path / "child.py"
    path.write_text(code)
    monkeypatch.setattr(_vela_compile, "CHILD", path)


def test_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(tmp_path, monkeypatch, "import time; time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(RunnerFailed, match="time limit") as caught:
        vela.run({"model": INT8}, None, Settings(seconds=0.2))
    assert caught.value.received == "no end after 0.2 s"
    assert time.monotonic() - started < 10


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_limit() -> None:
    with pytest.raises(RunnerFailed, match="memory limit"):  # Python alone takes more
        vela.run({"model": INT8}, None, Settings(resident_megabytes=5))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("pass", "no such file"),
        ("import os; os.mkdir('out'); os.link('model.tflite', 'out/model_vela.tflite')", "not enough values"),
    ],
    ids=["no file", "no summary"],
)
def test_what_vela_leaves_out_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str) -> None:
    child(tmp_path, monkeypatch, code)
    with pytest.raises(RunnerFailed, match="nothing usable") as caught:
        compiled()
    assert says in caught.value.received


def test_a_summary_of_another_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_vela_compile, "_numbers", lambda row: {"cycles_total": 1.0})
    with pytest.raises(RunnerFailed, match="summary is not as it was") as caught:
        compiled()
    assert "core_clock" in caught.value.received


def test_a_missing_compiler_says_how_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_vela_compile, "distribution", missing)
    for ask in (vela.Config, lambda: vela.device(Settings()), lambda: vela.run({"m": INT8}, None, Settings())):
        with pytest.raises(EnvironmentUnsuited) as caught:
            ask()
        assert caught.value.fix == "pip install 'edge-deployment-pipeline[micro]'"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_killed_parent_leaves_no_compiler(tmp_path: Path) -> None:
    slow = tmp_path / "ethosu" / "vela"
    slow.mkdir(parents=True)
    for folder in (slow.parent, slow):
        (folder / "__init__.py").touch()
    (slow / "vela.py").write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = (
        "from pathlib import Path; from pipeline.runner import Settings; from pipeline.runners import vela\n"
        f"vela.run({{'model': Path({str(INT8)!r})}}, None, Settings())"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not alive(pid))


def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited for 20 s in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from pipeline.runners import vela; from pipeline.runner import Settings; vela.device(Settings())\n"
        "print({'numpy', 'ethosu', 'tensorflow', 'ai_edge_litert'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_samples_are_not_looked_at() -> None:
    assert vela.run({"m": INT8}, make_samples(2) * 1000, Settings()).models["m"].outputs is None
