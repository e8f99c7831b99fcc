"""What `invoke data` tells of data of any kind."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class SplitReport(BaseModel):
    """One split."""

    model_config = ConfigDict(extra="forbid")

    samples: int = Field(description="Count of samples.")
    classes: dict[str, int] = Field(description="Samples by class or by label that applies; empty for values.")
    exact_duplicates: int = Field(description="Samples that are equal to an earlier one of the split.")


class DataReport(BaseModel):
    """The data as a reader gives them."""

    path: str = Field(description="The folder or file.")
    kind: str = Field(description="Kind of the data: its reader.")
    task: str = Field(description="The learning task.")
    labels: list[str] = Field(description="Names of the outputs, in their order.")
    input_shape: list[int] = Field(description="One preprocessed sample.")
    input_range: list[float] = Field(description="Lowest and highest preprocessed value.")
    splits: dict[str, SplitReport] = Field(description="train, validation and test.")
    imbalance: float | None = Field(
        description="Samples of the largest class of train by those of the smallest; null without classes."
    )
    leakage: dict[str, int] = Field(description="Samples of the second split that are in the first as well, by pair.")
    mean: list[float] = Field(description="Of train's preprocessed values, by the last axis; empty beyond 16.")
    deviation: list[float] = Field(description="Their standard deviation.")
    contact_sheet: str | None = Field(description="Picture of some samples; null where samples are no pictures.")
    details: dict[str, Any] = Field(description="What the reader tells besides, such as skipped files.")
    warnings: list[str] = Field(description="What is likely to mislead training or evaluation.")
