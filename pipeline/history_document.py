"""What `invoke history --json` prints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipeline.documents import Document
from pipeline.history import HistoryLine


class Series(BaseModel):
    """One metric over the measurements of one workload for one target, the oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field(description="Name of the metric, with its unit.")
    values: list[float] = Field(description="Its values; of times and memory those made under the latest conditions.")
    at: list[str] = Field(description="When each was measured, in UTC.")
    left_out: int = Field(description="Values made on another device, by another runner or with other threads.")
    latest: float = Field(description="The last value.")
    previous: float | None = Field(description="The one before it; null where there is none.")
    change: float | None = Field(description="From the previous to the latest as a share of the previous; or null.")
    beyond_intervals: bool | None = Field(
        description="Whether the two differ beyond both 95% intervals; null where one of them has none."
    )


class Trend(BaseModel):
    """What is known of one workload for one target."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: str = Field(description="Name of the workload.")
    target: str = Field(description="Name of the target.")
    series: list[Series] = Field(description="One for each metric that was asked for and measured.")
    lines: list[HistoryLine] = Field(description="The measurements, the oldest first.")


class HistoryDocument(Document):
    """What `invoke history --json` prints."""

    path: str = Field(description="The file that the lines come from.")
    last: int = Field(description="Most measurements that are taken of each workload and target.")
    unreadable: int = Field(description="Lines that cannot be read: cut by a crash, or of another format.")
    unnamed: int = Field(description="Readable lines of files that belong to no target.")
    trends: list[Trend] = Field(description="One for each workload and target, by name.")
