"""Every fenced block of README.md, the documentation and the examples, and the commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The changelog tells of what was; it has no command to type.
SOURCES = (
    *("README.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md", "benchmarks/records/README.md"),
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md")),
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("examples/**/README.md")),
)
COMMANDS = {"sh", "console"}
# What a line of a block of commands may begin with; a block without a language whose first line does is one.
PROGRAMS = {
    *("invoke", "pip", "python", "python3", "python3.11", "apt-get", "npm", "openssl", "adb", "cp", "ruff", "bash"),
    *("mkdocs", "mypy", "pytest", "tensorboard", "mlflow", "mkdir", ".", "litert/bin/pip"),
}
_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: the page it is on, its language, its text and the line that it begins on."""

    page: str
    language: str
    text: str
    line: int

    @property
    def is_commands(self) -> bool:
        words = self.text.split(None, 1)
        return self.language in COMMANDS or (not self.language and bool(words) and words[0] in PROGRAMS)

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(pages: dict[str, str] | None = None) -> list[Block]:
    """Return all blocks of these pages; left out: of the repository's files."""
    pages = pages if pages is not None else {name: (ROOT / name).read_text(encoding="utf-8") for name in SOURCES}
    return [
        Block(page, match[1], match[2], text[: match.start()].count("\n") + 1)
        for page, text in pages.items()
        for match in _FENCE.finditer(text)
    ]


def commands(block: Block) -> list[list[str]]:
    """Return the words of each command in a block: lines joined at `\\`, parted at `&&`, comments left out."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        command: list[str] = []
        for word in [*words, "&&"]:
            if word == "&&":
                if command:
                    found.append(command)
                command = []
            else:
                command.append(word)
    return found


def tasks_called(block: Block) -> list[list[str]]:
    """Return what follows `invoke` in each call of a block, without where its output goes."""
    calls = []
    for command in commands(block):
        if command[0] == "invoke":
            end = command.index(">") if ">" in command else len(command)
            calls.append(command[1:end])
    return calls
