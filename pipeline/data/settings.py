"""The TOML beside the data: `data.toml` in a folder, `<file>.toml` beside a file.

What the settings of every kind may say, and how they are read:

task = "multi_label"            # left out: told from the labels
labels = ["cat", "dog"]         # names of the outputs, in their order
shares = { validation = 0.1, test = 0.1 }
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field

from pipeline.data.splits import Shares
from pipeline.errors import DataError
from pipeline.toml_files import Strict, read_toml

M = TypeVar("M", bound=Strict)

Task = Literal["classification", "binary", "multi_label", "regression", "anomaly"]


class DataSettings(Strict):
    """What the settings of every kind of data have."""

    task: Task | None = Field(None, description="What is learned; left out: told from the labels.")
    labels: tuple[str, ...] | None = Field(
        None, strict=False, min_length=1, description="Names of the outputs in their order; left out: from the data."
    )
    shares: Shares = Field(Shares(), description="Shares of samples held back where no split is given, 0 to below 1.")


def settings_path(path: Path) -> Path:
    """Return where the settings of the data at `path` lie, whether they are there or not."""
    return path / "data.toml" if path.is_dir() else path.with_name(path.name + ".toml")


def read_settings(path: Path, model: type[M]) -> M:
    """Return the settings of the data at `path` (its folder or file), the defaults where there is no TOML.

    Raises DataError, which names file and key, and for an unknown key the nearest known one.
    """
    file = settings_path(path)
    return read_toml(file, model, DataError) if file.exists() else model()
