"""Zeros and clusters that are promised: measured in kernels, held against files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StepFailed
from pipeline.inspect import inspect_file
from pipeline.steps._promises import (
    distinct_values_per_channel,
    is_clustered,
    is_pruned,
    kernel_zeros,
    lost_clusters,
    lost_zeros,
    refuse_lost_zeros,
)
from pipeline.verify import verify
from pipeline.workload import load_workload

DATA = Path(__file__).parents[1] / "data"
GREY = Path(__file__).parents[1] / "null" / "project" / "workloads" / "grey.py"


def kernel(values: int, zeros: float = 0.0, shape: tuple[int, int] = (200, 10)) -> np.ndarray:
    random = np.random.default_rng(values)
    found = random.permutation(np.resize(np.linspace(0.5, 1, values), shape)).astype(np.float32)
    found[random.random(shape) < zeros] = 0
    return found


def test_zeros_are_promised_for_each_pruned_kernel() -> None:
    half = np.array([[0.0, 1.0]] * 50)
    assert kernel_zeros([np.ones((5, 1, 1)), half, np.zeros((3, 5))]) == [(100, 0.5), (15, 1.0)]
    assert kernel_zeros([]) == []


@given(st.lists(st.tuples(st.sampled_from([100, 1000, 5000]), st.floats(0, 1)), max_size=6), st.data())
def test_kernels_in_another_order_keep_their_zeros(promised: list[tuple[int, float]], data: st.DataObject) -> None:
    found = data.draw(st.permutations([*promised, (7, 0.5)]))
    assert lost_zeros(promised, found, more_allowed=False) == []
    for missing in range(len(promised)):
        rest = promised[:missing] + promised[missing + 1 :]
        assert len(lost_zeros(promised, rest, more_allowed=True)) >= 1


@pytest.mark.parametrize(
    ("share", "more_allowed", "lost"),
    [(0.496, False, 0), (0.504, False, 0), (0.49, False, 1), (0.51, False, 1), (0.49, True, 1), (0.51, True, 0)],
)
def test_half_a_point_of_zeros_more_or_less(share: float, more_allowed: bool, lost: int) -> None:
    assert len(lost_zeros([(1000, 0.5)], [(1000, share)], more_allowed=more_allowed)) == lost


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (kernel(16), True),
        (kernel(256), True),
        (kernel(257), False),
        (kernel(16, zeros=0.9), True),
        (kernel(2000), False),
        (kernel(2000, zeros=0.9), False),  # few values, but each its own
        (np.zeros((9, 9)), False),
    ],
)
def test_a_kernel_is_clustered_when_its_weights_share_values(found: np.ndarray, expected: bool) -> None:
    assert is_clustered(found) is expected


def test_a_kernel_is_pruned_when_it_has_more_than_a_few_zeros() -> None:
    assert not is_pruned(np.append(np.ones(999), 0))
    assert is_pruned(np.append(np.ones(99), 0))


def test_values_are_counted_in_each_output_channel() -> None:
    found = np.array([[[[1.0, 1.0], [2.0, 1.0]]], [[[3.0, 4.0], [1.0, 4.0]]]])
    assert distinct_values_per_channel(found) == 3


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), max_size=8), st.integers(2, 8), st.data())
def test_clusters_are_lost_where_too_few_kernels_of_a_size_have_few_values(
    found: list[tuple[int, int]], number: int, data: st.DataObject
) -> None:
    promised = data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), max_size=6))
    lost = lost_clusters({"number": number, "kernel_elements": promised}, found)
    for size in range(1, 5):
        kept = [distinct for elements, distinct in found if elements == size and distinct <= number]
        assert lost.count(size) == max(0, promised.count(size) - len(kept))


def sparse(share: float) -> np.ndarray:
    return np.arange(1000).reshape(100, 10) >= share * 1000


def test_zeros_that_training_lost_are_refused_and_more_zeros_are_not() -> None:
    for after in (0.496, 0.5, 0.7):
        refuse_lost_zeros("cluster", [sparse(0.5)], [sparse(after)], "")
    with pytest.raises(StepFailed, match="cluster step lost zeros") as caught:
        refuse_lost_zeros("cluster", [sparse(0.5)], [sparse(0.49)], "lower something")
    assert "0.4900" in caught.value.received
    assert caught.value.fix == "lower something"


def verified(folder: Path, **promises: object) -> dict:
    """Hold the committed full-integer file, two kernels of 50 and 720 weights, against promises."""
    (folder / "model.tflite").write_bytes((DATA / "tiny_int8.tflite").read_bytes())
    np.save(folder / "reference.npy", np.eye(10, dtype=np.float32)[np.zeros(50, int)])
    promises = {"input_dtype": "int8", "output_dtype": "int8", "full_integer": True, **promises}
    runner = {"runner": "null", "threads": 1, "resident_megabytes": 1000, "seconds": 60}
    return verify(folder, load_workload(str(GREY)), promises, runner)


def test_a_file_is_held_against_promised_clusters(tmp_path: Path) -> None:
    values = verified(tmp_path)["distinct_values_per_channel"]
    most = {50: max(list(values.values())[:1]), 720: max(list(values.values())[1:])}
    verified(tmp_path, clusters={"number": most[50], "kernel_elements": [50]})
    for clusters in (
        {"number": most[50] - 1, "kernel_elements": [50]},
        {"number": most[50], "kernel_elements": [720]},
        {"number": 255, "kernel_elements": [50, 50]},
    ):
        with pytest.raises(StepFailed, match="does not keep the clusters") as caught:
            verified(tmp_path, clusters=clusters)
        assert f"{most[720]} distinct values in a channel of 720 weights" in caught.value.received
        assert f"at most {clusters['number']} in every output channel" in caught.value.expected


def test_a_file_is_held_against_promised_zeros_and_may_gain_some_only_with_clusters(tmp_path: Path) -> None:
    zeros = inspect_file(DATA / "tiny_int8.tflite").kernels[1].zeros / 720
    clusters = {"number": 255, "kernel_elements": [720]}
    verified(tmp_path, kernel_zeros=[(720, zeros)])
    verified(tmp_path, kernel_zeros=[(720, zeros - 0.01)], clusters=clusters)
    for promises in (
        {"kernel_zeros": [(720, zeros + 0.01)]},
        {"kernel_zeros": [(720, zeros - 0.01)]},
        {"kernel_zeros": [(720, zeros + 0.01)], "clusters": clusters},
        {"kernel_zeros": [(721, zeros)]},
    ):
        with pytest.raises(StepFailed, match="does not keep the zeros"):
            verified(tmp_path, **promises)
