"""What this project requires, and the command that installs it.

In a checkout pyproject.toml says so, beside which constraints.txt has the exact versions; in an
installed wheel its metadata do.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "edge-deployment-pipeline"
ROOT = Path(__file__).parents[2]
UNTOLD = ("test",)  # extras of this project's own development


@dataclass(frozen=True)
class Required:
    """One line of the requirements."""

    text: str  # such as "numpy>=2,<3"
    extra: str  # "" for what every installation has

    @property
    def name(self) -> str:
        return plain_name(re.split(r"[^A-Za-z0-9._-]", self.text, maxsplit=1)[0])


def is_checkout() -> bool:
    """Whether this package lies in its repository, an editable installation included."""
    return (ROOT / "pyproject.toml").is_file() and (ROOT / "constraints.txt").is_file()


def install_command(extra: str = "", *, anew: bool = False) -> str:
    """Return the command that installs what is missing; `anew` also what is there and broken."""
    command = "pip install --force-reinstall" if anew else "pip install"
    if is_checkout():
        return f"{command} -c constraints.txt -e " + (f"'.[{extra}]'" if extra else ".")
    return f"{command} '{DISTRIBUTION}[{extra}]'" if extra else f"{command} {DISTRIBUTION}"


def requirements() -> list[Required]:
    """Return all requirements, an extra of this project within another spelled out."""
    found = _of_checkout() if is_checkout() else _of_metadata()
    return [one for required in found for one in _spelled_out(required, found)]


def pinned() -> dict[str, str]:
    """Return {name: version} of constraints.txt; empty outside of a checkout."""
    if not is_checkout():
        return {}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {plain_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def installed() -> dict[str, str]:
    """Return {name: version} of every distribution of this Python."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a folder that a broken installation left has none
            found.setdefault(plain_name(name), distribution.version)
    return found


def plain_name(name: str) -> str:
    """Return a distribution's name as all spellings of it compare."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _spelled_out(required: Required, found: list[Required]) -> list[Required]:
    if required.name != DISTRIBUTION:
        return [required]
    named = re.findall(r"[\w-]+", required.text.partition("[")[2].partition("]")[0])
    parts = [part for one in found if one.extra in named for part in _spelled_out(one, found)]
    return [Required(part.text, required.extra) for part in parts]


def _of_checkout() -> list[Required]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    return [Required(text, "") for text in project["dependencies"]] + [
        Required(text, extra) for extra, texts in extras.items() for text in texts
    ]


def _of_metadata() -> list[Required]:
    found = []
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        text, _, marker = line.partition(";")
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
        found.append(Required(text.strip(), extra[1] if extra else ""))
    return found
