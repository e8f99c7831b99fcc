"""Data whose samples are arrays in memory: split, scaled, and given as a DataSource.

Splits that the data do not have are taken out of train, sample by sample, as the content's hash says: a sample keeps
its split whatever else is added, and equal samples are on one side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from pipeline.data._labels import refuse_empty_class, understand
from pipeline.data.settings import DataSettings
from pipeline.data.splits import Shares, split_of
from pipeline.errors import DataError
from pipeline.workload import SPLITS

if TYPE_CHECKING:
    import numpy as np

    Splits = dict[str, tuple[np.ndarray, np.ndarray]]  # {split: (samples [n, …], labels)}

Scaling = Literal["unit", "signed", "standard"]
_SMALL_INTEGERS = ("uint8", "uint16", "int8", "int16", "bool")


class ArraySettings(DataSettings):
    """What the settings of arrays may say."""

    scaling: Scaling | None = Field(
        None,
        description="unit: the dtype's range to 0..1; signed: to -1..1; standard: train's mean 0 and deviation 1 along "
        "the last axis. Left out: unit for integers of 8 and 16 bits, else standard.",
    )
    first_label: int = Field(0, description="Number of the first class where labels are numbers.")
    add_channel: bool = Field(True, description="Whether samples [height, width] become [height, width, 1].")


@dataclass(frozen=True)
class ArrayData:
    """A DataSource over arrays. `splits` is asked when samples are, and remembered."""

    path: Path
    task: str
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]
    input_range: tuple[float, float]
    splits: Callable[[], Splits]
    preprocess: Callable[[np.ndarray], np.ndarray]
    hashes: Callable[[], dict[str, str]]
    details: dict[str, Any] = field(default_factory=dict)

    def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return raw samples [n, *input_shape] and labels of "train", "validation" or "test"."""
        return self.splits()[split]

    def report(self) -> dict[str, Any]:
        """Return what the reader found, such as which arrays or files."""
        return dict(self.details)


def open_arrays(
    path: Path,
    settings: ArraySettings,
    labels: dict[str, np.ndarray],
    headers: dict[str, tuple[tuple[int, ...], np.dtype]],
    read: Callable[[], dict[str, np.ndarray]],
    hashes: Callable[[], dict[str, str]],
    details: dict[str, Any],
) -> ArrayData:
    """Return the data of arrays by split, of which shapes and dtypes (`headers`) and labels are known already.

    `read` gives samples [n, …] by split; it is called when samples are asked for, or now where scaling needs them.
    """
    import numpy as np

    shape, dtype = _common_header(path, headers)
    for split, part in labels.items():
        refuse_other_count(path, split, headers[split][0][0], len(part) if part.ndim else 0)
    task, names, found = understand(labels, settings, path, settings.first_label)
    channel = settings.add_channel and len(shape) == 2

    @cache
    def splits() -> Splits:
        parts = read()
        for split, part in parts.items():
            _refuse_not_finite(path, split, part)
        with_channel = {split: part[..., np.newaxis] if channel else part for split, part in parts.items()}
        return carve(
            {split: (part, found[split]) for split, part in with_channel.items()}, task, names, settings.shares, path
        )

    how = settings.scaling or ("unit" if str(dtype) in _SMALL_INTEGERS else "standard")
    if how == "standard":
        preprocess, input_range = standard(splits()["train"][0])
    else:
        preprocess, input_range = linear(how, dtype, path)
    return ArrayData(
        path, task, names, (*shape, 1) if channel else shape, input_range, splits, preprocess, hashes, details
    )


def carve(
    parts: Splits, task: str, names: Sequence[str], shares: Shares, path: Path, digests: Sequence[str] | None = None
) -> Splits:
    """Return train, validation and test: those given, and what is missing taken out of train by content.

    `digests` are the SHA-256 of the content of train's samples; left out: of their bytes. Anomalous samples never
    stay in train. Raises DataError for a split without a sample, and a class that train is left without.
    """
    import numpy as np

    missing = [split for split in SPLITS if split not in parts]
    samples, labels = parts["train"]
    if digests is None:
        digests = [hashlib.sha256(sample.tobytes()).hexdigest() for sample in samples] if missing else []
    splits = {split: part for split, part in parts.items() if split != "train"}
    places = np.array([split_of(digest, shares) for digest in digests] if missing else ["train"] * len(samples), "U10")
    places[~np.isin(places, missing)] = "train"
    if task == "anomaly" and len(missing) == 2:
        for index in np.flatnonzero((labels == 1) & (places == "train")):
            places[index] = ("validation", "test")[int(digests[int(index)][16:32], 16) % 2]
    elif task == "anomaly" and missing:
        places[(labels == 1) & (places == "train")] = missing[0]
    for split in ("train", *missing):
        chosen = places == split
        splits[split] = (samples, labels) if chosen.all() else (samples[chosen], labels[chosen])
    for split in SPLITS:
        if not len(splits[split][1]):
            raise DataError(
                f"{path}: the {split} split has no sample",
                received=f"{len(samples)} samples, of which none falls to {split}",
                expected="at least one sample in train, validation and test",
                fix="add samples, or raise shares in the settings",
            )
    if task == "anomaly":
        _refuse_anomalies(splits, path)
    elif task in ("classification", "binary"):
        refuse_empty_class(splits["train"][1], names, path, "train")
    return splits


