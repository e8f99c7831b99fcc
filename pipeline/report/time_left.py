"""How long a build still takes: what its stages took before, and the pace of the one that runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

ESTIMATE_AFTER_SECONDS = 2.0  # of progress: libraries are loaded then, and the pace is steady


class TimeLeft:
    """Fed with what a Watch hears. Seconds are None where nothing tells them: no guess is made.

    clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.waiting: dict[str, float | None] = {}  # stages that are still to be made
        self.whole: tuple[float, float] | None = None  # when the plan began, and the seconds that it should take
        self.started = self.clock()
        self.expected: float | None = None
        self.steady: tuple[float, float] | None = None  # when the pace became steady, and the share done then
        self.done = 0.0

    def plan(self, stages: Iterable[tuple[str, bool, float | None]], seconds: float | None) -> None:
        """Take in a plan's stages, (name, in the store, expected seconds) each, and the seconds of them all."""
        self.waiting = {name: expected for name, hit, expected in stages if not hit}
        self.whole = None if seconds is None else (self.clock(), seconds)

    def stage_started(self, name: str, expected_seconds: float | None) -> None:
        self.waiting.pop(name, None)
        self.started, self.expected, self.steady, self.done = self.clock(), expected_seconds, None, 0.0

    def progress(self, done: float) -> None:
        self.done = done
        if self.steady is None:
            self.steady = (self.clock(), done)

    def stage_done(self, name: str) -> None:
        self.waiting.pop(name, None)
        self.expected, self.steady, self.done = None, None, 0.0

    def of_stage(self) -> float | None:
        """Return the seconds until the running stage ends: by its pace, before that by what it took last time."""
        now = self.clock()
        if self.steady and now - self.steady[0] >= ESTIMATE_AFTER_SECONDS and self.done > self.steady[1]:
            return (now - self.steady[0]) / (self.done - self.steady[1]) * (1 - self.done)
        if (
            self.expected is None or now - self.started >= self.expected
        ):  # longer than last time: nothing tells how long
            return None
        return self.expected - (now - self.started)

    def in_all(self) -> float | None:
        """Return the seconds until the last stage ends: by its stages, or else by what the plan was told in all."""
        parts = [self.of_stage(), *self.waiting.values()]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            return sum(known)
        return None if self.whole is None else max(0.0, self.whole[1] - (self.clock() - self.whole[0]))
