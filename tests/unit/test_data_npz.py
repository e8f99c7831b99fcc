"""Numpy archives: what is found in them, how it is split, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import npz
from pipeline.data._arrays import ArrayData, carve
from pipeline.data.splits import Shares
from pipeline.errors import EXIT_REQUEST, DataError
from pipeline.learning_task import find_task

SPLITS = ("train", "validation", "test")


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 5), np.uint8)


def saved(path: Path, toml: str = "", **arrays: Any) -> Path:
    np.savez(path, **arrays)
    path.with_name(path.name + ".toml").write_text(toml)
    return path


def opened(tmp_path: Path, toml: str = "", **arrays: Any) -> ArrayData:
    return npz.open_data(saved(tmp_path / "größe.npz", toml, **arrays))


def refused(tmp_path: Path, toml: str = "", **arrays: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        opened(tmp_path, toml, **arrays).load("train")
    assert caught.value.exit_code == EXIT_REQUEST
    assert "größe.npz" in str(caught.value)
    assert caught.value.received
    assert caught.value.expected
    assert caught.value.fix
    return caught.value


def test_given_splits_are_kept_and_a_missing_one_is_taken_out_of_train(tmp_path: Path) -> None:
    x, y = images(200), np.arange(200) % 3
    data = opened(tmp_path, x_train=x[:150], y_train=y[:150], x_test=x[150:], y_test=y[150:])
    assert (data.task, data.labels, data.input_shape) == ("classification", ("0", "1", "2"), (4, 5, 1))
    test_x, test_y = data.load("test")
    assert np.array_equal(test_x[..., 0], x[150:])
    assert np.array_equal(test_y, y[150:])
    train, validation = data.load("train"), data.load("validation")
    assert len(train[0]) + len(validation[0]) == 150
    assert len(validation[0]) in range(5, 30)
    both = np.concatenate([train[0], validation[0]])[..., 0]
    assert {sample.tobytes() for sample in both} == {sample.tobytes() for sample in x[:150]}
    label_of = {sample.tobytes(): label for sample, label in zip(x, y, strict=True)}
    for samples, labels in (train, validation):
        assert [label_of[sample.tobytes()] for sample in samples] == labels.tolist()


def test_integers_are_scaled_by_their_dtype(tmp_path: Path) -> None:
    x = images(100)
    data = opened(tmp_path, images=x, labels=np.arange(100) % 2)
    prepared = data.preprocess(data.load("train")[0])
    assert prepared.dtype == np.float32
    assert data.input_range == (0, 1)
    assert np.array_equal(np.round(prepared * 255).astype(np.uint8), data.load("train")[0])
    signed = opened(tmp_path, 'scaling = "signed"', images=x, labels=np.arange(100) % 2)
    assert signed.input_range == (-1, 1)
    assert np.allclose(signed.preprocess(np.array([0, 255], np.uint8)), [-1, 1])


def test_floats_are_standardized_by_train_alone(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal([5, -3, 7], [2, 0.1, 0], (300, 3))
    data = opened(tmp_path, x=x, y=x[:, :1] / 3)
    train, labels = data.load("train")
    assert (data.task, data.labels, labels.dtype, labels.shape[1]) == ("regression", ("value",), np.float32, 1)
    prepared = data.preprocess(train)
    assert np.allclose(prepared.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(prepared.std(axis=0), [1, 1, 0], atol=1e-5)
    assert data.input_range == (prepared.min(), prepared.max())
    assert not np.allclose(data.preprocess(data.load("test")[0]).mean(axis=0), 0, atol=1e-3)


@pytest.mark.parametrize(
    ("labels", "toml", "task", "names", "first"),
    [
        (np.eye(3)[np.arange(60) % 3], "", "classification", ("0", "1", "2"), 1),
        (np.array(["b", "a", "c"])[np.arange(60) % 3], "", "classification", ("a", "b", "c"), 0),
        (np.array(["b", "a"])[np.arange(60) % 2], 'labels = ["b", "a"]', "classification", ("b", "a"), 1),
        (np.arange(60) % 2, 'task = "binary"', "binary", ("negative", "positive"), 1),
        (np.arange(60) % 2, 'task = "binary"\nlabels = ["no", "yes"]', "binary", ("no", "yes"), 1),
        (np.arange(60) % 3 + 1, "first_label = 1", "classification", ("1", "2", "3"), 1),
        (np.array([[1, 1], [0, 1], [0, 0]])[np.arange(60) % 3], "", "multi_label", ("label_0", "label_1"), [0, 1]),
        (np.arange(60) % 7, 'task = "regression"\nlabels = ["kelvin"]', "regression", ("kelvin",), [1.0]),
        ((np.arange(60) % 4).astype(np.float64), "", "classification", ("0", "1", "2", "3"), 1),
    ],
)
def test_task_and_names_come_from_the_settings_or_the_labels(
    tmp_path: Path, labels: np.ndarray, toml: str, task: str, names: tuple[str, ...], first: Any
) -> None:
    data = opened(tmp_path, toml, x=images(60), y=labels)
    assert (data.task, data.labels) == (task, names)
    second = images(60)[1]
    for split in SPLITS:
        samples, found = data.load(split)
        place = [i for i, sample in enumerate(samples[..., 0]) if np.array_equal(sample, second)]
        if place:
            assert found[place[0]].tolist() == first
            return
    pytest.fail("the sample is in no split")


def test_anomalies_are_kept_out_of_train(tmp_path: Path) -> None:
    labels = (np.arange(200) % 5 == 0).astype(int)
    data = opened(tmp_path, 'task = "anomaly"', x=images(200), y=labels)
    assert data.labels == ("normal", "anomalous")
    assert not data.load("train")[1].any()
    assert sum(int(data.load(split)[1].sum()) for split in SPLITS) == 40
    assert all(set(data.load(split)[1].tolist()) == {0, 1} for split in ("validation", "test"))
    normal = {"x_train": images(9), "y_train": np.zeros(9, int), "x_val": images(9, 1), "y_val": np.zeros(9, int)}
    error = refused(tmp_path, 'task = "anomaly"', **normal, x_test=images(9, 2), y_test=np.arange(9) % 2)
    assert "the validation split does not suit" in error.message


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("classification", np.arange(300) % 3),
        ("binary", np.arange(300) % 2),
        ("anomaly", np.arange(300) % 2),
        ("multi_label", np.arange(600).reshape(300, 2) % 3 % 2),
        ("regression", np.arange(600).reshape(300, 2)),
    ],
)
def test_labels_are_what_the_task_expects(tmp_path: Path, task: str, labels: np.ndarray) -> None:
    data = opened(tmp_path, f'task = "{task}"', x=images(300), y=labels)
    for split in SPLITS:
        assert find_task(data.task, "").labels_expected(data.load(split)[1], data.labels, split) == ""


@settings(max_examples=30, deadline=None)
@given(count=st.integers(60, 200), added=st.integers(1, 60), seed=st.integers(0, 1000))
def test_added_samples_move_no_other(count: int, added: int, seed: int) -> None:
    x, y = images(count + added, seed), np.zeros(count + added, np.int64)
    order = np.random.default_rng(seed).permutation(count + added)

    def split_by_sample(x: np.ndarray) -> dict[bytes, str]:
        parts = carve(
            {"train": (x, y[: len(x)])}, "regression", ("value",), Shares(validation=0.3, test=0.3), Path("x")
        )
        return {sample.tobytes(): split for split in SPLITS for sample in parts[split][0]}

    before, after = split_by_sample(x[:count]), split_by_sample(x[order])
    assert before.items() <= after.items()


def test_hashes_tell_contents_and_settings_apart_and_not_how_the_toml_is_written(tmp_path: Path) -> None:
    arrays = {"x": images(60), "y": np.arange(60) % 2}
    before = opened(tmp_path, "", **arrays).hashes()
    assert opened(tmp_path, "# a comment\nfirst_label = 0", **arrays).hashes() == before
    assert opened(tmp_path, "shares = { validation = 0.2 }", **arrays).hashes() != before
    assert opened(tmp_path, "", **{**arrays, "x": images(60, 1)}).hashes() != before


def test_other_names_are_said_in_the_settings(tmp_path: Path) -> None:
    arrays = {"pictures": images(60), "digits": np.arange(60) % 2, "weights": np.ones(60)}
    assert "weights" in refused(tmp_path, **arrays).received
    data = opened(tmp_path, '[arrays]\ntrain = ["pictures", "digits"]', **arrays)
    assert data.report() == {"arrays": {"train": ["pictures", "digits"]}}
    assert "nothing" in str(refused(tmp_path, '[arrays]\ntrain = ["nothing", "digits"]', **arrays))


class Armed:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("role", ["x", "y"])
def test_a_pickle_is_never_loaded(tmp_path: Path, role: str) -> None:
    ran = tmp_path / "ran"
    armed = np.empty(60, object)
    armed[:] = [Armed(ran)] * 60
    arrays = {"x": images(60), "y": np.arange(60) % 2, role: armed}
    error = refused(tmp_path, **arrays)
    assert "pickle" in error.message
    assert not ran.exists()
    pickle.loads(pickle.dumps(Armed(ran)))
    assert ran.exists(), "the test's own object would have run"


@pytest.mark.parametrize(
    ("labels", "toml", "said"),
    [
        (np.arange(60) % 3 - 1, "", "out of range"),
        (np.arange(60) % 3, 'labels = ["a", "b"]', "out of range"),
        (np.arange(60) % 3, 'labels = ["a", "b", "c", "d"]', "an empty class: 'd'"),
        (np.arange(60) % 3 * 2, "", "an empty class: '1', '3'"),
        (np.zeros(60, int), "", "one class only"),
        (np.array(["a"] * 60), "", "one class only"),
        (np.array(["a", "A"])[np.arange(60) % 2], "", "but for case"),
        (np.array(["a", "b"])[np.arange(60) % 2], 'labels = ["a", "c"]', "no class"),
        (np.arange(59) % 2, "", "60 samples, 59 labels"),
        (np.arange(61) % 2, "", "60 samples, 61 labels"),
        (np.array([10**9, 0] * 30), "", "more classes than samples"),
        (np.arange(60) % 3, 'task = "binary"', "out of range"),
        (np.array(["a", "b", "c"])[np.arange(60) % 3], 'task = "binary"', "two classes"),
        (np.array([0.5, np.nan] * 30), "", "no finite number"),
        (np.array([0.5, 1] * 30), 'task = "classification"', "no whole numbers"),
        (np.array([[0, 2], [1, 0]] * 30), 'task = "multi_label"', "out of range"),
        (np.array([[1, 1, 0]] * 60), 'labels = ["a", "b"]', "2 names"),
        (np.array([[1, 1, 0]] * 60), 'task = "classification"', "not one class a sample"),
        (np.array(["a", "b"])[np.arange(60) % 2], 'task = "anomaly"', "normal one"),
        (np.arange(60) % 2, 'task = "clasification"', "task cannot be used"),
        (np.arange(60) % 2, 'scalling = "unit"', "did you mean 'scaling'"),
        (np.arange(60) % 2, "shares = { validation = 0.0 }", "the validation split has no sample"),
        (np.arange(60) % 2, "shares = { validation = 2 }", "shares.validation"),
        (np.arange(60) % 2, "task = ", "is not TOML"),
    ],
)  # fmt: skip
def test_labels_and_settings_that_cannot_be_used(tmp_path: Path, labels: np.ndarray, toml: str, said: str) -> None:
    assert said in str(refused(tmp_path, toml, x=images(60), y=labels))


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.full((60, 3), np.nan), "no finite number: train sample 0"),
        (np.empty((0, 3)), "no samples"),
        (np.arange(60), "no samples"),
        (np.array([["a", "b"]] * 60), "no samples"),
    ],
)
def test_samples_that_cannot_be_used(tmp_path: Path, samples: np.ndarray, said: str) -> None:
    assert said in str(refused(tmp_path, x=samples, y=np.arange(len(samples)) % 2))


def test_splits_must_be_alike(tmp_path: Path) -> None:
    y = np.arange(60) % 2
    error = refused(tmp_path, x_train=images(60), y_train=y, x_test=images(60)[:, :3], y_test=y)
    assert "test split is unlike train" in str(error)
    assert "several arrays" in str(refused(tmp_path, x=images(60), images=images(60), y=y))
    assert "not found by name" in str(refused(tmp_path, x_train=images(60), y_train=y, x_test=images(60)))


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "inside"])
def test_a_file_that_is_no_archive(tmp_path: Path, damage: str) -> None:
    path = saved(tmp_path / "größe.npz", x=images(60), y=np.arange(60) % 2)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:-30],
            "text": b"hello",
            "inside": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
        }[damage]
    )
    with pytest.raises(DataError, match="cannot be read"):
        npz.open_data(path).load("train")


def test_labels_that_are_one_number_for_all_samples(tmp_path: Path) -> None:
    assert "another number of labels" in str(refused(tmp_path, x=images(9), y=np.array(3)))


def test_damaged_compression(tmp_path: Path) -> None:
    path = tmp_path / "größe.npz"
    np.savez_compressed(path, x=images(200), y=np.arange(200) % 2)
    content = bytearray(path.read_bytes())
    start = content.index(b"x.npy") + len("x.npy") + 20  # behind the member's extra field
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        npz.open_data(path)