def standard(train: np.ndarray, untouched: int = 0) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float]]:
    """Return (preprocess, range of train's values behind it): train's mean 0 and deviation 1 along the last axis.

    The last `untouched` values of that axis stay as they are. A value that never changes keeps the deviation 1.
    """
    import numpy as np

    axes = tuple(range(train.ndim - 1))
    mean = train.mean(axis=axes, dtype=np.float64)
    deviation = train.std(axis=axes, dtype=np.float64)
    deviation[deviation < 1e-12 * np.maximum(1, np.abs(mean))] = 1
    if untouched:
        mean[-untouched:], deviation[-untouched:] = 0, 1

    def preprocess(samples: np.ndarray) -> np.ndarray:
        return ((samples - mean) / deviation).astype(np.float32)

    prepared = preprocess(train)
    return preprocess, (float(prepared.min()), float(prepared.max()))


def linear(how: str, dtype: np.dtype, path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float]]:
    """Return (preprocess, its range): an integer dtype's whole range to 0..1 ("unit") or -1..1 ("signed")."""
    import numpy as np

    if dtype.kind not in "iub":
        raise DataError(
            f"{path}: scaling = {how!r} is for integers",
            received=f"samples of {dtype}",
            expected="integers, whose dtype says how low and how high they may be",
            fix='scaling = "standard"',
        )
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    to_low, to_high = (0.0, 1.0) if how == "unit" else (-1.0, 1.0)

    def preprocess(samples: np.ndarray) -> np.ndarray:
        if (low, to_low) == (0, 0.0):
            return samples.astype(np.float32) / np.float32(high)
        return (to_low + (samples.astype(np.float64) - low) * ((to_high - to_low) / (high - low))).astype(np.float32)

    return preprocess, (to_low, to_high)


def settings_hash(settings: BaseModel) -> str:
    """Return the SHA-256 of settings: what they say, not how the TOML writes it."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()


def refuse_other_count(path: Path, split: str, samples: int, labels: int) -> None:
    """Raise DataError where samples and labels are not as many."""
    if samples != labels:
        raise DataError(
            f"{path}: the {split} split has another number of labels than of samples",
            received=f"{samples} samples, {labels} labels",
            expected="one label for each sample",
            fix="correct the data; which belong together cannot be told",
        )


def _common_header(
    path: Path, headers: dict[str, tuple[tuple[int, ...], np.dtype]]
) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and dtype of one sample, which all splits must share."""
    shapes = {split: (shape[1:], dtype) for split, (shape, dtype) in headers.items()}
    shape, dtype = shapes["train"]
    for split, (whole, _) in headers.items():
        if len(whole) < 2 or 0 in whole or dtype.kind not in "fiub":
            raise DataError(
                f"{path}: no samples in the {split} split",
                received=f"an array {list(whole)} of {dtype}",
                expected="numbers [samples, …], at least one sample of at least one value",
                fix="correct the array, or name another in the settings",
            )
        if shapes[split] != (shape, dtype):
            raise DataError(
                f"{path}: the {split} split is unlike train",
                received=f"samples {list(shapes[split][0])} of {shapes[split][1]}",
                expected=f"samples {list(shape)} of {dtype}",
                fix="store all splits alike",
            )
    return shape, dtype


def _refuse_not_finite(path: Path, split: str, samples: np.ndarray) -> None:
    import numpy as np

    if samples.dtype.kind == "f":
        for start in range(0, len(samples), 1024):  # no second array as large as the first
            bad = np.argwhere(~np.isfinite(samples[start : start + 1024]))
            if len(bad):
                place = [int(start + bad[0][0]), *map(int, bad[0][1:])]
                raise DataError(
                    f"{path}: a value is no finite number: {split} sample {place[0]}, at {place}",
                    received=str(samples[tuple(place)]),
                    expected="finite numbers",
                    fix="correct or remove the sample",
                )


def _refuse_anomalies(splits: Splits, path: Path) -> None:
    import numpy as np

    for split in SPLITS:
        found = np.bincount(splits[split][1], minlength=2)
        if (found[1] > 0) if split == "train" else (found == 0).any():
            wanted = "normal samples alone" if split == "train" else "both normal (0) and anomalous (1) samples"
            raise DataError(
                f"{path}: the {split} split does not suit anomaly detection",
                received=f"{found[0]} normal and {found[1]} anomalous samples",
                expected=wanted,
                fix="add samples, or leave the splits to their content by giving one array alone",
            )
