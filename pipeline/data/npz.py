"""One `.npz` file of numpy arrays, samples and labels by split or in one pair.

Arrays are found by the usual names: samples are `x`, `images`, `samples`, `features` or `data`, labels are `y`,
`labels`, `label`, `targets` or `target`, alone or with `train`, `val`/`valid`/`validation`/`dev` or `test` behind or
before (`x_train`, `train_images`). Other names are said in the settings. `digits.npz.toml`:

    task = "classification"               # left out: told from the labels
    labels = ["zero", "one", "two"]       # names of the outputs, in their order
    scaling = "standard"                  # or unit, signed
    [arrays]
    train = ["pictures", "digits"]        # samples, labels
    test = ["pictures_2", "digits_2"]

A split that is not there is taken out of train by the content of each sample. Arrays of Python objects are pickles,
which can run code: they are refused, and never loaded.
"""

from __future__ import annotations

import re
import tokenize
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.data._arrays import ArrayData, ArraySettings, open_arrays, settings_hash
from pipeline.data.settings import read_settings
from pipeline.errors import DataError
from pipeline.files import sha256_of

if TYPE_CHECKING:
    import numpy as np

    Header = tuple[tuple[int, ...], np.dtype]

DESCRIPTION = "a .npz file of numpy arrays: x and y, or x_train, y_train, x_test, …"

_SAMPLES = ("x", "images", "image", "samples", "features", "data")
_LABELS = ("y", "labels", "label", "targets", "target")
_SPLITS = {"train": "train", "training": "train", "test": "test", "": "train"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "validation"
)

_DAMAGE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)

_Pair = Annotated[tuple[str, str], Field(strict=False)]  # TOML has lists


class Settings(ArraySettings):
    """What `<file>.npz.toml` may say."""

    arrays: dict[Literal["train", "validation", "test"], _Pair] | None = Field(
        None, description="Names of the arrays of samples and labels by split; left out: the usual names."
    )


def takes(path: Path) -> bool:
    """Whether `path` is a file named .npz."""
    return path.suffix.lower() == ".npz" and path.is_file()


def open_data(path: Path) -> ArrayData:
    """Open a .npz file. Raises DataError for what cannot be read or learned from."""
    settings = read_settings(path, Settings)
    headers = _headers(path)
    chosen = settings.arrays or {}
    names = {str(split): pair for split, pair in chosen.items()} or _usual_names(path, headers)
    _refuse_unusable_names(path, names, headers)
    used = {name: headers[name] for pair in names.values() for name in pair}
    for name, (_, dtype) in used.items():
        if dtype.hasobject:
            raise DataError(
                f"{path}: the array {name!r} is a pickle of Python objects, which was not loaded: it could run code",
                received="dtype object",
                expected="an array of numbers, or of texts of one length (dtype U)",
                fix=f"where it was made: np.savez(…, {name}=np.stack({name})) or .astype(…)",
            )

    def read() -> dict[str, np.ndarray]:
        return {split: _array(path, samples) for split, (samples, _) in names.items()}

    return open_arrays(
        path,
        settings,
        labels={split: _array(path, labels) for split, (_, labels) in names.items()},
        headers={split: headers[samples] for split, (samples, _) in names.items()},
        read=read,
        hashes=partial(_hashes, path, settings),
        details={"arrays": {split: list(pair) for split, pair in names.items()}},
    )


def _hashes(path: Path, settings: Settings) -> dict[str, str]:
    return {path.name: sha256_of(path), "settings": settings_hash(settings)}


def _headers(path: Path) -> dict[str, Header]:
    """Return {name: (shape, dtype)} of all arrays, without their values."""
    import numpy as np

    found: dict[str, Header] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with archive.open(member) as stream:
                        version = np.lib.format.read_magic(stream)
                        reader = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
                        shape, _, dtype = getattr(np.lib.format, reader)(stream)
                        found[member.removesuffix(".npy")] = shape, dtype
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    return found


def _array(path: Path, name: str) -> np.ndarray:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    empty = path.is_file() and not path.stat().st_size
    return DataError(
        f"{path} cannot be read: {'it is empty' if empty else error}",
        received="an empty file" if empty else str(error),
        expected="a whole .npz file, as numpy.savez writes it",
        fix="copy or write the file anew",
    )


def _usual_names(path: Path, headers: dict[str, Header]) -> dict[str, tuple[str, str]]:
    """Return {split: (samples, labels)} for arrays with the usual names."""
    found: dict[str, dict[str, list[str]]] = {"samples": {}, "labels": {}}
    words = "|".join(split for split in _SPLITS if split)
    for role, stems in (("samples", _SAMPLES), ("labels", _LABELS)):
        pattern = re.compile(rf"(?:({words})_?)?(?:{'|'.join(stems)})(?:_?({words}))?", re.IGNORECASE)
        for name in headers:
            match = pattern.fullmatch(name)
            if match and not all(match.groups()):
                split = _SPLITS[(match[1] or match[2] or "").lower()]
                found[role].setdefault(split, []).append(name)
    several = [names for role in found.values() for names in role.values() if len(names) > 1]
    if several or "train" not in found["samples"] or found["samples"].keys() != found["labels"].keys():
        raise DataError(
            f"{path}: " + ("several arrays could be meant" if several else "samples and labels were not found by name"),
            received=" or ".join(several[0]) if several else ", ".join(sorted(headers)) or "no array",
            expected="x and y, or x_train and y_train, and perhaps x_val and y_val, x_test and y_test",
            fix=f'[arrays] train = ["<samples>", "<labels>"] in {path.name}.toml',
        )
    return {split: (names[0], found["labels"][split][0]) for split, names in found["samples"].items()}


def _refuse_unusable_names(path: Path, names: dict[str, tuple[str, str]], headers: dict[str, Header]) -> None:
    unknown = [name for pair in names.values() for name in pair if name not in headers]
    if unknown or "train" not in names:
        raise DataError(
            f"{path}: " + (f"there is no array {unknown[0]!r}" if unknown else "arrays names none for train"),
            received=unknown[0] if unknown else ", ".join(names) or "no split",
            expected=f"names of its arrays: {', '.join(sorted(headers)) or 'it has none'}; train is needed",
            fix=f"correct arrays in {path.name}.toml",
        )
