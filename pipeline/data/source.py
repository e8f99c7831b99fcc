"""What a reader of data gives: samples in three splits, and what a workload has to say of them.

A reader is a module of this folder, its name the kind of data. It defines

    DESCRIPTION: str                    one line: what lies on the disk
    Settings                            frozen pydantic model: what the TOML beside the data may say
    takes(path) -> bool                 whether it reads what lies there, without reading it all
    open_data(path) -> DataSource       raises DataError for what cannot be used

The TOML is `data.toml` in a folder, and for a file the file's own name with `.toml` behind it
(`pixels.csv.toml`). A workload names its reader, so that another reader's source is no part of its keys:

    DATA = image_folder.open_data(Path("…"))
    TASK, LABELS, INPUT_SHAPE, INPUT_RANGE = DATA.task, DATA.labels, DATA.input_shape, DATA.input_range
    load, preprocess, data_hashes = DATA.load, DATA.preprocess, DATA.hashes
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np


class Samples(Protocol):
    """Raw samples [n, …], an array or what is read as it is asked for."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> np.ndarray: ...


class DataSource(Protocol):
    """Opened data. Nothing is decoded before it is asked for: to open is to list and to look."""

    path: Path
    task: str  # "classification" unless the settings say otherwise
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]
    input_range: tuple[float, float]

    def load(self, split: str) -> tuple[Samples, np.ndarray]:
        """Return raw samples [n, …] and labels of "train", "validation" or "test"."""

    def preprocess(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 [n, *input_shape]."""

    def hashes(self) -> dict[str, str]:
        """Return {name: SHA-256} of all that shapes the samples: contents, names of classes, settings."""

    def report(self) -> dict[str, Any]:
        """Return what the data report tells of this kind beyond counts, such as `skipped` files."""
