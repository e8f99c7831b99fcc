"""Folders of classes: one subfolder a class, or folders of splits with class folders in them."""

from __future__ import annotations

from pathlib import Path

_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "validation"
)


def class_folders(path: Path) -> dict[str, list[Path]]:
    """Return {split: class folders}; all in "train" where there are no folders of splits. Raises OSError."""
    inside = _folders(path)
    if inside and all(folder.name.casefold() in _SPLITS for folder in inside):
        found: dict[str, list[Path]] = {}
        for folder in inside:
            found.setdefault(_SPLITS[folder.name.casefold()], []).extend(_folders(folder))
        if any(found.values()):
            return found
    return {"train": inside}


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] not in "._")
