"""The representative dataset."""

from __future__ import annotations

import hashlib
from collections import Counter
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calibration import balanced_indices, refuse_unusable, representative_dataset
from pipeline.errors import EXIT_REQUEST, DataError
from pipeline.workload import Workload
from tests.strategies import labelled_samples, quick


def workload(samples: np.ndarray, labels: np.ndarray) -> Workload:
    """Return a workload of uint8 samples, each scaled to 0..1."""
    module = ModuleType("made_up")
    module.load = {"train": (samples, labels)}.__getitem__  # any other split is a KeyError
    module.preprocess = lambda raw: raw.astype(np.float32) / 255
    module.INPUT_SHAPE = samples.shape[1:]
    module.INPUT_RANGE = (0, 1)
    module.LABELS = tuple(str(label) for label in range(labels.max() + 1))
    return Workload("made_up", module)


def noise(count: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    return random.integers(0, 256, (count, 5, 5), dtype=np.uint8), random.permutation(count) % classes


@quick
@given(labelled_samples(), st.integers(1, 40), st.integers(0, 2**31 - 1))
def test_indices_are_distinct_balanced_in_every_prefix_and_repeatable(
    drawn: tuple[list[list[int]], list[int]], samples: int, seed: int
) -> None:
    raw, labels = np.array(drawn[0], np.uint8), np.array(drawn[1])
    try:
        indices = balanced_indices(raw, labels, samples, seed)
    except DataError:
        distinct = [len({tuple(row) for row in raw[labels == label]}) for label in np.unique(labels)]
        fewest = min(distinct) if len(distinct) == 1 else 0  # a class may lose samples to another
        assert fewest < samples
        return
    assert len(indices) == samples
    assert len({raw[index].tobytes() for index in indices}) == samples
    for length in range(1, samples + 1):
        counts = Counter(labels[indices[:length]].tolist())
        assert max(counts.values()) - min(counts.get(label, 0) for label in np.unique(labels)) <= 1
    assert np.array_equal(indices, balanced_indices(raw, labels, samples, seed))


def test_record_names_the_samples_and_their_hash() -> None:
    samples, labels = noise(400)
    prepared, record = representative_dataset(workload(samples, labels), 50, 3)
    assert prepared.dtype == np.float32
    assert prepared.shape == (50, 5, 5)
    assert np.array_equal(prepared, samples[record["indices"]].astype(np.float32) / 255)
    assert record["sha256"] == hashlib.sha256(prepared.tobytes()).hexdigest()
    assert (record["split"], record["samples"]) == ("train", 50)
    assert Counter(labels[record["indices"]]) == dict.fromkeys(range(10), 5)
    assert all(type(index) is int for index in record["indices"])


def test_the_seed_chooses() -> None:
    made_up = workload(*noise(400))
    draws = [representative_dataset(made_up, 50, seed)[1] for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0]["indices"] != draws[2]["indices"]
    assert draws[0]["sha256"] != draws[2]["sha256"]


def test_repeated_samples_are_passed_over_within_and_across_classes() -> None:
    samples, labels = noise(100, classes=2)
    samples[labels == 0] = np.repeat(samples[labels == 0][:10], 5, axis=0)  # 10 distinct ones
    samples[np.flatnonzero(labels == 1)[:10]] = samples[labels == 0][::5]  # and the other class has them too
    _, record = representative_dataset(workload(samples, labels), 20, 0)
    assert len({samples[index].tobytes() for index in record["indices"]}) == 20


@pytest.mark.parametrize(
    ("count", "wanted", "received"),
    [(100, 110, "10 distinct samples of class 0"), (40, 50, "4 distinct samples of class 0")],
)
def test_a_class_with_too_few_is_named(count: int, wanted: int, received: str) -> None:
    with pytest.raises(DataError) as caught:
        representative_dataset(workload(*noise(count)), wanted, 0)
    assert caught.value.received == received
    assert f"calibration_samples = {wanted}" in caught.value.expected
    assert "`calibration_samples`" in caught.value.fix
    assert caught.value.exit_code == EXIT_REQUEST


def test_a_class_of_equal_samples_is_too_few() -> None:
    samples, labels = noise(400)
    samples[labels == 7] = samples[labels == 7][0]
    with pytest.raises(DataError) as caught:
        representative_dataset(workload(samples, labels), 20, 0)
    assert caught.value.received == "1 distinct samples of class 7"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.01, "out of range"),
        (1.01, "out of range"),
        (255.0, "out of range"),
        (float("nan"), "out of range"),
        (float("inf"), "out of range"),
    ],
)
def test_a_single_value_out_of_range_is_refused(value: float, message: str) -> None:
    prepared = np.random.default_rng(0).random((20, 4, 4), dtype=np.float32)
    refuse_unusable(prepared, (0.0, 1.0))  # as it was, it is good
    prepared[13, 2, 1] = value
    with pytest.raises(DataError) as caught:
        refuse_unusable(prepared, (0.0, 1.0))
    assert message in caught.value.message
    assert "0.0 to 1.0" in caught.value.expected


@pytest.mark.parametrize(
    ("position", "other", "message", "received"),
    [
        (3, 0.5, "constant", "1 of 20, the first at position 3"),
        (3, 0.0, "constant", "1 of 20, the first at position 3"),
        (7, None, "repeats", "19 distinct samples of 20"),
    ],
)
def test_constant_and_repeated_samples_are_refused(
    position: int, other: float | None, message: str, received: str
) -> None:
    prepared = np.random.default_rng(0).random((20, 4, 4), dtype=np.float32)
    prepared[position] = prepared[0] if other is None else other
    with pytest.raises(DataError) as caught:
        refuse_unusable(prepared, (0.0, 1.0))
    assert message in caught.value.message
    assert caught.value.received == received


def test_preprocessing_that_loses_the_picture_is_refused() -> None:
    """Distinct raw samples can become equal: scaled away, cast, cut."""
    made_up = workload(*noise(400))
    made_up.module.preprocess = lambda raw: (raw[:, :1, :1] // 200).astype(np.float32) + np.eye(5, dtype=np.float32) / 2
    with pytest.raises(DataError):
        representative_dataset(made_up, 50, 0)


def test_a_training_split_that_lacks_a_class_is_refused_by_its_label() -> None:
    samples, labels = noise(400)
    with pytest.raises(DataError, match="lack a class") as caught:
        representative_dataset(workload(samples[labels != 7], labels[labels != 7]), 50, 0)
    assert caught.value.received == "a training split without a sample of 7"
    assert caught.value.exit_code == EXIT_REQUEST
