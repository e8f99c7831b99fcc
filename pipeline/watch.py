"""Who watches a build: told what happens, decides nothing. `report/terminal.py` shows it to a person."""

from __future__ import annotations

from typing import Any


class Watch:
    """Ignores everything; views override what they show."""

    def plan(self, stages: list[tuple[str, bool, float | None]], expected_seconds: float | None, source: str) -> None:
        """Before anything runs: (name, in the store, expected seconds) of each stage, and the sum."""

    def stage_started(self, name: str, expected_seconds: float | None) -> None:
        """A stage is being made."""

    def progress(self, progress: dict[str, Any]) -> None:
        """The running stage got further: `done` (0 to 1), and maybe epoch, epochs, loss, accuracy."""

    def stage_done(self, name: str, made: bool, seconds: float, facts: dict[str, Any]) -> None:
        """A stage is there: made now, or from the store."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def close(self) -> None:
        """The build is over, well or not."""
