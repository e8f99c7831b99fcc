"""The process in which steps run: what a step hands back, and what it may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import EXIT_STEP, DataError, PipelineError, StepFailed
from pipeline.execute import Worker
from pipeline.watch import Watch

GREY = Path(__file__).parents[1] / "null" / "project" / "workloads" / "grey.py"
STEP = """
from pydantic import BaseModel
import numpy as np
from pipeline.errors import DataError
CONSUMES, PRODUCES, LIBRARIES = None, "keras", ()
class Config(BaseModel):
    pass
def run(source, workload, config, out, report):
    report({"done": 0.5, "loss": float("nan")})
    print("printed by the step")
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with Worker(tmp_path, tmp_path / "logs" / "worker.log") as worker:
        yield worker


def run(worker: Worker, body: str, watch: Watch | None = None) -> dict[str, Any]:
    """Run a step that ends with `body`."""
    step = worker.root / f"step_{len(list(worker.root.iterdir()))}.py"
    step.write_text(f"{STEP}    {body}\n")
    out = worker.root / f"{step.stem}.out"
    out.mkdir()
    request = {"step": str(step), "workload": str(GREY), "source": None, "config": {}, "promises": {}, "runner": {}}
    return worker.run({**request, "out": str(out)}, watch or Watch())


def test_facts_and_progress_come_back(worker: Worker) -> None:
    seen: list[dict[str, Any]] = []
    watch = Watch()
    watch.progress = seen.append
    answer = run(worker, "return {'a': [1, 2.5, None, 'x']}", watch)
    assert answer["facts"] == {"a": [1, 2.5, None, "x"]}
    assert answer["seconds"] >= 0
    assert [progress["done"] for progress in seen] == [0.5]
    assert "printed by the step" in worker.log.read_text()


@pytest.mark.parametrize(
    ("body", "kind", "message", "received"),
    [
        ("return {'loss': [0.5, float('nan')]}", StepFailed, "not finite", "loss.1 = nan"),
        ("return {'a': {'b': float('inf')}}", StepFailed, "not finite", "a.b = inf"),
        ("return {'a': object()}", StepFailed, "facts", "object"),
        ("return {'a': np.float32(1)}", StepFailed, "facts", "float32"),
        ("pass", StepFailed, "facts", "NoneType"),
        ("return [1]", StepFailed, "facts", "list"),
        ("1 / 0", StepFailed, "division by zero", "ZeroDivisionError"),
        ("raise DataError('no data', received='none', expected='some', fix='get some')", DataError, "no data", "none"),
        ("raise SystemExit(3)", StepFailed, "is gone", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", StepFailed, "is gone", "SIGKILL"),
    ],
)
def test_what_a_step_cannot_hand_back_is_its_failure(
    worker: Worker, body: str, kind: type[PipelineError], message: str, received: str
) -> None:
    with pytest.raises(kind) as caught:
        run(worker, body)
    error = caught.value
    assert type(error) is kind
    assert message in error.message
    assert received in error.received
    assert error.expected
    assert error.fix
    assert kind is DataError or error.exit_code == EXIT_STEP


def test_one_process_runs_every_step_and_a_failure_ends_it(worker: Worker) -> None:
    run(worker, "return {}")
    process = worker.process
    assert run(worker, "return {'a': 1}")["facts"] == {"a": 1}
    assert worker.process is process
    with pytest.raises(StepFailed):
        run(worker, "1 / 0")
    assert process.poll() is not None


def test_the_worker_ends_with_its_context(tmp_path: Path) -> None:
    with Worker(tmp_path, tmp_path / "logs" / "worker.log") as worker:
        assert worker.process is None, "it starts with the first request"
        run(worker, "return {}")
        process = worker.process
        assert process.poll() is None
    assert process.poll() is not None
