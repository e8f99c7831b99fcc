"""What the documents of a release are written from: nothing here depends on when or where that happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.documents import BuildDocument, CompareDocument
from pipeline.release.manifest import ReleasedTarget


class CardText(BaseModel):
    """What only the author can say of a model: the table [card.<workload>] of the project's release.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intended_use: str = Field("", description="What the model is for, and what not.")
    data: str = Field("", description="Where the data come from, and how they were collected.")
    limits: str = Field("", description="Where the model is known or expected to be wrong.")
    license: str = Field("", description="SPDX identifier of the model's license, such as apache-2.0.")
    dataset: str = Field("", description="Name of the dataset, such as mnist.")
    authors: list[str] = Field([], description="Who made it.")


@dataclass(frozen=True)
class ReleaseFacts:
    """A release before its documents are written."""

    version: str
    created: datetime  # UTC: SOURCE_DATE_EPOCH, else the commit's time
    commit: str
    dirty: bool
    repository: str  # URL of the remote without user and password; "" where there is none
    workload: str
    description: str
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]
    training_samples: int
    data: Mapping[str, str]  # SHA-256 of every file that the data come from, by name
    sources: Mapping[str, str]  # SHA-256 of every source file in the stages' keys, by name
    targets: tuple[ReleasedTarget, ...]
    builds: Mapping[str, BuildDocument]  # by target
    recipes: Mapping[str, list[dict[str, Any]]]  # the target's recipe with every parameter, by target
    card: CardText = field(default_factory=CardText)
    comparisons: Mapping[str, CompareDocument] = field(default_factory=dict)  # by target: those of the very file
    previous: str | None = None
    allowed_regression: str = ""
