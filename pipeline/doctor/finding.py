"""One thing that the doctor looked at. Nothing here, or in what it is made by, needs an installed package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.doctor.requirements import install_command
from pipeline.errors import PipelineError

State = Literal["ok", "warning", "missing", "failed", "left out"]


@dataclass(frozen=True)
class Finding:
    """What was found, and the command that mends it."""

    name: str  # what was looked at
    needed: bool  # by `invoke build --target=mobile`
    state: State  # "missing" is of what only some tasks need, "failed" of what the main job needs
    found: str  # in words
    fix: str = ""  # the command to type; empty where nothing is to be mended


def looked_at(name: str, needed: bool, look: Callable[[], str]) -> Finding:
    """Return what `look` found, in its words; what it raises becomes a finding, never an end."""
    bad: State = "failed" if needed else "missing"
    try:
        return Finding(name, needed, "ok", look())
    except PipelineError as error:
        told = f"{error.message} ({error.received})" if error.received else error.message
        return Finding(name, needed, bad, told, error.fix.partition("; or ")[0])
    except ImportError as error:
        return Finding(name, needed, bad, f"{type(error).__name__}: {error}", install_command())
    except Exception as error:  # a broken package may raise anything when it loads
        return Finding(name, needed, bad, f"{type(error).__name__}: {error}"[:500], install_command(anew=True))
