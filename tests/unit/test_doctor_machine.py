"""What the doctor says of machines that are not this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.doctor.interpreters import MODEL
from pipeline.doctor.machine import disk, memory, processor, python, system, written
from pipeline.doctor.packages import exact_versions
from pipeline.doctor.requirements import install_command, pinned, requirements

AVX512 = "processor : 0\nmodel name\t: Fast One\nflags\t\t: fpu sse4_2 avx avx2 fma avx512f\n"


@pytest.mark.parametrize(
    ("architecture", "cpuinfo", "state", "told"),
    [
        ("x86_64", AVX512, "ok", "avx avx2 fma avx512f"),
        ("x86_64", "flags : fpu avx\n", "ok", "avx"),
        ("x86_64", "flags : fpu sse4_2\n", "failed", "without AVX"),
        ("x86_64", "flags : fpu avx2x\n", "failed", "no vector flags"),
        ("aarch64", "Features : fp asimd asimddp\n", "ok", "asimd asimddp"),
        ("aarch64", "", "warning", "not told"),
    ],
)
def test_processor(architecture: str, cpuinfo: str, state: str, told: str) -> None:
    finding = processor(architecture, cpuinfo)
    assert (finding.state, told in finding.found) == (state, True)
    assert bool(finding.fix) == (state != "ok")


@pytest.mark.parametrize(("version", "state"), [((3, 11, 0), "ok"), ((3, 12, 1), "failed"), ((3, 9, 2), "failed")])
def test_python(version: tuple[int, ...], state: str) -> None:
    finding = python(version, "/usr/bin/python3")
    assert finding.state == state
    assert finding.fix.startswith("python3.11 -m venv" if state == "failed" else "")


@pytest.mark.parametrize(
    ("name", "architecture", "state"),
    [("Linux", "x86_64", "ok"), ("Linux", "riscv64", "failed"), ("Darwin", "arm64", "failed")],
)
def test_system(name: str, architecture: str, state: str) -> None:
    assert system(name, architecture).state == state


def test_memory() -> None:
    assert [memory(free).state for free in (8_000_000_000, 500_000_000, None)] == ["ok", "warning", "warning"]


def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert disk(tmp_path / "not" / "yet").state == "ok"
    monkeypatch.setattr("pipeline.doctor.machine.FREE_BYTES", 10**18)
    assert disk(tmp_path).fix == "invoke store.gc"


def test_written_leaves_nothing(tmp_path: Path) -> None:
    assert written("artifacts", tmp_path / "artifacts").state == "ok"
    assert not list(tmp_path.iterdir())


def test_exact_versions() -> None:
    assert exact_versions({"numpy": "2.0"}, {}) == []
    (same,) = exact_versions({"numpy": "2.0", "mine": "1"}, {"numpy": "2.0", "not-installed": "3"})
    assert same.state == "ok"
    (other,) = exact_versions({"numpy": "2.1", "mine": "1"}, {"numpy": "2.0"})
    assert (other.state, "numpy 2.1 for 2.0" in other.found) == ("warning", True)


def test_requirements_spell_out_extras_of_this_project() -> None:
    names = {(one.name, one.extra) for one in requirements()}
    assert {("numpy", ""), ("s3fs", "s3"), ("model-signing", "release"), ("model-signing", "s3")} <= names
    assert "edge-deployment-pipeline" not in {name for name, _ in names}
    assert {name for name, extra in names if not extra} <= set(pinned())


def test_the_file_that_is_tried_is_that_of_the_tests() -> None:
    assert MODEL.read_bytes() == (Path(__file__).parents[1] / "data" / "tiny_int8.tflite").read_bytes()


def test_install_command() -> None:
    assert install_command("onnx") == "pip install -c constraints.txt -e '.[onnx]'"
