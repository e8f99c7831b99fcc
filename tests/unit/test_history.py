"""One line a measurement, also after a crash and from two writers at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pipeline.history import HistoryLine, append, git_commit, read
from pipeline.runner import Device

WRITER = (
    "import sys; from pathlib import Path\n"
    "from tests.unit.test_history import line; from pipeline.history import append\n"
    "for number in range(int(sys.argv[2])): append(Path(sys.argv[1]), line(number))"
)


def line(number: int = 0) -> HistoryLine:
    return HistoryLine(
        kind="bench",
        at="2026-01-01T00:00:00+00:00",
        reused=False,
        target="null",
        workload="grey",
        sha256="0" * 64,
        size_bytes=number,
        runner="null",
        device=Device(device_class="null", name="none" * 500, fingerprint={}),  # beyond a pipe's atomic size
    )


def writer(path: Path, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(count)], cwd=Path(__file__).parents[2])


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history.jsonl"
    for number in range(3):
        append(path, line(number))
    found, unreadable = read(path)
    assert [one.size_bytes for one in found] == [0, 1, 2]
    assert unreadable == 0
    assert read(tmp_path / "none.jsonl") == ([], 0)


def test_a_cut_line_is_closed_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append(path, line(1))
    with path.open("ab") as stream:
        stream.write(line(2).model_dump_json().encode()[:100])
    assert read(path)[1] == 1
    append(path, line(3))
    found, unreadable = read(path)
    assert [one.size_bytes for one in found] == [1, 3]
    assert unreadable == 1


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    both = [writer(path, 200), writer(path, 200)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    found, unreadable = read(path)
    assert (len(found), unreadable) == (400, 0)


def test_a_killed_writer_loses_at_most_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    process = writer(path, 100_000)
    while not path.is_file() or path.stat().st_size < 20_000:
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    append(path, line(7))
    found, unreadable = read(path)
    assert unreadable <= 1
    assert [one.size_bytes for one in found[:-1]] == list(range(len(found) - 1))
    assert found[-1].size_bytes == 7


def test_the_commit_says_whether_files_were_altered(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    run = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("1")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*run, *arguments], check=True)
    clean = git_commit(tmp_path)
    assert clean
    assert len(clean) == 40
    (tmp_path / "file").write_text("2")
    assert git_commit(tmp_path) == clean + "+"
