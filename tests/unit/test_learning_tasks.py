"""Each learning task: what it takes for labels, and that its scores are what the definitions say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from pipeline.errors import UnknownName
from pipeline.learning_task import METRICS, budget_keys, find_task, metric_of_budget
from pipeline.learning_tasks import anomaly, binary, classification, multi_label, regression
from pipeline.scores import area_under_curve, logit_of, mean_f1, share_kept
from pipeline.target import Budgets

TASKS = [anomaly, binary, classification, multi_label, regression]
RANDOM = np.random.default_rng(0)
NAMES = ("no", "yes")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_whole(task: Any) -> None:
    assert find_task(task.__name__.rpartition(".")[2], "here") is task
    assert set(task.METRICS) <= set(METRICS)
    outputs = RANDOM.normal(size=(20, *task.output_shape(NAMES, (4, 3)))).astype(np.float32)
    evidence = task.evidence(outputs, np.zeros_like(outputs))
    labels = RANDOM.integers(0, 2, (20, 2) if task in (multi_label, regression) else 20)
    assert list(task.scores(evidence, labels, 0.5)) == list(task.METRICS)
    assert task.agreement(outputs, outputs, 0.5) == 1.0
    assert task.agreement(-outputs, outputs, 0.5) < 0.9
    assert len(task.apart(outputs, outputs, 0.5, 0.1, 3)) == 0
    assert len(task.apart(outputs, -outputs, 0.5, 1e-3, 3)) > 0
    assert len(task.shown(evidence, NAMES, 0.5)) == 20
    shares = task.probabilities(evidence)
    assert (shares is None) == (task in (regression, anomaly))
    if shares is not None:
        assert shares.shape == (20, len(NAMES))
        assert 0 <= shares.min() <= shares.max() <= 1
        assert task is multi_label or shares.sum(axis=1) == pytest.approx(np.ones(20))


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="regression"):
        find_task("regresion", "here")


def test_every_metric_has_its_budgets() -> None:
    keys = [key for metric in METRICS for key in budget_keys(metric)]
    assert set(keys) <= set(Budgets.model_fields)
    assert [metric_of_budget(key) for key in keys[:2]] == ["accuracy", "accuracy"]
    assert metric_of_budget("size_bytes") is None


@pytest.mark.parametrize(
    ("task", "split", "labels", "expected"),
    [
        (classification, "train", np.array([0, 2]), "one integer of 0 to 1"),
        (binary, "train", np.array([[0], [1]]), "one integer of 0 to 1"),
        (multi_label, "train", np.array([0, 1]), "[samples, 2]"),
        (multi_label, "train", np.array([[0, 2]]), "0 or 1"),
        (regression, "train", np.array([[1.0, np.nan]]), "finite"),
        (regression, "train", np.array([1.0, 2.0]), "[samples, 2]"),
        (anomaly, "train", np.array([0, 1]), "normal samples alone"),
        (anomaly, "test", np.array([0, 0]), "both"),
        (anomaly, "test", np.array([1, 1]), "both"),
        (anomaly, "test", np.array([0, 2]), "one integer of 0 to 1"),
        (classification, "train", np.array([0, 1]), ""),
        (binary, "train", np.array([0, 1]), ""),
        (multi_label, "train", np.array([[0, 1]]), ""),
        (regression, "train", np.array([[1.0, 2.0]]), ""),
        (anomaly, "train", np.array([0, 0]), ""),
        (anomaly, "test", np.array([0, 1]), ""),
    ],
)
def test_labels(task: Any, split: str, labels: np.ndarray, expected: str) -> None:
    found = task.labels_expected(labels, NAMES, split)
    assert expected in found
    assert bool(found) == bool(expected)


@pytest.mark.parametrize("task", [binary, anomaly])
def test_two_labels_are_named(task: Any) -> None:
    assert "two LABELS" in task.labels_expected(np.array([0, 1]), ("one", "two", "three"), "test")


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=60))
def test_area_under_the_curve_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([row[0] for row in rows]), np.array([int(row[1]) for row in rows])
    if labels.min() == labels.max():
        assert area_under_curve(scores, labels) == 0.5
    else:
        assert area_under_curve(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=30))
def test_f1_is_that_of_scikit_learn(rows: list[list[bool]]) -> None:
    answered, held = np.array(rows)[:, :3], np.array(rows)[:, 3:]
    theirs = f1_score(held, answered, average="macro", zero_division=0)
    assert mean_f1(answered, held) == pytest.approx(theirs)


def test_a_threshold_moves_the_answer() -> None:
    logits = np.array([logit_of(0.3), logit_of(0.6)], np.float32)
    assert binary.answers(logits, 0.5).tolist() == [0, 1]
    assert binary.answers(logits, 0.2).tolist() == [1, 1]
    assert binary.answers(logits, 0.7).tolist() == [0, 0]
    assert binary.shown(logits, NAMES, 0.5) == [("no", pytest.approx(0.7)), ("yes", pytest.approx(0.6))]


def test_what_an_autoencoder_cannot_repeat_ranks_higher() -> None:
    samples = RANDOM.normal(size=(4, 3)).astype(np.float32)
    outputs = samples + np.array([0.1, 0.2, 0.9, 0.8], np.float32)[:, None]
    evidence = anomaly.evidence(outputs, samples)
    assert evidence == pytest.approx([0.01, 0.04, 0.81, 0.64], rel=1e-4)
    assert anomaly.scores(evidence, np.array([0, 0, 1, 1]), 0.5) == {"auc": 1.0}


def test_mean_absolute_error_is_in_the_labels_unit() -> None:
    scores = regression.scores(np.array([[1.0], [4.0]]), np.array([[2.0], [2.0]]), 0.5)
    assert scores == {"mean_absolute_error": 1.5}


def test_the_share_that_is_kept() -> None:
    reference = np.array([[0.0], [2.0]])
    assert share_kept(reference + 0.1, reference) == pytest.approx(1 - 0.02 / 2)
    assert share_kept(np.ones((2, 1)), np.ones((2, 1))) == 1.0
    assert share_kept(np.zeros((2, 1)), np.ones((2, 1))) == 0.0


def test_steps_apart() -> None:
    """A class changes at a tie; a yes at the threshold; a value where it moved by more steps than operators."""
    ours, theirs = np.array([[3.0, 2.9]]), np.array([[2.9, 3.0]])
    assert classification.apart(ours, theirs, 0.5, 0.1, 1) == pytest.approx([1.0])
    assert binary.apart(np.array([[0.2]]), np.array([[-0.1]]), 0.5, 0.1, 1) == pytest.approx([2.0])
    assert multi_label.apart(np.array([[0.2, 1.0]]), np.array([[-0.1, 1.0]]), 0.5, 0.1, 1) == pytest.approx([2.0])
    assert regression.apart(np.array([[1.0], [1.0]]), np.array([[1.2], [1.5]]), 0.5, 0.1, 3) == pytest.approx([5.0])
