"""The field of a step that begins a recipe with a file of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo


def _in_project(path: Path, info: ValidationInfo) -> Path:
    """Return the absolute path; a relative one starts at the project's root."""
    path = (info.context or {}).get("root", Path()) / path.expanduser()
    if not path.exists():
        raise ValueError(f"there is no {path.absolute()}; expected a file, or the folder of a SavedModel")
    return path.absolute()


GivenFile = Annotated[Path, AfterValidator(_in_project)]
