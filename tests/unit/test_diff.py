"""Two builds held against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.diff import (
    answer_changes,
    budget_changes,
    field_changes,
    metric_changes,
    operator_changes,
    recipe_changes,
)
from pipeline.diff_document import MetricChange, StageChange
from pipeline.documents import BuildDocument, StageRecord
from pipeline.inspect import inspect_file
from pipeline.intervals import Interval
from pipeline.score_intervals import wilson_interval
from tests.null.cli import DATA
from tests.unit.test_documents import build_document


def build(correct: int = 900, **more: Any) -> BuildDocument:
    document = build_document()
    facts = {"test": {"accuracy": correct / 1000, "samples": 1000, "correct": correct}}
    stage = StageRecord(name="evaluate", key="1" * 64, state="made", seconds=1.0, facts=facts)
    scores = {"accuracy": correct / 1000}
    intervals = {"accuracy": wilson_interval(correct, 1000)}
    given = {"stages": [*document.stages, stage], "scores": scores, "score_intervals": intervals, **more}
    return document.model_copy(update=given)


def change_of(metric: str, before: BuildDocument, after: BuildDocument, **more: Any) -> MetricChange:
    return next(one for one in metric_changes(before, after, **more) if one.metric == metric)


@pytest.mark.parametrize(("size", "outcome"), [(11, "better"), (12, "no difference shown"), (13, "worse")])
def test_sizes_are_exact(size: int, outcome: str) -> None:
    assert change_of("size_bytes", build(), build(size_bytes=size)).outcome == outcome


@pytest.mark.parametrize(
    ("correct", "outcome"),
    [(910, "no difference shown"), (890, "no difference shown"), (960, "better"), (800, "worse")],
)
def test_accuracy_without_answers_is_held_against_both_intervals(correct: int, outcome: str) -> None:
    change = change_of("accuracy", build(), build(correct))
    assert change.outcome == outcome
    assert change.before_interval is not None
    assert change.before_interval[0] < 0.9 < change.before_interval[1]


def test_accuracy_is_judged_by_the_answers_where_they_are_there() -> None:
    labels = np.zeros(1000, np.int32)
    before, after = (np.where(np.arange(1000) < wrong, 1, 0).astype(np.int32) for wrong in (100, 85))
    answers = answer_changes(before, after, ["zero", "one"], labels)
    assert (answers.changed, answers.lost, answers.gained) == (15, 0, 15)
    assert answers.mcnemar is not None
    assert answers.mcnemar.p_value == pytest.approx(2 * 0.5**15)
    change = change_of("accuracy", build(900), build(915), test=answers.mcnemar)
    assert change.outcome == "better"  # their intervals overlap
    assert change_of("accuracy", build(900), build(915)).outcome == "no difference shown"


def test_the_samples_that_changed_class_are_named() -> None:
    before, after = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
    answers = answer_changes(before, after, ["cat", "dog"], np.array([0, 0, 1, 0]))
    shown = [(one.index, one.label, one.before, one.after) for one in answers.shown]
    assert shown == [(1, "cat", "dog", "cat"), (3, "cat", "cat", "dog")]
    assert (answers.lost, answers.gained) == (1, 1)
    unknown = answer_changes(before, after, [], None, "no labels")
    assert (unknown.lost, unknown.mcnemar, unknown.note) == (None, None, "no labels")
    assert [(one.label, one.before) for one in unknown.shown] == [(None, "1"), (None, "0")]


def test_scores_on_other_data_do_not_compare() -> None:
    change = change_of("accuracy", build(), build(100), other_data="the data are not the same")
    assert (change.outcome, change.note) == ("not applicable", "the data are not the same")


@pytest.mark.parametrize(
    ("metric", "value", "outcome"),
    [
        ("f1", 0.95, "no difference shown"),
        ("f1", 0.99, "better"),
        ("f1", 0.80, "worse"),
        ("mean_absolute_error", 0.99, "worse"),
        ("mean_absolute_error", 0.80, "better"),
    ],
)
def test_a_score_differs_when_the_intervals_do_not_meet(metric: str, value: float, outcome: str) -> None:
    before, after = (
        build(scores={metric: score}, score_intervals={metric: (score - 0.04, score + 0.04)}) for score in (0.9, value)
    )
    assert change_of(metric, before, after).outcome == outcome
    one_sided = after.model_copy(update={"score_intervals": {}})
    assert change_of(metric, before, one_sided).outcome != "not applicable"
    neither = (side.model_copy(update={"score_intervals": {}}) for side in (before, after))
    assert change_of(metric, *neither).note == "it has no interval"


def test_accuracy_of_a_document_from_before_intervals_has_wilson_s() -> None:
    before, after = (build(correct, score_intervals={}) for correct in (900, 800))
    change = change_of("accuracy", before, after)
    assert (change.outcome, change.before_interval) == ("worse", wilson_interval(900, 1000))


def test_a_score_without_interval_shows_no_difference_by_itself() -> None:
    before, after = build(scores={"f1": 0.90}), build(scores={"f1": 0.91})
    assert change_of("f1", before, after).outcome == "not applicable"
    assert change_of("f1", before, before).outcome == "no difference shown"


@pytest.mark.parametrize(
    ("value", "outcome"), [(1.5, "no difference shown"), (0.9, "no difference shown"), (9.0, "worse"), (0.1, "better")]
)
def test_times_differ_when_the_intervals_do_not_meet(value: float, outcome: str) -> None:
    before, after = build(), build()
    assert before.latency is not None
    first = before.latency.model_copy(update={"p50_us": 1.0, "p50_us_interval": (0.5, 1.6)})
    second = first.model_copy(update={"p50_us": value, "p50_us_interval": (value * 0.9, value * 1.1)})
    before, after = (build(latency=latency) for latency in (first, second))
    assert change_of("p50_us", before, after).outcome == outcome
    elsewhere = second.model_copy(update={"threads": 7})
    assert change_of("p50_us", before, build(latency=elsewhere)).outcome == "not applicable"


def test_more_speed_is_better_and_what_one_lacks_says_so() -> None:
    before = build()
    assert before.latency is not None
    slow, fast = (
        build(latency=before.latency.model_copy(update={"speedup": Interval(value=x, low=x - 0.1, high=x + 0.1)}))
        for x in (1.0, 2.0)
    )
    assert change_of("speedup", slow, fast).outcome == "better"
    gone = change_of("p50_us", slow, build(latency=None))
    assert (gone.after, gone.outcome, gone.note) == (None, "not applicable", "not measured after")


def record(**config: Any) -> dict[str, Any]:
    return {"config": config, "seed": 0, "source": {"steps/prune.py": "a"}, "follows": ["x"], "libraries": {}}


def states(changes: list[StageChange]) -> list[tuple[str, str]]:
    return [(change.name, change.state) for change in changes]


def test_a_recipe_is_told_step_by_step() -> None:
    before = [
        ("train", "1", record()),
        ("prune", "2", record(sparsity=0.8, m=None)),
        ("cluster", "3", record(clusters=16, seed_of=None)),
        ("quantize", "4", record()),
    ]
    after = [
        ("train", "1", record()),
        ("prune", "5", record(sparsity=0.9, m=None) | {"source": {"steps/prune.py": "b"}, "follows": ["y"]}),
        ("quantize", "6", record() | {"follows": ["z"]}),
        ("slim", "7", None),
    ]
    changes = recipe_changes(before, after)
    assert states(changes) == [
        ("train", "same"),
        ("prune", "changed"),
        ("cluster", "only before"),
        ("quantize", "follows a change"),
        ("slim", "only after"),
    ]
    assert [(one.field, one.before, one.after) for one in changes[1].parameters] == [("sparsity", 0.8, 0.9)]
    assert changes[1].inputs == ["source.steps/prune.py"]
    assert [(one.field, one.before, one.after) for one in changes[2].parameters] == [("clusters", 16, None)]


def test_a_stage_whose_record_is_gone_is_unknown_and_says_whose() -> None:
    found = recipe_changes([("train", "1", None)], [("train", "2", record())])[0]
    assert found.state == "unknown"
    assert "the first build" in found.note


def test_versions_and_budgets() -> None:
    versions = field_changes({"numpy": "1", "python": "3"}, {"numpy": "2", "python": "3", "more": "1"})
    assert [(one.field, one.before, one.after) for one in versions] == [("more", None, "1"), ("numpy", "1", "2")]
    budgets = budget_changes(build(), build(verdicts=build().verdicts[:1]))
    assert budgets[0].after == budgets[0].before
    assert {one.after for one in budgets[1:]} == {None}


def test_operators_are_counted_by_their_number_formats() -> None:
    float32, int8 = (inspect_file(DATA / f"tiny_{name}.tflite") for name in ("float32", "int8"))
    assert operator_changes(int8, int8) == []
    changes = operator_changes(float32, int8)
    assert any("float32" in one.operator and one.before > 0 == one.after for one in changes)
    assert any("int8" in one.operator and one.after > 0 == one.before for one in changes)
