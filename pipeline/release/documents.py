"""What the tasks of releases print with `--json`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.documents import Document
from pipeline.release.manifest import ReleaseManifest


class ReleaseDocument(Document):
    """What `invoke release --json` prints."""

    folder: str = Field(description="The release's folder, relative to the project.")
    to: str | None = Field(description="Where it was published, without secrets; null where it was not.")
    state: Literal["published", "was published before", "not published"] = Field(description="What was done there.")
    sha256sums: str = Field(description="SHA-256 of SHA256SUMS: equal for releases of equal bytes.")
    manifest: ReleaseManifest = Field(description="The release's manifest.json.")


class FetchDocument(Document):
    """What `invoke fetch --json` prints."""

    source: str = Field(description="Where it was fetched from, without secrets.")
    version: str = Field(description="The version.")
    target: str = Field(description="The target.")
    folder: str = Field(description="Folder that the files are in.")
    model: str = Field(description="Path of the .tflite file.")
    sha256: str = Field(description="Its SHA-256, as the manifest says and as it was verified.")
    files: list[str] = Field(description="Names of the release's files that are there now.")
    fetched: list[str] = Field(description="Those that were not there before.")
    signature: Literal["good", "not checked"] = Field(description="Whether a key vouches for them.")


class Check(BaseModel):
    """One thing that was checked."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="What was checked.")
    detail: str = Field(description="What was found.")


class Remeasured(BaseModel):
    """A target's file, run again."""

    model_config = ConfigDict(extra="forbid")

    target: str = Field(description="The target.")
    metric: str = Field(description="The metric that its workload is scored by.")
    samples: int = Field(description="Samples of the test split.")
    published: dict[str, float] = Field(description="Its metrics as the manifest says.")
    measured: dict[str, float] = Field(description="Its metrics as they were measured now.")
    agrees: bool = Field(description="Whether all of them are equal.")


class VerifyReleaseDocument(Document):
    """What `invoke verify-release --json` prints."""

    source: str = Field(description="Where it lies, without secrets.")
    version: str = Field(description="The version.")
    sha256sums: str = Field(description="SHA-256 of its SHA256SUMS.")
    checks: list[Check] = Field(description="What was checked and held, in order.")
    remeasured: list[Remeasured] = Field(description="One for each target; empty with --quick.")
    verdict: Literal["pass", "fail"] = Field(description="fail: a file no longer scores as was published.")
