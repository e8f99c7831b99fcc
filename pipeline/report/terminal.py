"""A build as a person watches it, on stderr: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from pipeline.watch import Watch

ESTIMATE_AFTER_SECONDS = 2.0
NAMED_STAGES = 8  # of more than these the line says how many


def terminal_watch() -> Watch:
    """Return the live view where stderr is a terminal that can show it, else plain lines."""
    dumb = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return LiveWatch() if sys.stderr.isatty() and not dumb else PlainWatch()


def duration(seconds: float) -> str:
    """Return a time as a person says it: "0.4 s", "45 s", "3 min 10 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def plan_line(stages: list[tuple[str, bool, float | None]], expected_seconds: float | None, source: str) -> str:
    """Return what will run and how long it should take, in one line."""
    missing = [name for name, hit, _ in stages if not hit]
    if not missing:
        return f"{len(stages)} stages, all of them in the store"
    kept = f" ({len(stages) - len(missing)} more are in the store)" if len(missing) < len(stages) else ""
    expected = f"about {duration(expected_seconds)}, {source}" if expected_seconds else f"time unknown: {source}"
    what = ", ".join(missing) if len(missing) <= NAMED_STAGES else f"{len(missing)} stages"
    return f"to make: {what}{kept}; {expected}"


class PlainWatch(Watch):
    """One line an event: what a log file or a narrow terminal can show."""

    since: tuple[float, float] | None

    def __init__(self) -> None:
        self.name, self.epoch, self.since = "", 0, None

    def say(self, text: str) -> None:
        try:
            print(text, file=sys.stderr, flush=True)
        except BrokenPipeError:  # nobody listens any more, which is no reason to stop a build
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def plan(self, stages: list[tuple[str, bool, float | None]], expected_seconds: float | None, source: str) -> None:
        self.say(plan_line(stages, expected_seconds, source))

    def stage_started(self, name: str, expected_seconds: float | None) -> None:
        self.name, self.epoch, self.since = name, 0, None
        self.say(f"{name}: started" + (f", about {duration(expected_seconds)}" if expected_seconds else ""))

    def progress(self, progress: dict[str, Any]) -> None:
        if "epoch" not in progress:
            return
        now, done = time.monotonic(), progress["done"]
        if self.since is None:
            self.since = (now, done)  # libraries are loaded and the graph is traced: from here on the pace is steady
        seconds, share = now - self.since[0], done - self.since[1]
        if progress["epoch"] > self.epoch and seconds >= ESTIMATE_AFTER_SECONDS:
            self.epoch = progress["epoch"]
            self.say(f"{self.name}: {_state(progress)}, about {duration(seconds / share * (1 - done))} left")

    def stage_done(self, name: str, made: bool, seconds: float, facts: dict[str, Any]) -> None:
        self.say(f"{name}: " + (f"made in {duration(seconds)}" if made else "from the store"))

    def note(self, text: str) -> None:
        self.say(f"note: {text}")


class LiveWatch(Watch):
    """A bar a stage, with epoch, loss, accuracy and the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self.view = Progress(
            TextColumn("{task.description:<17}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=self.console,
        )
        self.task: Any = None

    def plan(self, stages: list[tuple[str, bool, float | None]], expected_seconds: float | None, source: str) -> None:
        self.console.print(plan_line(stages, expected_seconds, source), highlight=False)

    def stage_started(self, name: str, expected_seconds: float | None) -> None:
        expected = f"about {duration(expected_seconds)}" if expected_seconds else "starting"
        self.view.start()
        self.task = self.view.add_task(name, total=1.0, state=expected)

    def progress(self, progress: dict[str, Any]) -> None:
        self.view.update(self.task, completed=progress["done"], state=_state(progress))

    def stage_done(self, name: str, made: bool, seconds: float, facts: dict[str, Any]) -> None:
        if made and self.task is not None:
            self.view.update(self.task, completed=1.0, state=f"made in {duration(seconds)}")
        elif not made:
            self.view.console.print(f"{name:<17} from the store", highlight=False)

    def note(self, text: str) -> None:
        self.view.console.print(f"note: {text}", highlight=False)

    def close(self) -> None:
        self.view.stop()


def _state(progress: dict[str, Any]) -> str:
    parts = [f"epoch {progress['epoch']}/{progress['epochs']}"] if "epoch" in progress else []
    parts += [f"{name} {progress[name]:.4f}" for name in ("loss", "accuracy") if name in progress]
    return " ".join(parts)
