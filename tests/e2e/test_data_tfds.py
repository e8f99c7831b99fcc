"""TensorFlow Datasets on the disk, as their own library writes them: read without a network, in both formats."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data import tfds
from pipeline.data.kinds import kind_of
from pipeline.errors import EXIT_REQUEST, DataError

tensorflow_datasets = pytest.importorskip("tensorflow_datasets")

SPLITS = ("train", "validation", "test")
COUNTS = {"train": 90, "test": 12}


def rows(split: str) -> list[dict[str, Any]]:
    draw = np.random.default_rng(COUNTS[split])
    return [
        {
            "image": draw.integers(0, 256, (8, 6, 3), np.uint8),
            "uneven": draw.integers(0, 256, (4 + number % 3, 5, 1), np.uint8),
            "vector": draw.normal(size=4).astype(np.float32),
            "label": number % 3,
            "value": np.float32(number / 2),
        }
        for number in range(COUNTS[split])
    ]


def written(folder: Path, file_format: str) -> Path:
    features = tensorflow_datasets.features
    spec = features.FeaturesDict(
        {
            "image": features.Image(shape=(8, 6, 3)),
            "uneven": features.Image(shape=(None, None, 1)),
            "vector": features.Tensor(shape=(4,), dtype=np.float32),
            "label": features.ClassLabel(names=["ä", "b", "c"]),
            "value": np.float32,
        }
    )

    class Tiny(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tensorflow_datasets.core.Version("1.0.0")

        def _info(self) -> Any:
            return tensorflow_datasets.core.DatasetInfo(
                builder=self, features=spec, supervised_keys=("image", "label"), disable_shuffling=True
            )

        def _split_generators(self, _: Any) -> Any:
            return {split: enumerate(rows(split)) for split in COUNTS}

        def _generate_examples(self) -> Any:
            raise NotImplementedError

    tensorflow_datasets.disable_progress_bar()
    builder = Tiny(data_dir=folder, file_format=file_format)
    builder.download_and_prepare()
    return Path(builder.data_path)


@pytest.fixture(scope="module", params=["tfrecord", "array_record"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def dataset(prepared: Path, tmp_path: Path) -> Path:
    """A copy to write settings into."""
    return Path(shutil.copytree(prepared, tmp_path / "größe"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_pictures_and_classes(dataset: Path) -> None:
    assert kind_of(dataset) == "tfds"
    data = tfds.open_data(dataset)
    assert (data.task, data.labels, data.input_shape) == ("classification", ("ä", "b", "c"), (8, 6, 3))
    samples, labels = data.load("test")
    assert np.array_equal(samples, np.stack([row["image"] for row in rows("test")]))
    assert labels.tolist() == [row["label"] for row in rows("test")]
    train, validation = data.load("train")[0], data.load("validation")[0]
    both = {sample.tobytes() for sample in (*train, *validation)}
    assert both == {row["image"].tobytes() for row in rows("train")}
    assert len(train) + len(validation) == 90
    assert data.preprocess(samples).max() <= data.input_range[1] == 1


def test_other_features_by_name(dataset: Path) -> None:
    (dataset / "data.toml").write_text('samples = "vector"\ntarget = "value"')
    data = tfds.open_data(dataset)
    assert (data.task, data.input_shape) == ("regression", (4,))
    samples, values = data.load("test")
    assert np.array_equal(samples, np.stack([row["vector"] for row in rows("test")]))
    assert values[:, 0].tolist() == [row["value"] for row in rows("test")]


def test_pictures_of_several_sizes_are_resized_when_asked(dataset: Path) -> None:
    settings = dataset / "data.toml"
    settings.write_text('samples = "uneven"')
    with pytest.raises(DataError, match="several sizes") as caught:
        tfds.open_data(dataset)
    assert caught.value.exit_code == EXIT_REQUEST
    settings.write_text('samples = "uneven"\nsize = [7, 5]')
    data = tfds.open_data(dataset)
    assert data.load("test")[0].shape == (12, 7, 5, 1) == (12, *data.input_shape)


def test_hashes_follow_files_and_settings(dataset: Path) -> None:
    before = tfds.open_data(dataset).hashes()
    (dataset / "data.toml").write_text("# nothing said")
    assert tfds.open_data(dataset).hashes() == before
    (dataset / "data.toml").write_text("shares = { validation = 0.2 }")
    assert tfds.open_data(dataset).hashes() != before


def test_names_that_are_not_there(dataset: Path) -> None:
    (dataset / "data.toml").write_text('samples = "picture"')
    with pytest.raises(DataError, match="what to learn is not known") as caught:
        tfds.open_data(dataset)
    assert "image" in caught.value.expected


def test_code_that_a_dataset_names_is_not_imported(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "armed_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Feature: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    features = json.loads((dataset / "features.json").read_text())
    features["featuresDict"]["features"]["image"]["pythonClassName"] = "armed_module.Feature"
    (dataset / "features.json").write_text(json.dumps(features))
    with pytest.raises(DataError, match="code of another package"):
        tfds.open_data(dataset).load("train")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "train"])
def test_damage(dataset: Path, name: str) -> None:
    file = next(dataset.glob(f"*{name}*"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be read"):
        tfds.open_data(dataset).load("train")
