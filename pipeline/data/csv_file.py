"""One CSV file: rows of pixels with their label, or a table of features with a target column.

**Features**: columns of numbers are standardized by the train split's mean and deviation; columns of texts, and those
named in `categorical`, are one-hot over the values that the train split has (another value is all zeros). Missing
values are refused, by line and column: what to put in their place is for the owner of the data to say.
`prices.csv.toml`:

    target = "price"                  # or several: ["x", "y"]; needed unless a column is called label, target, class, y
    task = "regression"               # left out: told from the target
    categorical = ["postcode"]        # numbers that are names
    ignore = ["id"]
    separator = ";"                   # left out: sniffed
    header = true                     # left out: whether no cell of the first row is a number
    shares = { validation = 0.15, test = 0.15 }

**Pixels**: whole numbers of 0 to 255, row by row, channels last. They are told by their names (`pixel0`, `1x1`, or
none) and a square number of them, or said in the settings. `digits.csv.toml`:

    content = "pixels"
    target = "1"                      # columns without a header are named by their number from 1
    height = 28
    width = 28
    channels = 1

Which split a row belongs to follows from its features as they are written.
"""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from pipeline.data._arrays import ArrayData, carve, linear, settings_hash, standard
from pipeline.data._csv_table import Table, as_number, read_table, sniff
from pipeline.data._labels import understand
from pipeline.data.settings import DataSettings, read_settings
from pipeline.errors import DataError, UnknownName
from pipeline.files import sha256_of

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "a .csv or .tsv file: a label and pixels in each row, or a table of features with a target column"

_USUAL_TARGETS = ("label", "target", "class", "y")
_PIXEL = re.compile(r"(?:pixel|px|p)?[ _-]?\d+(?:x\d+)?", re.IGNORECASE)
_PIXELS_MIN = 64  # fewer columns are features unless the settings say otherwise
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_CATEGORIES_MAX = 1000  # more values in a column are no categories but names of rows
_Names = Annotated[tuple[str, ...], Field(strict=False)]  # TOML has lists


class Settings(DataSettings):
    """What `<file>.csv.toml` may say."""

    target: str | _Names | None = Field(None, description="Column of the label, or columns of several.")
    content: Literal["features", "pixels"] | None = Field(None, description="What the other columns are.")
    categorical: _Names = Field((), description="Columns that are one-hot though they hold numbers.")
    ignore: _Names = Field((), description="Columns that are not read.")
    separator: str | None = Field(None, min_length=1, max_length=1, description="One character between cells.")
    header: bool | None = Field(None, description="Whether the first row names the columns.")
    height: int | None = Field(None, gt=0, le=8192, description="Height of a picture in pixels.")
    width: int | None = Field(None, gt=0, le=8192, description="Width of a picture in pixels.")
    channels: int | None = Field(None, gt=0, le=16, description="Values for each pixel.")


def takes(path: Path) -> bool:
    """Whether `path` is a file named .csv or .tsv."""
    return path.suffix.lower() in (".csv", ".tsv") and path.is_file()


def open_data(path: Path) -> ArrayData:
    """Read a CSV file. Raises DataError, which names line and column, for what cannot be read or learned from.

    UnknownName for a column that the settings name and the file has not.
    """
    settings = read_settings(path, Settings)
    separator, names, header = sniff(path, settings.separator, settings.header)
    targets = _targets(path, settings, names, header)
    for column in (*targets, *settings.categorical, *settings.ignore):
        if column not in names:
            raise UnknownName("column", column, names, where=str(path))
    features = [name for name in names if name not in targets and name not in settings.ignore]
    if not features:
        raise DataError(
            f"{path} has no features",
            received=f"columns {', '.join(names)}",
            expected="a column besides the target",
            fix="set separator, target or ignore in the settings",
        )
    shape = _pixel_shape(path, settings, features, header)

    def is_text(name: str) -> bool | None:
        if name in targets:
            return True
        return False if shape else True if name in settings.categorical else None

    table = read_table(path, separator, names, header, is_text, features, "float32" if shape else "float64")
    labels, settings_of_labels = _labels(path, settings, table, targets)
    task, outputs, found = understand({"train": labels}, settings_of_labels, path)
    rows = {"train": (_numbers_to(len(labels)), found["train"])}
    chosen = carve(rows, task, outputs, settings.shares, path, table.digests)
    if shape:
        samples: Any = _pixels(path, table, features).reshape(-1, *shape)
        details: dict[str, Any] = {}
        preprocess, input_range = linear("unit", samples.dtype, path)
    else:
        categorical = [name for name in features if name in table.texts]
        samples, encoded, unseen = _encoded(path, table, categorical, chosen)
        shape = samples.shape[1:]
        columns = [name for name in features if name not in table.texts] + encoded
        details = {"columns": columns, "unseen_categories": unseen}
        preprocess, input_range = standard(samples[chosen["train"][0]], untouched=len(encoded))
    splits = {split: (samples[indices], part) for split, (indices, part) in chosen.items()}
    return ArrayData(
        path,
        task,
        outputs,
        shape,
        input_range,
        splits=lambda: splits,
        preprocess=preprocess,
        hashes=partial(_hashes, path, settings),
        details={"separator": separator, "header": header, "target": targets, **details},
    )


def _hashes(path: Path, settings: Settings) -> dict[str, str]:
    return {path.name: sha256_of(path), "settings": settings_hash(settings)}


def _numbers_to(count: int) -> np.ndarray:
    import numpy as np

    return np.arange(count)


