"""devices.toml: which device this desk has for each target, and its mistakes by file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import RequestError
from pipeline.plan import make_plan
from pipeline.runners import adb, ssh
from pipeline.target import load_target
from pipeline.target_runner import config_of
from pipeline.workload import load_workload
from tests.unit.test_target import GOOD

BOARD = GOOD.replace('runner = "host"', 'runner = "ssh"\nrunner_without_device = "host"')


def project(root: Path, target: str = BOARD, devices: str | bytes | None = None) -> Path:
    (root / "targets").mkdir()
    (root / "tasks.py").touch()
    (root / "targets" / "pi.toml").write_text(target)
    if devices is not None:
        (root / "devices.toml").write_bytes(devices.encode() if isinstance(devices, str) else devices)
    return root


def refused(root: Path) -> RequestError:
    with pytest.raises(RequestError) as caught:
        make_plan(load_target("pi", root), load_workload("mnist"), 0, root)
    return caught.value


def test_without_it_the_runner_that_stands_in_measures(tmp_path: Path) -> None:
    target = load_target("pi", project(tmp_path))
    assert target.runner == "ssh"
    assert target.measured_by == "host"
    assert config_of(ssh, target) is None


def test_its_table_is_the_targets_device(tmp_path: Path) -> None:
    target = load_target("pi", project(tmp_path, devices='[pi]\nhost = "board.local"\n'))
    assert target.measured_by == "ssh"
    config = config_of(ssh, target)
    assert isinstance(config, ssh.Config)
    assert config.host == "board.local"


def test_it_completes_the_targets_own_table(tmp_path: Path) -> None:
    own = BOARD.replace("[[recipe]]", '[device]\nhost = "a"\nuser = "pi"\n\n[[recipe]]', 1)
    target = load_target("pi", project(tmp_path, own, '[pi]\nhost = "b"\n'))
    assert target.device == {"host": "b", "user": "pi"}


def test_other_targets_are_left_alone(tmp_path: Path) -> None:
    assert load_target("pi", project(tmp_path, devices='[mobile]\nserial = "x"\n')).measured_by == "host"


def test_the_shipped_mobile_target_waits_for_a_phone(tmp_path: Path) -> None:
    root = project(tmp_path)
    assert load_target("mobile", root).measured_by == "host"
    assert config_of(adb, load_target("mobile", root)) is None
    (root / "devices.toml").write_text(f'[mobile]\nbenchmark_model = "tool"\nbenchmark_model_sha256 = "{"0" * 64}"\n')
    target = load_target("mobile", root)
    assert target.measured_by == "adb"
    assert isinstance(config_of(adb, target), adb.Config)


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ('[pi]\nhost = "b"\nprot = 22\n', "unknown key pi.prot"),
        ('[pi]\nhost = "b"\nport = 99999\n', "pi.port cannot be used"),
        ("[pi]\nport = 22\n", "pi.host is missing"),
        ('[pi]\nhost = "-oProxyCommand=x"\n', "pi.host cannot be used"),
        ('[pie]\nhost = "b"\n', "unknown target 'pie'"),
        ("pi = 1\n", "pi cannot be used"),
        ("[pi]\n", "pi.host is missing"),
        ('[pi]\nhots = "b"\n', "unknown key pi.hots"),  # and not that host is missing
        ("[pi\n", "is not TOML"),
        (b"\xff", "is not TOML"),
    ],
)
def test_a_mistake_is_named_by_this_file_and_its_key(tmp_path: Path, devices: str | bytes, words: str) -> None:
    error = refused(project(tmp_path, devices=devices))
    assert words in error.message
    assert str(tmp_path / "devices.toml") in error.message
    assert error.fix


def test_a_mistake_in_the_target_is_named_by_the_target(tmp_path: Path) -> None:
    own = BOARD.replace("[[recipe]]", '[device]\nhost = "a"\nprot = 1\n\n[[recipe]]', 1)
    error = refused(project(tmp_path, own))
    assert "pi.toml: unknown key device.prot" in error.message


def test_a_runner_without_settings_says_so(tmp_path: Path) -> None:
    error = refused(project(tmp_path, GOOD, "[pi]\nhost = 1\n"))
    assert "devices.toml: the runner 'host' takes no [pi] settings" in error.message


def test_a_folder_of_that_name_is_not_passed_over(tmp_path: Path) -> None:
    (project(tmp_path) / "devices.toml").mkdir()
    assert "devices.toml cannot be read" in refused(tmp_path).message


@pytest.mark.parametrize(
    ("own", "devices", "words"),
    [
        ("port = 99999", '[pi]\nhost = "b"\n', "pi.toml: device.port cannot be used"),
        ("port = 22", '[pi]\nhost = "b"\nport = 99999\n', "devices.toml: pi.port cannot be used"),
        ("port = 22", '[pi]\nuser = "pi"\n', "devices.toml: pi.host is missing"),
        ("port = 22", None, "pi.toml: device.host is missing"),
    ],
)
def test_a_mistake_is_named_in_the_one_of_both_that_it_is_in(
    tmp_path: Path, own: str, devices: str | None, words: str
) -> None:
    target = BOARD.replace("[[recipe]]", f"[device]\n{own}\n\n[[recipe]]", 1)
    assert words in refused(project(tmp_path, target, devices)).message
