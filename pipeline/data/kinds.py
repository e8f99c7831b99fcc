"""Kinds of data: which reader takes what lies at a path. A reader is a file of this folder; see `source.py`."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from pipeline.data.source import DataSource
from pipeline.errors import DataError

# In the order in which they are asked: what is told by its files' names goes before what is told by folders of classes.
KINDS = {
    "npz": "npz",
    "csv": "csv_file",  # the standard library has a module of that name
    "idx": "idx",
    "tfds": "tfds",
    "audio_folder": "audio_folder",
    "image_folder": "image_folder",
}


def readers() -> dict[str, ModuleType]:
    """Return {kind: module} of the readers that there are, in the order in which they are asked."""
    folder = Path(__file__).parent
    return {
        kind: importlib.import_module(f"{__package__}.{module}")
        for kind, module in KINDS.items()
        if (folder / f"{module}.py").is_file()
    }


def kind_of(path: Path) -> str:
    """Return the kind of the data at `path`. Raises DataError, which says what was found and what is accepted."""
    known = readers()
    accepted = "; ".join(f"{kind}: {module.DESCRIPTION}" for kind, module in known.items())
    if not path.exists():
        raise DataError(
            f"there is no data at {path}", received="no such file or folder", expected=accepted, fix="correct the path"
        )
    try:
        for kind, module in known.items():
            if module.takes(path):
                return kind
        found = _found(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}",
            received=str(error),
            expected="data that can be read",
            fix="look at the permissions of the folder and what lies in it, and at links that lead to themselves",
        ) from error
    raise DataError(
        f"{path} is no kind of data that is known",
        received=found,
        expected=accepted,
        fix="give the folder or file itself, not the one above or below it",
    )


def open_any(path: Path, kind: str = "") -> DataSource:
    """Open the data at `path` with the reader that takes it, or that of `kind`. Raises DataError."""
    source: DataSource = readers()[kind or kind_of(path)].open_data(path)
    return source


def _found(path: Path) -> str:
    if not path.is_dir():
        return f"a file with the ending {path.suffix!r}"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    return f"a folder with {', '.join(names[:8]) or 'nothing in it'}" + (", …" if len(names) > 8 else "")
