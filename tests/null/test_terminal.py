"""A build as it looks on terminals: wide and narrow, without UTF-8, without colour, dumb, quiet, and none at all."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import pytest

from tests.null.cli import BUILD, TIMEOUT_SECONDS, Project

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NAMED_STAGES = ("null_train", "null_prune", "null_quantize", "evaluate")


def on_terminal(project: Project, *arguments: str, columns: int, **environment: str) -> tuple[str, int]:
    """Run `invoke` on a pseudo-terminal of that width; return what it wrote, and its exit code."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=project.root,
        env={**project.environment, "TERM": "xterm", **environment},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    written, deadline = b"", time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline and select.select([master], [], [], TIMEOUT_SECONDS)[0]:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(master)
    encoding = "ascii" if environment.get("LC_ALL") == "C" else "utf-8"
    return written.decode(encoding), process.wait(TIMEOUT_SECONDS)


def rows(text: str) -> list[str]:
    """Return what stood in the terminal's lines, each state of a line that was written over once more."""
    return [row for row in re.split(r"[\r\n]+", CONTROL.sub("", text)) if row.strip()]


@pytest.mark.parametrize("columns", [40, 120])
@pytest.mark.parametrize("environment", [{}, {"LC_ALL": "C"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_build_fits_the_terminal(project: Project, columns: int, environment: dict[str, str]) -> None:
    text, code = on_terminal(project, *BUILD, columns=columns, **environment)
    assert code == 0, text
    assert "Traceback" not in text
    for stage in NAMED_STAGES:
        assert stage[:17] in CONTROL.sub("", text)
    table = [row for row in rows(text) if re.search(r"accuracy_min", row)]
    assert any(re.search(r"accuracy_min +[0-9.]+", row) or row.strip() == "budget  accuracy_min" for row in table)
    drawn = [row for row in rows(text) if re.match(r"\w+ +([0-9]+%|[━-])| ?(size|memory)_bytes|budget ", row)]
    assert drawn
    assert [row for row in drawn if len(row) > columns] == []
    if "NO_COLOR" in environment or "TERM" in environment:
        assert not COLOUR.search(text)
        assert "null_train: made in" in text  # plain lines
    elif columns == 40:
        assert any(re.search(r"null_train +100%", row) for row in rows(text))


def test_explain_is_a_tree_with_the_one_field_that_changed(built: Project) -> None:
    built.edit("targets/null.toml", 'step = "null_prune"', 'step = "null_prune"\nfinal_sparsity = 0.75')
    for columns, environment, arrow in ((120, {}, "→"), (40, {"LC_ALL": "C"}, "->")):
        text, code = on_terminal(built, *BUILD, "--explain", "--dry-run", columns=columns, **environment)
        assert code == 0
        told = " ".join(" ".join(rows(text)).translate(str.maketrans("│├└─|`+", " " * 7)).split())
        assert re.search(rf"null_prune \w{{12}} make.*: config.final_sparsity: 0.5 {arrow} 0.75", told), told
        assert re.search(r"null_train \w{12} from the store", told)
        assert re.search(r"the stage that it follows changed: null_prune", told)
        assert all(len(row) <= columns for row in rows(text))


def test_quiet_says_the_result_alone(project: Project) -> None:
    quiet = project.build("--quiet")
    assert "pass: grey for null" in quiet.stdout
    assert [line for line in quiet.stderr.splitlines() if not line.startswith("note: ")] == []
    assert "null_train" in project.build("--force").stderr


def test_a_quiet_error_is_told(project: Project) -> None:
    told = project.run("build", "--target=nul", "--quiet", expect=2)
    assert "did you mean" in told.stderr
