"""The embedded data, and what happens when a file of it is not what was published."""

from __future__ import annotations

import hashlib
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pipeline.errors import EXIT_REQUEST, DataError
from pipeline.lookup import load_file
from pipeline.workloads import mnist_data

# As first published; the same as in the module, from another place.
PUBLISHED = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def test_files_are_the_published_ones() -> None:
    found = {
        path.stem: hashlib.sha256(lzma.decompress(path.read_bytes())).hexdigest() for path in mnist_data.DATA_FILES
    }
    assert found == PUBLISHED


@pytest.mark.parametrize(("split", "count"), [("train", 54_000), ("validation", 6_000), ("test", 10_000)])
def test_split(split: str, count: int) -> None:
    samples, labels = mnist_data.load(split)
    assert samples.shape == (count, 28, 28, 1)
    assert samples.dtype == np.uint8
    assert labels.shape == (count,)
    assert labels.dtype == np.int64
    assert set(labels.tolist()) == set(range(len(mnist_data.LABELS)))


def test_validation_is_the_last_tenth_of_the_training_file() -> None:
    raw = lzma.decompress(mnist_data.DATA_FILES[1].read_bytes())[8:]
    labels = [mnist_data.load(split)[1] for split in ("train", "validation")]
    assert np.array_equal(np.concatenate(labels), np.frombuffer(raw, np.uint8))


def test_preprocessing_scales_to_the_input_range() -> None:
    samples, _ = mnist_data.load("test")
    prepared = mnist_data.preprocess(samples)
    assert prepared.shape == samples.shape
    assert prepared.dtype == np.float32
    assert (prepared.min(), prepared.max()) == mnist_data.INPUT_RANGE == (0, 1)
    assert np.array_equal(np.round(prepared * 255).astype(np.uint8), samples)


@pytest.fixture
def copy(tmp_path: Path) -> ModuleType:
    """The module with data files of its own."""
    shutil.copytree(Path(mnist_data.__file__).parent / "data", tmp_path / "data")
    shutil.copy(mnist_data.__file__, tmp_path / "mnist_data.py")
    return load_file(tmp_path / "mnist_data.py", "workload")


def repacked(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda content: lzma.compress(change(lzma.decompress(content)), preset=0)


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "end cut off": lambda content: content[:-100],
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a byte changed": lambda content: content[:3000] + bytes([content[3000] ^ 1]) + content[3001:],
    "not compressed": lambda content: lzma.decompress(content),
    "nothing inside": repacked(lambda raw: b""),
    "a value less inside": repacked(lambda raw: raw[:-1]),
    "a value changed inside": repacked(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
    "gone": lambda content: None,
}


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.xz", "t10k-labels-idx1-ubyte.xz"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_named(copy: ModuleType, name: str, damage: Callable[[bytes], bytes | None]) -> None:
    path = next(path for path in copy.DATA_FILES if path.name == name)
    damaged = damage(path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    with pytest.raises(DataError) as caught:
        copy.load("test")
    assert str(path) in caught.value.message
    assert caught.value.received
    assert caught.value.expected
    assert path.name in caught.value.fix
    assert caught.value.exit_code == EXIT_REQUEST


def test_a_damaged_training_file_spoils_training_and_validation_alone(copy: ModuleType) -> None:
    path = copy.DATA_FILES[1]
    path.write_bytes(path.read_bytes()[:-50])
    for split in ("train", "validation"):
        with pytest.raises(DataError, match=path.name):
            copy.load(split)
    assert len(copy.load("test")[0]) == 10_000
