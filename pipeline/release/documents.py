"""What the tasks of releases print with `--json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.documents import Document
from pipeline.release.manifest import ReleaseManifest


class ReleaseDocument(Document):
    """What `invoke release --json` prints."""

    folder: str = Field(description="The release's folder, relative to the project.")
    to: str | None = Field(description="Where it was published, without secrets; null where it was not.")
    state: Literal["published", "was published before", "not published"] = Field(description="What was done there.")
    sha256sums: str = Field(description="SHA-256 of SHA256SUMS: equal for releases of equal bytes.")
    manifest: ReleaseManifest = Field(description="The release's manifest.json.")
