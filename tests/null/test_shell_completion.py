"""Completion as docs/shell-completion.md says, by the Tab key of real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.null.cli import REPOSITORY, TIMEOUT_SECONDS, Project

PAGE = (REPOSITORY / "docs" / "shell-completion.md").read_text(encoding="utf-8")
SHELLS = {"bash": ("--norc", "--noprofile", "-i"), "zsh": ("-f", "-i")}
TO_THE_START = "\x01"
CASES = [("invoke buil", "invoke build"), ("invoke verify-r", "invoke verify-release")]
CASES += [("invoke build --dry", "invoke build --dry-run"), ("invoke doctor --qui", "invoke doctor --quick")]


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: apt-get install {shell}")


def environment(project: Project) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**project.environment, "PATH": path, "TERM": "dumb", "HOME": str(project.root)}


def setup_lines(shell: str) -> str:
    """Return the lines of the page that set the shell up."""
    block = re.search(rf"^```{shell}\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert block
    return block[1].strip()


def completed(project: Project, shell: str, typed: str) -> str:
    """Type into an interactive shell, press Tab, and have the shell say what its line was."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [shell, *SHELLS[shell]],
        **{"stdin": slave, "stdout": slave, "stderr": slave, "cwd": project.root},
        env=environment(project),
        start_new_session=True,
    )
    os.close(slave)
    try:
        lines = setup_lines(shell).replace("\n", "\r")
        os.write(master, f"{lines}; echo SET''UP\r".encode())
        read_until(master, r"SETUP\r?\n")
        os.write(master, f"{typed}\t".encode())
        os.write(master, f"{TO_THE_START}echo LI''NE \r".encode())
        return read_until(master, r"LINE (.*?) *\r?\n")[1]
    finally:
        process.kill()
        process.wait()
        os.close(master)


def read_until(master: int, pattern: str) -> re.Match[str]:
    text, deadline = "", time.monotonic() + TIMEOUT_SECONDS
    while not (found := re.search(pattern, text)):
        assert time.monotonic() < deadline, text
        if select.select([master], [], [], 0.1)[0]:
            text += os.read(master, 4096).decode(errors="replace")
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_tasks_and_flags(project: Project, shell: str) -> None:
    needs(shell)
    assert [completed(project, shell, typed) for typed, _ in CASES] == [line for _, line in CASES]


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_the_path_of_a_target(project: Project, shell: str) -> None:
    needs(shell)
    assert completed(project, shell, "invoke build --target targets/nu") == "invoke build --target targets/null.toml"


def test_fish_completes_tasks_and_flags(project: Project) -> None:
    needs("fish")
    for typed, line in CASES:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"{setup_lines('fish')}; complete -C '{typed}'"],
            **{"cwd": project.root, "env": environment(project), "capture_output": True, "text": True},
            timeout=TIMEOUT_SECONDS,
        )
        assert line.split()[-1] in done.stdout.split(), done.stderr
