"""Runs a plan against the store: each stage from the store, or made, checked and stored.

Steps run in one worker process (`worker.py`) that starts when the first stage has to be made
and ends with the build. The process's death, whatever the cause, is an error here, and its
unfinished output is thrown away with its working folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import DiskFull, StepFailed, error_from, is_disk_full
from pipeline.lookup import PACKAGE
from pipeline.plan import EVALUATE, Plan, Stage, data_hashes, outside_inputs
from pipeline.source import forget
from pipeline.store import Entry, Store
from pipeline.target import Target
from pipeline.target_runner import find_evaluator
from pipeline.watch import Watch
from pipeline.workload import Workload

LOG_TAIL_LINES = 5
BENCHMARK = "benchmark"
Expected = tuple[str, bool, float | None]  # a stage's name, whether it is in the store, else its seconds


@dataclass(frozen=True)
class Done:
    """A stage whose output is in the store."""

    stage: Stage
    entry: Entry
    made: bool  # False: it was a hit

    @property
    def facts(self) -> dict[str, Any]:
        return self.entry.facts


def execute(
    plan: Plan,
    target: Target,
    workload: Workload,
    store: Store,
    root: Path,
    watch: Watch,
    *,
    force: bool = False,
    worker: Worker | None = None,
) -> dict[str, Done]:
    """Make what the store does not hold, in the plan's order; return every stage by name.

    `force` makes every stage anew; plans that share a `worker` share what it made. Raises StepFailed (or a
    kind of it) when a step fails; what was made before stays in the store.
    """
    done: dict[str, Done] = {}
    with contextlib.nullcontext(worker) if worker else worker_of(target, workload, store, root) as worker:
        for stage in plan.stages:
            anew = force and stage.key not in worker.made
            entry = None if anew else store.get(stage.key)
            made = entry is None
            if entry is None:
                with store.making(stage.key, lambda: watch.note("another build makes this stage now: waiting for it")):
                    # The other build may have made it while this one waited.
                    entry = None if anew else store.get(stage.key)
                    made = entry is None
                    if entry is None:
                        watch.stage_started(stage.name, expected_seconds(stage, store))
                        entry = _make(stage, done, target, workload, store, worker, watch)
                        worker.made.add(stage.key)
            done[stage.name] = Done(stage, entry, made)
            watch.stage_done(stage.name, made, entry.seconds, entry.facts)
    return done


def worker_of(target: Target, workload: Workload, store: Store, root: Path) -> Worker:
    """Return the process in which the steps of a target's plans run; it starts when a stage has to be made."""
    return Worker(root, store.root.parent / "logs" / f"{workload.name}-{target.name}.log")


def _make(
    stage: Stage,
    done: dict[str, Done],
    target: Target,
    workload: Workload,
    store: Store,
    worker: Worker,
    watch: Watch,
) -> Entry:
    from pipeline.machine_lock import training

    source = done[stage.follows].entry.folder if stage.follows else None
    with full_disk_named(store.root), store.working_folder(stage.key) as out, training(watch.note):
        request = {
            "step": stage.step.__file__,
            "workload": str(workload.source),
            "source": str(source) if source else None,
            "config": stage.config.model_dump(mode="json"),
            "promises": _inherited_promises(stage, done),
            # The device may give no outputs, or not be here: the runner that evaluates verifies as well.
            "runner": {
                "runner": find_evaluator(target, worker.root)[0],
                "threads": target.threads,
                **target.limits.model_dump(),
            },
            "out": str(out),
        }
        answer = worker.run(request, watch)
        _refuse_changed(stage, workload)
        return store.put(stage.key, stage.record, out, answer["facts"], answer["seconds"])


def _refuse_changed(stage: Stage, workload: Workload) -> None:
    """Raise StepFailed when a file that the key names changed since: the output may be the newer file's."""
    forget()
    now = outside_inputs(stage.step, stage.config, workload, data_hashes(workload))
    changed = [
        name
        for part, hashes in now.items()
        for name in {**hashes, **stage.record[part]}
        if hashes.get(name) != stage.record[part].get(name)
    ]
    if changed:
        raise StepFailed(
            f"a file changed while {stage.name} was being made, so its output is not kept",
            received=", ".join(sorted(changed)),
            expected="source and data that stay as they were when the build began",
            fix="run the command again",
        )


