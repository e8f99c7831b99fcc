"""A TensorFlow Dataset that lies on the disk, prepared: a folder with `dataset_info.json` and `features.json`.

It is read by `tensorflow-datasets` (the extra `tfds`), which downloads nothing: `tfds.builder_from_directory`. The path
is that of a version, as in `~/tensorflow_datasets/mnist/3.0.1`. Samples are pictures of one size, or arrays.
`data.toml`:

    samples = "image"          # features to learn from and to learn; left out: the dataset's supervised keys
    target = "label"
    size = [96, 96]            # height, width: pictures are resized to it (bilinear). Left out: all must have one size
    scaling = "unit"           # or signed, standard

The dataset's splits `train`, `validation` and `test` are used; one that is not there is taken out of train by the
content of each sample. All samples are held in memory.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipeline.data._arrays import ArrayData, ArraySettings, linear, open_arrays, settings_hash
from pipeline.data.settings import read_settings
from pipeline.errors import DataError, EnvironmentUnsuited
from pipeline.files import sha256_of
from pipeline.workload import SPLITS

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "a prepared TensorFlow Dataset: a folder with dataset_info.json and features.json"

_OWN_CLASSES = "tensorflow_datasets.core.features."
_Side = Annotated[int, Field(gt=0, le=8192)]


class Settings(ArraySettings):
    """What `data.toml` in the folder may say."""

    samples: str | None = Field(None, description="Feature to learn from.")
    target: str | None = Field(None, description="Feature to learn.")
    size: tuple[_Side, _Side] | None = Field(None, strict=False, description="Height and width in pixels.")


def takes(path: Path) -> bool:
    """Whether `path` is a folder with dataset_info.json and features.json."""
    return path.is_dir() and all((path / name).is_file() for name in ("dataset_info.json", "features.json"))


def open_data(path: Path) -> ArrayData:
    """Open a prepared dataset. Raises DataError, and EnvironmentUnsuited without tensorflow-datasets.

    Pictures with class labels are not read, nor is TensorFlow imported, before samples are asked for.
    """
    if importlib.util.find_spec("tensorflow_datasets") is None:
        raise EnvironmentUnsuited(
            f"{path} is a TensorFlow Dataset, which tensorflow-datasets reads; it is not installed",
            received="no such distribution",
            expected="the distribution tensorflow-datasets",
            fix="pip install 'edge-deployment-pipeline[tfds]'",
        )
    settings = read_settings(path, Settings)
    info, features = _json(path / "dataset_info.json"), _json(path / "features.json")
    _refuse_foreign_classes(path, features)
    try:
        known = features["featuresDict"]["features"]
        splits = [split["name"] for split in info["splits"]]
        keys = [item["featureKey"] for item in info.get("supervisedKeys", {}).get("tuple", {}).get("items", [])]
        samples = settings.samples or (keys[0] if keys else None)
        target = settings.target or (keys[1] if keys else None)
        kinds = known.get(samples), known.get(target)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise _not_understood(path, error) from error
    if not all(kinds) or "train" not in splits:
        raise DataError(
            f"{path}: what to learn is not known" if "train" in splits else f"{path} has no train split",
            received=f"samples = {samples!r}, target = {target!r}; splits {', '.join(splits)}",
            expected=f"two of {', '.join(sorted(known))}; and a split train",
            fix='samples = "…" and target = "…" in data.toml, or a dataset with a train split',
        )
    names = _class_names(path, target, kinds[1])
    settings = settings.model_copy(update={"labels": settings.labels or names})
    hashes = partial(_hashes, path, settings)
    details = {"dataset": info.get("name"), "version": info.get("version"), "samples": samples, "target": target}

    @cache
    def opened() -> ArrayData:
        found = {split: _read(path, split, samples, target, settings) for split in SPLITS if split in splits}
        arrays = {split: part for split, (part, _) in found.items()}
        return open_arrays(
            path,
            settings,
            labels={split: labels for split, (_, labels) in found.items()},
            headers={split: (part.shape, part.dtype) for split, part in arrays.items()},
            read=lambda: arrays,
            hashes=hashes,
            details=details,
        )

    shape = _picture_shape(kinds[0], settings)
    if names is None or shape is None or settings.scaling == "standard":
        return opened()

    import numpy as np

    preprocess, input_range = linear(settings.scaling or "unit", np.dtype(np.uint8), path)
    task = settings.task or "classification"
    return ArrayData(
        path, task, settings.labels or (), shape, input_range, lambda: opened().splits(), preprocess, hashes, details
    )


def _hashes(path: Path, settings: Settings) -> dict[str, str]:
    files = [file for file in sorted(path.iterdir()) if file.is_file() and file.name != "data.toml"]
    return {**{file.name: sha256_of(file) for file in files}, "settings": settings_hash(settings)}


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _not_understood(file, error) from error


def _not_understood(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read as a TensorFlow Dataset: {type(error).__name__}: {error}",
        received=str(error),
        expected="a folder as tensorflow-datasets prepares it",
        fix="prepare the dataset anew",
    )


def _refuse_foreign_classes(path: Path, features: Any) -> None:
    """The library imports whatever module the file names for a feature; none but its own is let through."""
    waiting = [features]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            name = part.get("pythonClassName", _OWN_CLASSES)
            if not (isinstance(name, str) and name.startswith(_OWN_CLASSES)):
                raise DataError(
                    f"{path}: features.json names code of another package, which was not imported",
                    received=str(name),
                    expected=f"features of {_OWN_CLASSES}*",
                    fix="prepare the dataset with the features that tensorflow-datasets has",
                )
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _class_names(path: Path, target: Any, kind: Any) -> tuple[str, ...] | None:
    """Return the names of the classes where the target is a class label."""
    if "classLabel" not in kind:
        return None
    file = path / f"{target}.labels.txt"
    if file.is_file():
        return tuple(file.read_text(encoding="utf-8").splitlines())
    try:
        return tuple(str(number) for number in range(int(kind["classLabel"]["numClasses"])))
    except (KeyError, TypeError, ValueError):
        return None


def _picture_shape(kind: Any, settings: Settings) -> tuple[int, ...] | None:
    """Return the shape of pictures of uint8 where features.json or the settings say all of it."""
    try:
        if kind["image"].get("dtype") != "uint8":
            return None
        *sides, channels = (int(side) for side in kind["image"]["shape"]["dimensions"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    shape = (*(settings.size or sides), channels)
    return shape if min(shape) > 0 else None


def _read(path: Path, split: str, samples: Any, target: Any, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Return all samples [n, …] and labels of one split of the dataset, in the order of its files."""
    import numpy as np
    import tensorflow_datasets

    try:
        builder = tensorflow_datasets.builder_from_directory(path)
        if builder.info.file_format.value == "array_record":
            rows: Any = builder.as_data_source(split)
        else:
            config = tensorflow_datasets.ReadConfig(interleave_cycle_length=1, try_autocache=False)
            rows = tensorflow_datasets.as_numpy(builder.as_dataset(split, shuffle_files=False, read_config=config))
        found = [(_resized(np.asarray(row[samples]), settings), row[target]) for row in rows]
    except Exception as error:  # what the library raises on a damaged file is of many kinds
        raise _not_understood(path, error) from error
    shapes = sorted({part.shape for part, _ in found})
    if len(shapes) != 1:
        raise DataError(
            f"{path}: samples of several sizes in the {split} split" if shapes else f"{path}: no samples in {split}",
            received=", ".join(map(str, shapes[:5])) or "an empty split",
            expected="one size",
            fix="size = [96, 96] in data.toml resizes pictures",
        )
    labels = [label.decode() if isinstance(label, bytes) else label for _, label in found]
    return np.stack([part for part, _ in found]), np.array(labels)


def _resized(sample: np.ndarray, settings: Settings) -> np.ndarray:
    if settings.size is None or sample.shape[:2] == settings.size:
        return sample
    import numpy as np
    from PIL import Image

    height, width = settings.size
    planes = [
        np.asarray(Image.fromarray(sample[..., channel]).resize((width, height), Image.Resampling.BILINEAR))
        for channel in range(sample.shape[2])
    ]
    return np.stack(planes, axis=-1)
