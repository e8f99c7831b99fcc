"""What `invoke track --json` prints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipeline.documents import Document


class TrackedBuild(BaseModel):
    """One build, where it was written to."""

    model_config = ConfigDict(extra="forbid")

    target: str = Field(description="Name of the target.")
    workload: str = Field(description="Name of the workload.")
    sha256: str = Field(description="SHA-256 of the built file.")
    tool: str = Field(description="tensorboard or mlflow.")
    place: str = Field(description="The folder of the run, or the address of its page; without credentials.")
    updated: bool = Field(description="True where the build had been tracked there before.")


class TrackDocument(Document):
    """What `invoke track --json` prints."""

    tracked: list[TrackedBuild] = Field(description="One for each build and tool, in the order of writing.")