def _inherited_promises(stage: Stage, done: dict[str, Done]) -> dict[str, Any]:
    """Return what the stages before promised: a later step must not lose it without a word."""
    promises: dict[str, Any] = {}
    before = stage.follows
    while before:
        promises = {**done[before].facts.get("promises", {}), **promises}
        before = done[before].stage.follows
    return promises


def expected_seconds(stage: Stage, store: Store) -> float | None:
    """Return what this stage took when it was last made here under any key, or None."""
    alike = ("step", "workload", "config")
    for document in reversed(store.history()):
        if all(document["record"].get(name) == stage.record[name] for name in alike):
            return document["seconds"]
    return None


def benchmark_seconds(target: Target, workload: Workload, store: Store) -> float | None:
    """Return what the last measurement of the workload's files took on the target's runner, or None."""
    for document in reversed(store.history()):
        record = document["record"]
        alike = record.get("step") == BENCHMARK and record.get("workload") == workload.name
        if alike and record["runner"]["name"] == target.measured_by:
            return document["seconds"]
    return None


def measured_anew(plan: Plan, planned: Iterable[Expected]) -> bool:
    """Whether a file will be measured that no stored measurement can be of: its last stage is still to be made."""
    made = {name for name, hit, _ in planned if not hit}
    return plan.final in made and any(stage.name == EVALUATE for stage in plan.stages)


def forecast(stages: Mapping[str, Stage], store: Store, *, force: bool = False) -> list[Expected]:
    """Return for each stage, by the name that a person sees, whether it is a hit, and else its seconds where known."""
    known = store.entries()
    found: list[Expected] = []
    for name, stage in stages.items():
        hit = stage.key in known and not force
        found.append((name, hit, None if hit else expected_seconds(stage, store)))
    return found


def seconds_in_all(stages: Iterable[Expected]) -> float | None:
    """Return the seconds of all stages that are missing in the store; None where one was never made here."""
    missing = [seconds for _, hit, seconds in stages if not hit]
    return None if None in missing else sum(seconds for seconds in missing if seconds)


def shipped_forecast(plan: Plan, target: Target, workload: Workload) -> float | None:
    """Return the seconds of a whole cold build that ship with the target, where they were measured for this one."""
    whole = any(stage.name == EVALUATE for stage in plan.stages)
    return target.expected_seconds.get(workload.name) if whole else None


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn the system's "no space left" into the error that says what to do."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull.at(folder) from error
        raise


class Worker:
    """The process in which steps run; started by the first request, ended with the context."""

    def __init__(self, root: Path, log: Path):
        self.root, self.log = root, log
        self.process: subprocess.Popen[str] | None = None
        self.made: set[str] = set()  # keys of the stages
        self.started = False  # a second process writes on in the same log

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill the process with all that it started."""
        if self.process is None:
            return
        # Its own session: one signal ends it and every process that it started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        self.process = None

    def run(self, request: dict[str, Any], watch: Watch) -> dict[str, Any]:
        """Run one step and return {"facts", "seconds"}. Raises what the step raised, or StepFailed."""
        try:
            return self._run(request, watch)
        except BaseException:
            self.stop()  # before the working folder is removed, in which it may still be writing
            raise

    def _run(self, request: dict[str, Any], watch: Watch) -> dict[str, Any]:
        process = self.process or self._start()
        try:
            process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            raise self._died(process) from None
        for line in process.stdout:  # type: ignore[union-attr]
            ((kind, value),) = json.loads(line).items()
            if kind == "progress":
                watch.progress(value)
            elif kind == "done":
                return value
            else:
                error = error_from(value)
                if "log" in error.fix:
                    error.fix = f"{error.fix}: {self.log}"
                raise error
        raise self._died(process)

    def _start(self) -> subprocess.Popen[str]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # The package may be importable only from here (a checkout, a test), so the path goes along.
        path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self.log.open("a" if self.started else "w", encoding="utf-8") as log:
            self.started = True
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.worker", str(self.root), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.root,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": "tensorflow"},  # a notebook may use another
            )
        return self.process

    def _died(self, process: subprocess.Popen[str]) -> StepFailed | DiskFull:
        code = process.wait()
        if shutil.disk_usage(self.log.parent).free < 64 * 1024:
            return DiskFull.at(self.log.parent)
        how = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return StepFailed(
            "the process in which the step ran is gone",
            received="; ".join([how, *tail]),
            expected="a step that ends with a result or an error",
            fix=f"the whole log is in {self.log}; SIGKILL often means that the memory ran out",
        )
