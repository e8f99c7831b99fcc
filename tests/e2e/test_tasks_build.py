"""Each learning task for real: trained, quantized, verified, measured and judged by its own metric."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_project import invoke

from pipeline.build_target import build
from pipeline.errors import BadTarget, BadWorkload
from pipeline.execute import Worker, worker_of
from pipeline.plan import make_plan
from pipeline.project import Project, open_project
from pipeline.target import load_target
from pipeline.watch import Watch
from pipeline.workload import load_workload

TASKS = {"diabetes": "regression", "tumours": "binary", "digit_traits": "multi_label", "hum": "anomaly"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("tasks") / "project"
    shutil.copytree(Path(__file__).parent / "tasks_project", root)
    return open_project(root, Watch())


@pytest.fixture(scope="module")
def worker(project: Project) -> Iterator[Worker]:
    """One process for all builds: TensorFlow loads once."""
    first = load_target("regression", project.root), load_workload("diabetes", project.root)
    with worker_of(*first, project.store, project.root) as worker:
        yield worker


@pytest.mark.parametrize(("workload", "task"), TASKS.items())
def test_a_build_passes_by_its_own_metric(project: Project, worker: Worker, workload: str, task: str) -> None:
    target, learned = load_target(task, project.root), load_workload(workload, project.root)
    document = build(target, learned, 0, project, Watch(), worker=worker)
    wrong = [verdict for verdict in document.verdicts if verdict.verdict not in ("pass", "not applicable")]
    assert document.verdict == "pass", wrong
    assert (document.task, document.metric) == (task, learned.metric)
    judged = {verdict.metric for verdict in document.verdicts}
    assert {key for key in target.budgets.model_fields_set if key != "size_bytes"} <= judged
    assert document.calibration is not None
    for split, scores in (("validation", document.validation_scores), ("test", document.scores)):
        evaluation = next(stage.facts for stage in document.stages if stage.name == "evaluate")
        assert scores.items() <= evaluation[split].items()
        entry = project.store.get(next(stage.key for stage in document.stages if stage.name == "evaluate"))
        assert entry is not None
        answers = np.load(entry.folder / f"{split}.npy")
        assert len(answers) == evaluation[split]["samples"] == len(learned.load(split)[0])
    if target.runner == "tflm":
        check = document.device.device_check
        assert check is not None
        assert (check.metric, check.differences) == (learned.metric, 0)
        assert abs(check.score - check.host_score) < 0.01


def test_a_budget_of_another_tasks_metric_is_refused(project: Project) -> None:
    target, learned = load_target("regression", project.root), load_workload("hum", project.root)
    with pytest.raises(BadTarget, match="mean_absolute_error") as caught:
        make_plan(target, learned, 0, project.root)
    assert "auc_min, auc_drop_max" in caught.value.expected


def test_techniques_are_compared_by_right_and_wrong_answers_alone(project: Project) -> None:
    from pipeline.comparison.compare import comparison_plan

    target, learned = load_target("anomaly", project.root), load_workload("hum", project.root)
    with pytest.raises(BadWorkload, match="cannot be compared") as caught:
        comparison_plan(target, learned, 0, project, techniques="", quick=True)
    assert "'anomaly'" in caught.value.received


def test_the_command_line_prints_the_metric(project: Project, worker: Worker) -> None:
    build(load_target("regression", project.root), load_workload("diabetes", project.root), 0, project, Watch())
    done = invoke(project.root, "build", "--target=regression", "--workload=diabetes")
    assert "mean_absolute_error" in done.stdout
    assert "progression " in done.stdout
    bench = json.loads(invoke(project.root, "bench", "--target=regression", "--workload=diabetes", "--json").stdout)
    verdicts = {verdict["metric"]: verdict["verdict"] for verdict in bench["results"][0]["verdicts"]}
    assert verdicts["mean_absolute_error_max"] == "pass"
