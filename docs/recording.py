"""What a command left on a terminal, as an SVG picture."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


def run_on_terminal(command: list[str], columns: int, folder: Path) -> str:
    """Run a command on a terminal of its own, of that width; return all that it wrote there."""
    master, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "200"}
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    process = subprocess.Popen(command, cwd=folder, env=environment, **streams)  # type: ignore[call-overload]
    os.close(terminal)
    written = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(master)
    process.wait()
    return written.decode("utf-8")


def last_screen(written: str) -> str:
    """Return the lines as they stood at the end: what was written over is gone, colours stay.

    Knows what rich's live views use: a line begun anew, erased, and the cursor moved up.
    """
    lines, row = [""], 0
    for part in re.split(r"(\r\n|\n|\r|\x1b\[[0-9;?]*[A-Za-z])", written):
        control = _CONTROL.fullmatch(part)
        if part in ("\n", "\r\n"):
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r" or (control and control[2] == "K"):
            lines[row] = "" if control else lines[row]
        elif control and control[2] == "A":
            row = max(0, row - int(control[1] or 1))
        elif control is None or control[2] == "m":
            lines[row] += part
    return "\n".join(lines)


def picture(screen: str, columns: int, title: str) -> str:
    """Return the screen as an SVG document, with rich's drawing of a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(screen), soft_wrap=False)
    return console.export_svg(title=title)
