"""A folder of IDX files, as MNIST, Fashion-MNIST, KMNIST and EMNIST come: samples and labels by split.

Files are `<prefix>-images-idx3-ubyte` and `<prefix>-labels-idx1-ubyte`, of any type and rank that IDX has, plain or
with .gz or .xz behind. The prefix `train` (or one that ends with it) is the train split; `t10k` and `test` the test
split; `validation`, `valid`, `val` and `dev` the validation split. `data.toml`:

    prefix = "emnist-letters"   # where a folder holds several sets of files
    first_label = 1             # letters are numbered from 1
    labels = ["a", "b", "c"]    # names of the outputs, in their order
    scaling = "unit"            # or signed, standard

A split that is not there is taken out of train by the content of each sample.
"""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from pydantic import Field

from pipeline.data._arrays import ArrayData, ArraySettings, open_arrays, settings_hash
from pipeline.data._idx_format import idx_header, read_idx
from pipeline.data.settings import read_settings
from pipeline.errors import DataError
from pipeline.files import sha256_of

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "a folder of IDX files as MNIST has them: *-images-idx3-ubyte, *-labels-idx1-ubyte, plain, .gz or .xz"

_NAME = re.compile(
    r"(?:(?P<prefix>.+)[-_.])?(?P<role>images|samples|data|labels)[-_.]idx\d-(?:ubyte|byte|short|int|float|double)"
    r"(?:\.(?:gz|xz))?"
)
_SPLIT = re.compile(
    r"(?P<set>.*?)[-_.]?(?:(?P<train>train(?:ing)?)|(?P<test>t10k|test)|(?P<validation>validation|valid|val|dev))"
)


class Settings(ArraySettings):
    """What `data.toml` in the folder may say."""

    prefix: str | None = Field(None, description="Set of files to read, the beginning of their names, of several.")


def takes(path: Path) -> bool:
    """Whether `path` is a folder with a file that is named as IDX files are."""
    return path.is_dir() and any(_NAME.fullmatch(file.name) for file in path.iterdir())


def open_data(path: Path) -> ArrayData:
    """Open a folder of IDX files. Raises DataError for what cannot be read or learned from."""
    settings = read_settings(path, Settings)
    pairs = _pairs(path, settings)

    def read() -> dict[str, np.ndarray]:
        return {split: _read(samples) for split, (samples, _) in pairs.items()}

    return open_arrays(
        path,
        settings,
        labels={split: _read(labels) for split, (_, labels) in pairs.items()},
        headers={split: _header(samples) for split, (samples, _) in pairs.items()},
        read=read,
        hashes=partial(_hashes, pairs, settings),
        details={"files": {split: [file.name for file in pair] for split, pair in pairs.items()}},
    )


def _hashes(pairs: dict[str, tuple[Path, Path]], settings: Settings) -> dict[str, str]:
    files = {file.name: sha256_of(file) for pair in pairs.values() for file in pair}
    return {**files, "settings": settings_hash(settings)}


def _pairs(path: Path, settings: Settings) -> dict[str, tuple[Path, Path]]:
    """Return {split: (file of samples, file of labels)}, train first."""
    sets: dict[str, dict[str, dict[str, list[Path]]]] = {}
    for file in sorted(path.iterdir()):
        if name := _NAME.fullmatch(file.name):
            prefix = name["prefix"] or ""
            match = _SPLIT.fullmatch(prefix)
            split = next(split for split in ("train", "test", "validation") if match[split]) if match else "train"
            role = "labels" if name["role"] == "labels" else "samples"
            files = sets.setdefault(match["set"] if match else prefix, {}).setdefault(split, {})
            files.setdefault(role, []).append(file)
    known = ", ".join(repr(name) for name in sorted(sets)) or "none"
    if len(sets) != 1 and settings.prefix not in sets:
        raise DataError(
            f"{path}: " + ("several sets of IDX files" if sets else "no IDX files"),
            received=known if settings.prefix is None else f"prefix = {settings.prefix!r}, of {known}",
            expected="one set of <prefix>-images-idx3-ubyte and <prefix>-labels-idx1-ubyte, or its prefix",
            fix='prefix = "…" in data.toml, or a folder for each set',
        )
    chosen = next(iter(sets.values())) if settings.prefix is None else sets.get(settings.prefix)
    if chosen is None:
        raise DataError(
            f"{path}: no IDX files of the prefix",
            received=f"prefix = {settings.prefix!r}",
            expected=known,
            fix="correct prefix in data.toml",
        )
    for split, files in {"train": {}, **chosen}.items():
        wrong = next((role for role in ("samples", "labels") if len(files.get(role, [])) != 1), None)
        if wrong:
            names = [file.name for file in files.get(wrong, [])]
            raise DataError(
                f"{path}: the {split} split needs one file of {wrong}",
                received=" and ".join(names) or f"none among {', '.join(file.name for file in sorted(path.iterdir()))}",
                expected="one file of images and one of labels for each split, and the train split at least",
                fix="add the file that is missing, or take the second one away",
            )
    order = ["train", *sorted(chosen.keys() - {"train"})]
    return {split: (chosen[split]["samples"][0], chosen[split]["labels"][0]) for split in order}


def _open(file: Path) -> IO[bytes]:
    if file.suffix == ".gz":
        return cast(IO[bytes], gzip.open(file, "rb"))
    return lzma.open(file, "rb") if file.suffix == ".xz" else file.open("rb")


def _read(file: Path) -> np.ndarray:
    try:
        with _open(file) as stream:
            return read_idx(stream, str(file))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise _unreadable(file, error) from error


def _header(file: Path) -> tuple[tuple[int, ...], np.dtype]:
    try:
        with _open(file) as stream:
            return idx_header(stream, str(file))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} cannot be read: {error}",
        received=str(error),
        expected="a whole IDX file, compressed as its name says",
        fix="copy the file anew",
    )
