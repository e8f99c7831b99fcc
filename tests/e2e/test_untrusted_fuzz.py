"""5,000 damaged files, each read and run by the child processes that meet files from anyone.

Every case ends as a result or as an error that says what was received and expected; nothing that a
file does to its child ends this process or outlives its limit. The children are forks of one
process in the same sandbox (`fork_server.py`), since starting each afresh would take half an hour;
some cases go through fresh ones as well.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from fork_server import ForkServer
from mutations import KINDS, SOURCES, make_case

from pipeline import untrusted
from pipeline.errors import BadModelFile, PipelineError, RunnerFailed
from pipeline.inspect import Inspection
from pipeline.runner import RunResult, Settings
from pipeline.runners import host

CASES, CHUNK = 5000, 250
SETTINGS = Settings(resident_megabytes=512, seconds=5)


def test_cases_are_repeatable_and_cover_every_kind_of_every_file() -> None:
    names = [make_case(number)[0].split(": ")[1] for number in range(len(KINDS) * len(SOURCES))]
    assert sorted(names) == sorted(f"{kind} of {source.name}" for kind in KINDS for source in SOURCES)
    assert len(KINDS) * len(SOURCES) <= CASES
    assert make_case(77) == make_case(77)
    unchanged = sum(make_case(number)[1] in {source.read_bytes() for source in SOURCES} for number in range(240))
    assert unchanged < 24


@pytest.mark.parametrize("first", range(0, CASES, CHUNK))
def test_damaged_files(first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path.resolve()))
    path = tmp_path.resolve() / "damaged.tflite"
    with ForkServer(tmp_path) as server:
        monkeypatch.setattr(host, "run_child", server.run_child)
        monkeypatch.setattr(untrusted, "run_child", server.run_child)
        for number in range(first, first + CHUNK):
            _check_case(number, path)
        assert server.process.poll() is None
        assert server.slowest_seconds < SETTINGS.seconds + 2


@pytest.mark.parametrize("number", [9, 13, 40, 1004])
def test_damaged_files_in_fresh_children(number: int, tmp_path: Path) -> None:
    _check_case(number, tmp_path / "damaged.tflite")


def _check_case(number: int, path: Path) -> None:
    what, content = make_case(number)
    path.write_bytes(content)
    try:
        try:
            assert isinstance(untrusted.inspect_untrusted(path), Inspection)
        except BadModelFile as error:
            _check_error(error)
        if number % 5 == 0:  # what `bench --profile` does with a file first
            try:
                with tempfile.TemporaryDirectory() as folder:
                    answer, _ = untrusted.ask("cut", path, Path(folder).resolve(), cuts_max=3)
                assert answer["cuts"][-1] == len(answer["operators"])
            except (BadModelFile, RunnerFailed) as error:
                _check_error(error)
        try:
            result = host.run({"model": path}, None, SETTINGS)
            assert isinstance(result, RunResult)
            assert result.models["model"].outputs.dtype == "float32"
        except (BadModelFile, RunnerFailed) as error:
            _check_error(error)
    except BaseException as error:
        error.add_note(f"{what}; make_case({number}) of tests/mutations.py gives the file")
        raise


def _check_error(error: PipelineError) -> None:
    assert error.message
    assert error.received
    assert error.expected
    assert error.fix
    assert "line " not in error.received  # a traceback's: our own code stumbled over the file
