"""A model repository as the Hugging Face Hub shows it, in a folder that its owner pushes with git.

The layout is that of any folder of releases (`_layout.py`), and besides: README.md, the newest release's model
card, which the Hub shows as the repository's page (https://huggingface.co/docs/hub/model-cards); .gitattributes,
by which Git LFS takes the model files (https://huggingface.co/docs/hub/repositories-getting-started); and .gitignore
for what only publishers need. The URL is `hf-layout://PATH` or `hf-layout:PATH`.
"""

from __future__ import annotations

from pipeline.release.destination import Destination, Patience
from pipeline.release.destinations._folder import WORKING, FolderObjects
from pipeline.release.destinations._layout import Releases
from pipeline.release.destinations.fsspec_url import folder_of
from pipeline.release.manifest import CARD

SCHEMES = ("hf-layout",)
EXTRA = ""
COMPANIONS: dict[str, str | bytes] = {
    "README.md": CARD,
    ".gitattributes": b"*.tflite filter=lfs diff=lfs merge=lfs -text\n* -text\n",
    ".gitignore": f"/{WORKING}/\n".encode(),
}


def open_destination(url: str, patience: Patience) -> Destination:
    """Return the releases in a folder with the layout of a model repository."""
    path = url.partition(":")[2]
    return Releases(FolderObjects(folder_of(path.removeprefix("//")), patience), COMPANIONS)