def _targets(path: Path, settings: Settings, names: list[str], header: bool) -> list[str]:
    if settings.target is not None:
        return [settings.target] if isinstance(settings.target, str) else list(settings.target)
    usual = [name for name in names if name.casefold() in _USUAL_TARGETS]
    if len(usual) == 1:
        return usual
    if not header and (settings.content == "pixels" or settings.height or _square(len(names) - 1)):
        return names[:1]  # as MNIST in CSV has it
    raise DataError(
        f"{path}: which column is the target is not known",
        received=f"columns {', '.join(names[:20])}" + (", …" if len(names) > 20 else ""),
        expected=f"one column called {', '.join(_USUAL_TARGETS)}, or its name in the settings",
        fix=f'target = "{names[-1]}" in {path.name}.toml' + ("" if header else ", columns numbered from 1"),
    )


def _square(count: int) -> bool:
    return count >= _PIXELS_MIN and math.isqrt(count) ** 2 == count


def _pixel_shape(path: Path, settings: Settings, features: list[str], header: bool) -> tuple[int, ...] | None:
    """Return [height, width, channels] where the features are pixels."""
    count, channels = len(features), settings.channels
    named = all(_PIXEL.fullmatch(name) for name in features)
    told = settings.content == "pixels" or settings.height or settings.width or channels
    if settings.content == "features" or not (told or (named and (_square(count) or _square(count // 3)))):
        return None
    if channels is None:
        channels = 3 if not settings.height and math.isqrt(count) ** 2 != count and count % 3 == 0 else 1
    side = math.isqrt(count // channels)
    height = settings.height or (count // channels // settings.width if settings.width else side)
    width = settings.width or count // channels // height
    if height * width * channels != count:
        raise DataError(
            f"{path}: {count} pixels do not fill a picture",
            received=f"height {height}, width {width}, channels {channels}",
            expected=f"height × width × channels = {count}",
            fix=f'height, width and channels in {path.name}.toml, or content = "features"',
        )
    return height, width, channels


def _labels(path: Path, settings: Settings, table: Table, targets: list[str]) -> tuple[np.ndarray, Settings]:
    """Return the labels, numbers or texts, and settings in which the target columns name values."""
    import numpy as np

    cells = [table.texts[name] for name in targets]
    if len(targets) == 1 and settings.task != "regression":
        numbers = [_float(cell) for cell in cells[0]]
        fraction = any(number is not None and number % 1 != 0 for number in numbers)  # also where it is not finite
        if settings.task is not None or not fraction:
            return _classes(path, settings, table, targets[0], numbers), settings
    values = [
        [as_number(path, line, name, cell) for name, cell in zip(targets, row, strict=True)]
        for line, *row in zip(table.lines, *cells, strict=True)
    ]
    return np.array(values), settings.model_copy(update={"labels": settings.labels or tuple(targets)})


def _classes(path: Path, settings: Settings, table: Table, target: str, numbers: list[float | None]) -> np.ndarray:
    import numpy as np

    whole = [int(number) for number in numbers if number is not None and number % 1 == 0]
    names = table.texts[target]
    if len(whole) == len(numbers):
        if settings.task == "anomaly" and not settings.labels:
            return np.array(whole)  # 0 is normal
        names = [str(number) for number in whole]
    for line, name in zip(table.lines, names, strict=True):
        if settings.labels and name not in settings.labels:
            raise DataError(
                f"{path}: line {line}, column {target!r}: a label out of range",
                received=repr(name),
                expected=f"one of {', '.join(settings.labels)}",
                fix="correct the cell, or labels in the settings",
            )
    return np.array(names)


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _pixels(path: Path, table: Table, features: list[str]) -> np.ndarray:
    import numpy as np

    bad = np.argwhere((table.numbers < 0) | (table.numbers > 255) | (table.numbers % 1 != 0))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"{path}: line {table.lines[row]}, column {features[column]!r}: no pixel",
            received=f"{table.numbers[row, column]:g}",
            expected="a whole number of 0 to 255",
            fix='correct the cell, or content = "features" in the settings',
        )
    return table.numbers.astype(np.uint8)


def _encoded(
    path: Path, table: Table, categorical: list[str], chosen: dict[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, list[str], dict[str, list[str]]]:
    """Return (float64 [rows, columns], names of one-hot columns, {column: values that train lacks}).

    Numbers come first, as they are; then for each categorical column one column for each value in train.
    """
    import numpy as np

    blocks, names, unseen = [table.numbers], [], {}
    for column in categorical:
        cells = np.array(table.texts[column])
        values = np.unique(cells[chosen["train"][0]])
        if all(_DECIMAL_COMMA.fullmatch(value) for value in values):
            raise DataError(
                f"{path}: column {column!r} has decimal commas",
                received=f"{values[0]!r}",
                expected="numbers with a decimal point",
                fix="write them with points: a spreadsheet's export can be told so",
            )
        if len(values) > _CATEGORIES_MAX:
            raise DataError(
                f"{path}: column {column!r} has too many values for categories",
                received=f"{len(values)} values in the train split",
                expected=f"at most {_CATEGORIES_MAX}",
                fix=f'ignore = ["{column}"] in the settings if it names rows',
            )
        blocks.append((cells[:, np.newaxis] == values).astype(np.float64))
        names += [f"{column}={value}" for value in values]
        if other := sorted(set(table.texts[column]) - set(values.tolist())):
            unseen[column] = other
    return np.concatenate(blocks, axis=1), names, unseen
