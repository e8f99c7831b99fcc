"""The machine-wide lock, between real processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import machine_lock

REPOSITORY = Path(__file__).parents[2]
CODE = """
import sys
from pathlib import Path
from pipeline import machine_lock
with getattr(machine_lock, sys.argv[1])(lambda line: print("waiting", flush=True), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process that takes the lock, says so, and holds it until it is released."""

    def __init__(self, kind: str, folder: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, kind, str(folder)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.output: Any = self.process.stdout

    def line(self) -> str:
        return self.output.readline().strip()

    def release(self) -> None:
        self.process.communicate()


@contextmanager
def holders(folder: Path, *kinds: str) -> Iterator[list[Holder]]:
    started: list[Holder] = []
    try:
        for kind in kinds:
            started.append(Holder(kind, folder))
            first = started[-1].line()  # before the next starts, so that the order is certain
            assert first == ("held" if len(started) == 1 or set(kinds) == {"training"} else "waiting")
        yield started
    finally:
        for holder in started:
            holder.process.kill()
            holder.process.communicate()


def test_trainings_run_side_by_side(tmp_path: Path) -> None:
    with holders(tmp_path, "training", "training"):
        pass  # both said that they hold it


def test_a_benchmark_waits_for_a_training_and_says_so(tmp_path: Path) -> None:
    with holders(tmp_path, "training", "benchmarking") as (training, benchmark):
        training.release()
        assert benchmark.line() == "held"


def test_benchmarks_exclude_each_other(tmp_path: Path) -> None:
    with holders(tmp_path, "benchmarking", "benchmarking") as (first, second):
        first.release()
        assert second.line() == "held"


def test_kill_frees_the_lock(tmp_path: Path) -> None:
    with holders(tmp_path, "benchmarking", "training") as (benchmark, training):
        benchmark.process.kill()
        assert training.line() == "held"


def test_later_trainings_do_not_starve_a_waiting_benchmark(tmp_path: Path) -> None:
    with holders(tmp_path, "training", "benchmarking", "training") as (first, benchmark, second):
        first.release()
        assert benchmark.line() == "held"
        benchmark.release()
        assert second.line() == "held"


def test_a_free_lock_is_taken_in_silence_and_again(tmp_path: Path) -> None:
    told: list[str] = []
    for lock in (machine_lock.training, machine_lock.benchmarking, machine_lock.training):
        with lock(told.append, tmp_path):
            pass
    assert told == []


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    told: list[str] = []
    try:
        with machine_lock.benchmarking(told.append, tmp_path):
            raise ValueError
    except ValueError:
        pass
    with machine_lock.benchmarking(told.append, tmp_path):
        assert told == []


def test_other_users_may_open_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with machine_lock.training(print, tmp_path):
            modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o444}
