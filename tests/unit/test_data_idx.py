"""IDX files: every type and rank, plain and compressed; what a folder holds; damage."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.data import idx
from pipeline.data._idx_format import read_idx
from pipeline.errors import EXIT_REQUEST, DataError
from pipeline.workloads import mnist_data

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def packed(array: np.ndarray) -> bytes:
    """Return an array as an IDX file, by the format's description."""
    code = CODES[array.dtype.str[1:]]
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def folder(path: Path, suffix: str = "", prefix: str = "", **splits: tuple[np.ndarray, np.ndarray]) -> Path:
    path.mkdir(exist_ok=True)
    compress = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    for split, (samples, labels) in splits.items():
        (path / f"{prefix}{split}-images-idx{samples.ndim}-ubyte{suffix}").write_bytes(compress(packed(samples)))
        (path / f"{prefix}{split}-labels-idx1-ubyte{suffix}").write_bytes(compress(packed(labels)))
    return path


def pair(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    samples = np.random.default_rng(seed).integers(0, 256, (count, 4, 4), np.uint8)
    return samples, (np.arange(count) % 3).astype(np.uint8)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(CODES)).flatmap(
        lambda code: arrays.arrays(code, arrays.array_shapes(max_dims=4, max_side=5, min_side=0))
    )
)
def test_round_trip(array: np.ndarray) -> None:
    read = read_idx(io.BytesIO(packed(array)), "file")
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(1, 200), tail=st.binary(min_size=1, max_size=3))
def test_a_file_of_another_length_is_refused(cut: int, tail: bytes) -> None:
    whole = packed(pair(10)[0])
    for damaged in (whole[:-cut] if cut < len(whole) else b"", whole + tail):
        with pytest.raises(DataError, match=r"cut off|not an IDX file"):
            read_idx(io.BytesIO(damaged), "file")


def test_a_header_that_claims_more_than_memory_holds_is_refused() -> None:
    with pytest.raises(DataError, match="cut off"):
        read_idx(io.BytesIO(bytes([0, 0, 14, 3]) + b"\xff" * 12 + b"12345678"), "file")


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_folder_like_mnist(tmp_path: Path, suffix: str) -> None:
    train, test = pair(200), pair(50, 1)
    path = folder(tmp_path / "zahlen ä", suffix, train=train, t10k=test)
    assert idx.takes(path)
    data = idx.open_data(path)
    assert (data.task, data.labels, data.input_shape) == ("classification", ("0", "1", "2"), (4, 4, 1))
    assert np.array_equal(data.load("test")[0][..., 0], test[0])
    assert np.array_equal(data.load("test")[1], test[1])
    assert len(data.load("train")[0]) + len(data.load("validation")[0]) == 200
    assert set(data.hashes()) == {file.name for file in path.iterdir()} | {"settings"}


def test_mnist_itself_is_read_as_the_workload_reads_it() -> None:
    data = idx.open_data(Path(mnist_data.__file__).parent / "data")
    samples, labels = data.load("test")
    expected, expected_labels = mnist_data.load("test")
    assert np.array_equal(samples, expected)
    assert np.array_equal(labels, expected_labels)
    assert np.array_equal(data.preprocess(samples[:9]), mnist_data.preprocess(expected[:9]))
    assert len(data.load("train")[1]) + len(data.load("validation")[1]) == 60_000


def test_several_sets_need_a_prefix(tmp_path: Path) -> None:
    path = folder(tmp_path, prefix="emnist-letters-", train=(pair(90)[0], pair(90)[1] + np.uint8(1)))
    folder(tmp_path, prefix="emnist-digits-", train=pair(80))
    with pytest.raises(DataError, match="several sets") as caught:
        idx.open_data(path)
    assert caught.value.exit_code == EXIT_REQUEST
    (path / "data.toml").write_text('prefix = "emnist-letters"')
    with pytest.raises(DataError, match="an empty class: '0'"):
        idx.open_data(path)
    (path / "data.toml").write_text('prefix = "emnist-letters"\nfirst_label = 1\nlabels = ["a", "b", "c"]')
    data = idx.open_data(path)
    assert data.labels == ("a", "b", "c")
    assert sum(len(data.load(split)[1]) for split in ("train", "validation", "test")) == 90


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path, train=pair(90))
    file = path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is cut off"):
        idx.open_data(path).load("train")
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is not an IDX file") as caught:
        idx.open_data(path)
    assert caught.value.received == "an empty file"


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_truncated_compressed_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = folder(tmp_path, suffix, train=pair(900))
    file = path / f"train-images-idx3-ubyte{suffix}"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:5], b"not compressed"):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="train-images-idx3-ubyte"):
            idx.open_data(path).load("train")


def test_counts_that_differ_and_files_that_lack(tmp_path: Path) -> None:
    samples, labels = pair(90)
    path = folder(tmp_path, train=(samples, labels[:80]))
    with pytest.raises(DataError, match="another number of labels") as caught:
        idx.open_data(path)
    assert caught.value.received == "90 samples, 80 labels"
    (path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="needs one file of labels"):
        idx.open_data(path)
