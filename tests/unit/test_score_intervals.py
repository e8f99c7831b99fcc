"""How sure a score is: the intervals hold what they should, as often as they should."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pipeline.learning_tasks import anomaly, binary, classification, multi_label, regression
from pipeline.score_intervals import SAMPLES_MAX, TWO_SIDED, score_intervals, wilson_interval


def score_of(task: Any) -> Any:
    return lambda evidence, labels: task.scores(evidence, labels, 0.5)


def classes(random: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
    labels = random.integers(0, 3, samples)
    evidence = random.normal(size=(samples, 3))
    evidence[np.arange(samples), labels] += 1.5
    return evidence, labels


def values(random: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
    labels = random.normal(size=(samples, 1))
    return labels + random.normal(size=(samples, 1)), labels


def anomalies(random: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(samples) % 2
    return labels + random.normal(size=samples), labels


@pytest.mark.parametrize(
    ("task", "draw", "metric"),
    [(classification, classes, "f1"), (regression, values, "mean_absolute_error"), (anomaly, anomalies, "auc")],
)
def test_nineteen_of_twenty_hold_the_score_of_endless_samples(task: Any, draw: Any, metric: str) -> None:
    random = np.random.default_rng(7)
    truth = task.scores(*draw(random, 200_000), 0.5)[metric]
    held = 0
    for _ in range(100):
        low, high = score_intervals(score_of(task), *draw(random, 300))[metric]
        held += low <= truth <= high
    assert 88 <= held <= 99


@pytest.mark.parametrize("samples", [500, 4 * SAMPLES_MAX])
def test_the_error_of_a_mean_is_that_of_the_books(samples: int) -> None:
    evidence, labels = values(np.random.default_rng(3), samples)
    distances = np.abs(evidence - labels)
    low, high = score_intervals(score_of(regression), evidence, labels)["mean_absolute_error"]
    assert (low + high) / 2 == pytest.approx(distances.mean())
    assert (high - low) / 2 == pytest.approx(TWO_SIDED * distances.std() / math.sqrt(samples), rel=0.2)


def test_right_answers_are_counted_and_equal_evidence_gives_equal_intervals() -> None:
    evidence, labels = classes(np.random.default_rng(0), 200)
    correct = int((evidence.argmax(axis=1) == labels).sum())
    found = score_intervals(score_of(classification), evidence, labels, correct)
    assert found["accuracy"] == wilson_interval(correct, 200)
    assert found == score_intervals(score_of(classification), evidence, labels, correct)


def test_a_flawless_share_is_as_sure_as_its_samples_are_many() -> None:
    labels = np.arange(40) % 4 // 3  # 10 of 40 are anomalous
    assert score_intervals(score_of(anomaly), labels.astype(float), labels) == {"auc": wilson_interval(10, 10)}
    flawless = np.where(labels[:, None] == [0, 1], 5.0, -5.0)
    spans = score_intervals(score_of(classification), flawless, labels, 40)
    assert spans == {"f1": wilson_interval(40, 40), "accuracy": wilson_interval(40, 40)}
    both = np.stack([labels, 1 - np.arange(40) // 38], axis=1)  # 2 of 40 lack the second label
    spans = score_intervals(score_of(multi_label), np.where(both, 5.0, -5.0), both)
    assert spans == {"f1": wilson_interval(40, 40), "accuracy": wilson_interval(40, 40), "auc": wilson_interval(2, 2)}


def test_a_score_that_no_resample_changes_has_no_interval() -> None:
    labels = np.arange(60) % 2
    flawless = np.where(labels[:, None] == [0, 1, 2], 5.0, -5.0)  # class 2 is in no sample, so that F1 is 2/3
    assert score_of(classification)(flawless, labels)["f1"] == pytest.approx(2 / 3)
    assert list(score_intervals(score_of(classification), flawless, labels, 60)) == ["accuracy"]
    assert score_intervals(score_of(regression), np.ones((9, 1)), np.ones((9, 1))) == {}
    with np.errstate(all="raise"):
        assert score_intervals(score_of(regression), np.full((9, 1), np.nan), np.ones((9, 1))) == {}


def test_no_interval_leaves_the_range_of_its_score() -> None:
    labels = np.arange(40) % 2
    nearly = labels + np.where(np.arange(40) == 0, 1.5, 0)
    low, high = score_intervals(score_of(anomaly), nearly, labels)["auc"]
    assert 0 < low < high == 1.0
    one_wrong = np.zeros((40, 1))
    one_wrong[0] = 1
    assert score_intervals(score_of(regression), one_wrong, np.zeros((40, 1)))["mean_absolute_error"][0] == 0.0


def test_a_yes_or_no_has_all_three() -> None:
    random = np.random.default_rng(5)
    labels = random.integers(0, 2, 300)
    evidence = labels * 2.0 - 1 + random.normal(size=300)
    scores = binary.scores(evidence, labels, 0.5)
    spans = score_intervals(score_of(binary), evidence, labels, int((binary.answers(evidence, 0.5) == labels).sum()))
    assert spans.keys() == scores.keys()
    for name, (low, high) in spans.items():
        assert low < scores[name] < high
