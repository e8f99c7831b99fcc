"""A build as a person watches it, on stderr: a live view on a terminal, plain lines elsewhere, or quiet."""

from __future__ import annotations

import os
import sys
from typing import Any

from pipeline.report.time_left import TimeLeft
from pipeline.watch import Watch

NAMED_STAGES = 8  # of more than these the line says how many
REFRESHES_PER_SECOND = 2  # a build of minutes needs no more, and each takes milliseconds from the training
NARROW = 60  # columns below which the live view leaves out all but name, share and time left


def terminal_watch(quiet: bool = False) -> Watch:
    """Return the live view where stderr is a terminal that can show it, else plain lines; notes alone if quiet."""
    if quiet:
        return QuietWatch()
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


class QuietWatch(Watch):
    """What a person should know and nothing else."""

    def say(self, text: str) -> None:
        try:
            print(text, file=sys.stderr, flush=True)
        except BrokenPipeError:  # nobody listens any more, which is no reason to stop a build
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def note(self, text: str) -> None:
        self.say(f"note: {text}")


class PlainWatch(QuietWatch):
    """One line an event: what a log file or a simple terminal can show."""

    def __init__(self) -> None:
        self.name, self.epoch, self.left = "", 0, TimeLeft()

    def plan(self, stages: list[tuple[str, bool, float | None]], expected_seconds: float | None, source: str) -> None:
        self.left.plan(stages, expected_seconds)
        self.say(plan_line(stages, expected_seconds, source))

    def stage_started(self, name: str, expected_seconds: float | None) -> None:
        self.left.stage_started(name, expected_seconds)
        self.name, self.epoch = name, 0
        self.say(f"{name}: started" + (f", about {duration(expected_seconds)}" if expected_seconds else ""))

    def progress(self, progress: dict[str, Any]) -> None:
        self.left.progress(progress["done"])
        left = self.left.of_stage()
        if progress.get("epoch", 0) > self.epoch and left is not None:
            self.epoch = progress["epoch"]
            self.say(f"{self.name}: {_state(progress)}, about {duration(left)} left")

    def stage_done(self, name: str, made: bool, seconds: float, facts: dict[str, Any]) -> None:
        waited = bool(self.left.waiting)
        self.left.stage_done(name)
        rest = self.left.in_all() if made and waited else None
        left = f"; about {duration(rest)} left in all" if rest else ""
        self.say(f"{name}: " + (f"made in {duration(seconds)}{left}" if made else "from the store"))


class LiveWatch(Watch):
    """A bar a stage, with epoch, loss, accuracy and the time left, of the stage and of all."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        self.console = Console(stderr=True)
        narrow = self.console.width < NARROW
        state = TextColumn("{task.fields[state]}", table_column=Column(no_wrap=True, overflow="crop", ratio=1))
        name = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="crop", max_width=17))
        self.view = Progress(
            *((name, TaskProgressColumn()) if narrow else (name, BarColumn(bar_width=24), TimeElapsedColumn())),
            TextColumn("{task.fields[left]}", justify="right", table_column=Column(no_wrap=True)),
            *(() if narrow else (state,)),
            console=self.console,
            expand=True,
            refresh_per_second=REFRESHES_PER_SECOND,
        )
        self.left = TimeLeft()
        self.task: Any = None

    def plan(self, stages: list[tuple[str, bool, float | None]], expected_seconds: float | None, source: str) -> None:
        self.left.plan(stages, expected_seconds)
        self.console.print(plan_line(stages, expected_seconds, source), highlight=False, markup=False)

    def stage_started(self, name: str, expected_seconds: float | None) -> None:
        self.left.stage_started(name, expected_seconds)
        self.view.start()
        self.task = self.view.add_task(name, total=1.0, state="starting", left="")
        self._show({"done": 0.0}, "starting")

    def progress(self, progress: dict[str, Any]) -> None:
        self.left.progress(progress["done"])
        self._show(progress, _state(progress))

    def _show(self, progress: dict[str, Any], state: str) -> None:
        stage, whole = self.left.of_stage(), self.left.in_all()
        left = "" if stage is None else f"{duration(stage)} left"
        if self.left.waiting and whole is not None:
            state = f"{state}; {duration(whole)} left in all".lstrip("; ")
        self.view.update(self.task, completed=progress["done"], state=state, left=left)

    def stage_done(self, name: str, made: bool, seconds: float, facts: dict[str, Any]) -> None:
        self.left.stage_done(name)
        if made and self.task is not None:
            self.view.update(self.task, completed=1.0, state="", left=f"made in {duration(seconds)}")
        elif not made:
            self.view.console.print(f"{name:<17} from the store", highlight=False, markup=False)

    def note(self, text: str) -> None:
        self.view.console.print(f"note: {text}", highlight=False, markup=False)

    def close(self) -> None:
        self.view.stop()


def _state(progress: dict[str, Any]) -> str:
    parts = [f"epoch {progress['epoch']}/{progress['epochs']}"] if "epoch" in progress else []
    parts += [f"{name} {progress[name]:.4f}" for name in ("loss", "accuracy") if name in progress]
    return " ".join(parts)
