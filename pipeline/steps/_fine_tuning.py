"""The fields of a step that trains a model further."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.workload import Training


class FineTuning(BaseModel):
    """How the model is trained further; a step may have other defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(2, gt=0, le=10_000, description="Epochs of fine-tuning.")
    batch_size: int = Field(128, gt=0, le=65_536, description="Samples a step.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Adam's highest learning rate.")
    learning_rate_schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="Constant, or cosine decay to zero over the whole run."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of order and augmentation.")

    def training(self) -> Training:
        """Return these as the settings that `_fit.fit` takes."""
        return Training(**self.model_dump(include=set(Training.model_fields)))
