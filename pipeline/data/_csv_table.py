"""A CSV file as columns: numbers, texts, and what is wrong in which row and column."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pipeline.errors import DataError

if TYPE_CHECKING:
    import numpy as np

SEPARATORS = ("\t", ";", "|", ",", " ")  # in this order: commas and spaces stand in texts and in numbers, too
LOOKED_AT = 1000  # rows that tell columns of numbers from columns of texts
_CHUNK = 1000  # rows that are texts in memory at once

Row = tuple[int, list[str]]  # line of the file in which it ends, and its cells


@dataclass(frozen=True)
class Table:
    """Cells by column. `digests` are the SHA-256 of each row's features, as they are written."""

    numbers: np.ndarray  # [rows, columns of numbers]
    texts: dict[str, list[str]]
    lines: list[int]
    digests: list[str]


def sniff(path: Path, separator: str | None, header: bool | None) -> tuple[str, list[str], bool]:
    """Return (separator, names of the columns, whether the first row has them). Raises DataError for an empty file.

    Without a header columns are named by their number from 1.
    """
    if separator is None:
        separator = _likely_separator(path)
    row = next(_rows(path, separator), None)
    if row is None:
        raise DataError(f"{path} is empty", received="no row", expected="rows of cells", fix="write the file anew")
    cells = [cell.strip() for cell in row[1]]
    if header is None:
        header = not any(_is_number(cell) for cell in cells)
    names = cells if header else [str(number) for number in range(1, len(cells) + 1)]
    wrong = next((name for number, name in enumerate(names) if not name or name in names[:number]), None)
    if wrong is not None:
        raise DataError(
            f"{path}: line {row[0]}: a column without a name of its own",
            received=repr(wrong),
            expected="a different name for each column",
            fix="name the columns in the first row, or header = false in the settings where it has none",
        )
    return separator, names, header


def read_table(
    path: Path,
    separator: str,
    names: list[str],
    header: bool,
    texts: Callable[[str], bool | None],
    features: list[str],
    dtype: str,
) -> Table:
    """Read all rows. `texts(column)` says whether its cells are texts; None leaves it to the first rows.

    A column is of texts where none of its first cells is a number. `features` are the columns that numbers are
    read of, and digests made of, besides the texts among them. Raises DataError, which names line and column, for
    rows of another length, empty cells, and what is no finite number.
    """
    import numpy as np

    rows = _rows(path, separator)
    if header:
        next(rows)
    start = list(islice(rows, LOOKED_AT))
    for row in start:
        _refuse_other_length(path, row, names)
    place = {name: number for number, name in enumerate(names)}

    def is_text(name: str) -> bool:
        told = texts(name)
        return not any(_is_number(cells[place[name]]) for _, cells in start) if told is None else told

    of_texts = [name for name in names if (name in features or texts(name)) and is_text(name)]
    of_numbers = [name for name in features if name not in of_texts]
    numbers, lines, digests = [], [], []
    found: dict[str, list[str]] = {name: [] for name in of_texts}
    of_row, number_at = _picker([place[name] for name in features]), [(name, place[name]) for name in of_numbers]
    chunk = start
    while chunk:
        for row in chunk:
            _refuse_other_length(path, row, names)
            lines.append(row[0])
            digests.append(hashlib.sha256("\x1f".join(of_row(row[1])).encode()).hexdigest())
        numbers.append(_numbers(path, chunk, number_at).astype(dtype))
        for name in of_texts:
            found[name] += _texts(path, chunk, name, place[name])
        chunk = list(islice(rows, _CHUNK))
    if not lines:
        raise DataError(f"{path} has no rows", received="a header alone", expected="rows behind it", fix="add rows")
    return Table(np.concatenate(numbers), found, lines, digests)


def as_number(path: Path, line: int, column: str, cell: str) -> float:
    """Return a cell's finite number. Raises DataError, which names line and column."""
    number = float(cell) if _is_number(cell) else math.nan
    if not math.isfinite(number):
        empty = "an empty cell" if not cell.strip() else "no finite number" if _is_number(cell) else "no number"
        raise DataError(
            f"{path}: line {line}, column {column!r}: {empty}",
            received=repr(cell),
            expected="a finite number, with a point for decimals",
            fix="correct the cell or remove the row; a column of texts: categorical, one of no use: ignore, in the "
            "settings",
        )
    return number


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield stream
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read: {error}",
            received=str(error),
            expected="a text file in UTF-8 of rows and separated cells",
            fix="store it as UTF-8, or correct the quotes in it",
        ) from error


def _rows(path: Path, separator: str) -> Iterator[Row]:
    with _opened(path) as stream:
        reader = csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)
        for cells in reader:
            if any(cells):
                yield reader.line_num, cells


def _likely_separator(path: Path) -> str:
    """Return the first separator that cuts the first rows into equally many cells, or the one that cuts most."""
    counts: dict[str, list[int]] = {}
    for separator in SEPARATORS:
        with _opened(path) as stream:
            reader = csv.reader(stream, delimiter=separator, skipinitialspace=True)
            counts[separator] = cells = [len(row) for row in islice(filter(any, reader), 20)]
        if cells and cells[0] > 1 and len(set(cells)) == 1:
            return separator
    del counts[" "]  # a text has as many as it likes
    return max(counts, key=lambda separator: (sum(counts[separator]), separator == ","))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(path: Path, chunk: list[Row], columns: list[tuple[str, int]]) -> np.ndarray:
    import numpy as np

    of_row = _picker([place for _, place in columns])
    try:
        values = np.array([list(map(float, of_row(cells))) for _, cells in chunk], np.float64)
        usable = bool(np.isfinite(values).all())
    except ValueError:
        usable = False
    if not usable:  # read again, slowly, for the place
        values = np.array([[as_number(path, line, name, cells[at]) for name, at in columns] for line, cells in chunk])
    return values.reshape(len(chunk), len(columns))


def _picker(places: list[int]) -> Callable[[list[str]], Sequence[str]]:
    """Return the function that gives a row's cells at `places`."""
    if len(places) < 2:
        return lambda cells: [cells[place] for place in places]
    return itemgetter(*places)


def _texts(path: Path, chunk: list[Row], name: str, place: int) -> list[str]:
    found = [cells[place].strip() for _, cells in chunk]
    for (line, _), cell in zip(chunk, found, strict=True):
        if not cell or cell.casefold() in ("nan", "null"):
            raise DataError(
                f"{path}: line {line}, column {name!r}: an empty cell",
                received=repr(cell),
                expected="a text",
                fix="fill the cell, remove the row, or ignore the column in the settings",
            )
    return found


def _refuse_other_length(path: Path, row: Row, names: list[str]) -> None:
    line, cells = row
    if len(cells) != len(names):
        short = len(cells) < len(names)
        at = f"column {names[len(cells)]!r} is missing" if short else f"a cell behind the last column {names[-1]!r}"
        raise DataError(
            f"{path}: line {line}: {at}",
            received=f"{len(cells)} cells",
            expected=f"{len(names)} cells, as in the first row",
            fix="correct the row; where the separator was taken wrongly, separator in the settings says it",
        )
