"""Which reader takes what, by what lies there."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import kinds
from pipeline.errors import EXIT_REQUEST, DataError

PICKED = ("npz", "csv", "idx", "tfds", "audio_folder")


def laid(folder: Path, kind: str) -> Path:
    """Something of a kind that is told by names; its content does not matter for that."""
    file = {
        "npz": "a.npz",
        "csv": "a.csv",
        "idx": "train-images-idx3-ubyte.gz",
        "tfds": "features.json",
        "audio_folder": "class ü/a.wav",
    }[kind]
    path = folder / kind / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    if kind == "tfds":
        (path.parent / "dataset_info.json").write_text("{}")
    return path if kind in ("npz", "csv") else folder / kind


@pytest.mark.parametrize("kind", PICKED)
def test_each_kind_is_told_by_names_and_by_one_reader_alone(tmp_path: Path, kind: str) -> None:
    path = laid(tmp_path, kind)
    assert kinds.kind_of(path) == kind
    assert [name for name, reader in kinds.readers().items() if reader.takes(path)] == [kind]


@pytest.mark.parametrize("kind", PICKED)
def test_an_empty_file_of_each_kind_is_a_request_error(tmp_path: Path, kind: str) -> None:
    if kind == "tfds":
        pytest.importorskip("tensorflow_datasets")
    with pytest.raises(DataError) as caught:
        kinds.open_any(laid(tmp_path, kind)).load("train")
    assert caught.value.exit_code == EXIT_REQUEST
    assert caught.value.received


def test_every_reader_keeps_the_contract() -> None:
    for kind, reader in kinds.readers().items():
        assert isinstance(reader.DESCRIPTION, str), kind
        assert "\n" not in reader.DESCRIPTION, kind
        assert reader.Settings.model_config["frozen"], kind
        assert reader.Settings.model_config["extra"] == "forbid", kind
        assert all(field.description for field in reader.Settings.model_fields.values()), kind
        assert not any(reader.takes(path) for path in (Path(__file__), Path(__file__).parent)), kind


def test_the_examples_of_settings_are_read() -> None:
    for kind, reader in kinds.readers().items():
        blocks = re.findall(r"(?:^    \S.*\n)+", str(reader.__doc__), re.MULTILINE)
        examples = [tomllib.loads(textwrap.dedent(block)) for block in blocks if " = " in block]
        assert examples, kind
        for example in examples:
            reader.Settings.model_validate(example)


def test_what_is_no_data_is_told_with_what_would_be(tmp_path: Path) -> None:
    for path, found in (
        (tmp_path / "nothing", "no such file"),
        (tmp_path, "nothing in it"),
        (tmp_path / "notes.txt", "'.txt'"),
    ):
        if path.suffix:
            path.write_text("hello")
        with pytest.raises(DataError) as caught:
            kinds.kind_of(path)
        assert caught.value.exit_code == EXIT_REQUEST
        assert found in caught.value.received
        assert all(kind in caught.value.expected for kind in PICKED)


def test_open_any_reads_with_the_reader_that_takes_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(300).reshape(100, 3), y=np.arange(100) % 2)
    data = kinds.open_any(tmp_path / "a.npz")
    assert (data.task, data.labels, data.input_shape) == ("classification", ("0", "1"), (3,))
