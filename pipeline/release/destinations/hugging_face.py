"""A folder laid out as a Hugging Face model repository, for a user to push: the card as README.md, LFS for models.

https://huggingface.co/docs/hub/model-cards and https://huggingface.co/docs/hub/repositories-getting-started. The
releases lie in it as in any folder, so that it can be fetched from and verified before and after it is pushed.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import ReleaseRefused
from pipeline.release.destination import Destination, Patience
from pipeline.release.destinations._folder_objects import FolderObjects
from pipeline.release.destinations._layout import Releases
from pipeline.release.manifest import CARD

SCHEMES = ("hf-layout",)
EXTRA = ""
ATTRIBUTES = b"*.tflite filter=lfs diff=lfs merge=lfs -text\n"


def open_destination(url: str, patience: Patience = Patience()) -> Destination:  # noqa: B008 (it is frozen)
    """Return the folder that `hf-layout://DIR` or `hf-layout:DIR` names. Raises ReleaseRefused where it names none."""
    path = url.partition(":")[2].removeprefix("//")
    if not path or "\0" in path:
        raise ReleaseRefused(
            f"{url} names no folder", received=url, expected="hf-layout://DIR", fix="hf-layout://./model-repository"
        )
    folder = Path(os.path.abspath(Path(path).expanduser()))
    return Releases(FolderObjects(folder, patience), {"README.md": CARD, ".gitattributes": ATTRIBUTES})
