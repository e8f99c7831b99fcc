"""Builds that are killed, interrupted or run at the same time: nothing lives on, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import pytest

from pipeline.store import Store
from tests.null.cli import BUILD, TIMEOUT_SECONDS, Project, finish, keys, made, wait_for

KILLS = 30

# A stage that WAIT names says that it is reached, and waits until the file named by GATE is there.
WAIT = '''"""A way to hold a build at a chosen stage."""

import os
import time


def wait(stage):
    gate = os.environ.get("GATE", "")
    if os.environ.get("WAIT") == stage and not os.path.exists(gate):
        open(gate + ".reached", "w").close()
        while not os.path.exists(gate):
            time.sleep(0.01)
'''
RUNNER = '''"""The null runner, which waits at the stage that is asked for."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from pipeline.runners import null
from wait import wait

DESCRIPTION, VERSION, MEASURES_TIME = "waits", "1", False
device = null.device


def run(models, samples, settings):
    if settings.rounds:
        wait("benchmark")
    elif settings.outputs and len(samples) == 100:  # the test split
        wait("evaluate")
    return null.run(models, samples, settings)
'''


@dataclass(frozen=True)
class Gated:
    """A project whose builds stop at a stage until the gate is opened."""

    project: Project
    gate: Path

    def start(self, stage: str, *arguments: str) -> subprocess.Popen[str]:
        return self.project.start(*BUILD, *arguments, env={"WAIT": stage, "GATE": str(self.gate)})

    def start_and_reach(self, stage: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a build and wait until it waits at the stage."""
        process = self.start(stage, *arguments)
        wait_for(Path(f"{self.gate}.reached").exists, f"{stage} is not reached")
        return process

    def open(self) -> None:
        self.gate.touch()


@pytest.fixture
def gated(project: Project) -> Iterator[Gated]:
    project.add("wait.py", WAIT)
    project.add("runners/waiting.py", RUNNER)
    project.edit("targets/null.toml", 'runner = "null"', 'runner = "waiting"')
    for step in ("null_train", "null_prune", "null_quantize"):
        path = f"import sys\nsys.path.insert(0, {str(project.root)!r})\nfrom wait import wait\n"
        project.edit(f"steps/{step}.py", "import numpy as np\n", f"import numpy as np\n{path}")
        run = "def run(source, workload, config, out, report):\n"
        project.edit(f"steps/{step}.py", run, f'{run}    wait("{step}")\n')
    gated = Gated(project, project.root / "gate")
    yield gated
    gated.open()
    project.wait_until_gone(30)


def read_until(process: subprocess.Popen[str], start: str) -> None:
    """Read stderr up to a line that starts so."""
    lines: list[str] = []
    watchdog = Timer(TIMEOUT_SECONDS, process.kill)
    watchdog.start()
    try:
        while not lines or not lines[-1].startswith(start):
            line = process.stderr.readline()  # type: ignore[union-attr]
            assert line, f"no line {start!r} in {lines}"
            lines.append(line)
    finally:
        watchdog.cancel()


def assert_sound(project: Project) -> None:
    assert Store(project.root / "artifacts" / "store").verify() == []


# ---------------------------------------------------------------- kill -9


@dataclass(frozen=True)
class Reference:
    """A build that nobody disturbed."""

    seconds: float
    keys: dict[str, str]
    content: bytes


def ballast(project: Project) -> None:
    """Let the build take a while, and its first output a while to be hashed and written out."""
    project.configure("null_train", seconds=0.2, epochs=2, fill_bytes=4_000_000)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    project = Project.create(tmp_path_factory.mktemp("reference"))
    ballast(project)
    started = time.monotonic()
    document = project.built()
    return Reference(time.monotonic() - started, keys(document), project.artifact().read_bytes())


@pytest.mark.parametrize("number", range(KILLS))
def test_kill_9_at_swept_moments(tmp_path: Path, reference: Reference, number: int) -> None:
    project = Project.create(tmp_path)
    ballast(project)
    process = project.start(*BUILD)
    time.sleep(reference.seconds * (number + 0.5) / KILLS)
    process.kill()
    process.communicate()
    project.wait_until_gone()
    assert_sound(project)
    again = project.built()
    assert keys(again) == reference.keys
    assert project.artifact().read_bytes() == reference.content
    assert_sound(project)


def test_kill_9_while_the_worker_starts(gated: Gated) -> None:
    """The worker has its first request in its pipe before it can ask to die with its parent."""
    for _ in range(3):
        process = gated.start("null_train")
        wait_for(lambda: any("pipeline.worker" in line for line in gated.project.processes()), "no worker")
        process.kill()
        process.communicate()
        gated.project.wait_until_gone()
    assert_sound(gated.project)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_by_a_signal(gated: Gated, number: signal.Signals) -> None:
    process = gated.start_and_reach("null_prune")
    process.send_signal(number)
    finish(process, expect=-number)
    gated.project.wait_until_gone()
    assert_sound(gated.project)


def test_leftovers_of_a_killed_build_are_collected(gated: Gated) -> None:
    process = gated.start_and_reach("null_prune")
    process.kill()
    process.communicate()
    gated.project.wait_until_gone()
    store = gated.project.root / "artifacts" / "store"
    assert list((store / "working").iterdir())
    document = gated.project.run("store.gc", "--json").json("store")
    assert len(document["removed"]) == 1  # null_train: no finished build uses it
    assert [path for name in ("working", "pins") for path in (store / name).iterdir()] == []


# ---------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize(
    ("stage", "send"),
    [
        ("null_train", os.killpg),  # as a terminal does
        ("null_train", os.kill),
        ("null_quantize", os.killpg),
        ("evaluate", os.killpg),
        ("benchmark", os.killpg),
    ],
)
def test_interrupt_ends_in_one_line(gated: Gated, stage: str, send: Callable[[int, int], None]) -> None:
    process = gated.start_and_reach(stage)
    send(process.pid, signal.SIGINT)
    result = finish(process, expect=130)
    *progress, last = result.stderr.splitlines()
    assert last.startswith("interrupted: ")
    assert progress[-1].startswith(f"{stage}: started")
    assert result.stdout == ""
    gated.project.wait_until_gone()
    assert_sound(gated.project)
    working = gated.project.root / "artifacts" / "store" / "working"
    assert list(working.glob("*")) == []
    gated.open()
    finished = [line.partition(":")[0] for line in progress if ": made in" in line]
    again = gated.project.built()
    assert set(made(again)).isdisjoint(finished)
    assert again["verdict"] == "pass"


def test_interrupt_while_a_step_writes(project: Project) -> None:
    writing = "    for number in range(10**9):\n        (out / str(number)).touch()\n"
    project.edit("steps/null_prune.py", "    weights = np.load", f"{writing}    weights = np.load")
    working = project.root / "artifacts" / "store" / "working"
    process = project.start(*BUILD)
    wait_for(lambda: len(list(working.glob("*/*"))) > 100, "nothing is written")
    process.send_signal(signal.SIGINT)
    finish(process, expect=130)
    assert list(working.glob("*")) == []
    assert_sound(project)


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1])
def test_interrupt_while_the_worker_starts(gated: Gated, delay: float) -> None:
    process = gated.start("null_train", "--json")
    read_until(process, "to make:")
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    result = finish(process, expect=130)
    assert result.stderr.splitlines()[-1].startswith("interrupted: ")
    assert "Traceback" not in result.stderr
    assert result.json("error")["error"]["code"] == "interrupted"
    gated.project.wait_until_gone()


# ---------------------------------------------------------------- at the same time


def test_two_builds_at_once_make_each_stage_once(gated: Gated) -> None:
    first = gated.start_and_reach("null_train", "--json")
    second = gated.start("null_train", "--json")
    read_until(second, "note: another build makes this stage now")
    gated.open()
    documents = [finish(process).json("build") for process in (first, second)]
    assert keys(documents[0]) == keys(documents[1])
    assert documents[0]["sha256"] == documents[1]["sha256"]
    assert sorted(made(documents[0]) + made(documents[1])) == sorted(keys(documents[0]))
    assert_sound(gated.project)
    gated.project.run("bench", "--target=null")


def test_build_goes_on_when_the_other_is_killed(gated: Gated) -> None:
    first = gated.start_and_reach("null_train")
    second = gated.start("null_train", "--json")
    read_until(second, "note: another build makes this stage now")
    first.kill()
    first.communicate()
    gated.open()
    assert len(made(finish(second).json("build"))) == 6
    assert_sound(gated.project)


def test_two_forced_builds_at_once(project: Project) -> None:
    project.configure("null_train", fill_bytes=2_000_000)
    documents = [finish(process) for process in [project.start(*BUILD, "--force", "--json") for _ in range(2)]]
    assert len({document.json("build")["sha256"] for document in documents}) == 1
    assert_sound(project)


@pytest.mark.parametrize("stage", ["null_prune", "evaluate", "benchmark"])
def test_gc_leaves_what_a_running_build_uses(gated: Gated, stage: str) -> None:
    process = gated.start_and_reach(stage, "--json")
    before = gated.project.entries()
    document = gated.project.run("store.gc", "--json").json("store")
    assert document["removed"] == []
    assert gated.project.entries() == before != set()
    refused = gated.project.run("clean", "--store", "--json", expect=2).json("error")["error"]
    assert refused["message"] == "the store is in use"
    gated.open()
    finish(process)
    assert made(gated.project.built()) == []


def test_two_builds_and_the_garbage_collection_at_once(built: Project) -> None:
    """Rebuilds with another step give the collection something to remove and to leave."""
    built.configure("null_train", seconds=0.3)
    builds = [built.start(*BUILD, "--json") for _ in range(2)]
    collections = 0
    while any(process.poll() is None for process in builds):
        built.run("store.gc")
        collections += 1
    assert collections
    documents = [finish(process).json("build") for process in builds]
    assert sorted(made(documents[0]) + made(documents[1])) == sorted(keys(documents[0]))
    assert_sound(built)
    assert set(keys(documents[0]).values()) <= built.entries()
    again = built.built()
    assert made(again) == []
    assert json.loads(built.artifact(name="build.json").read_text()) == again
