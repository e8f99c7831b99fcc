"""The fields of a step that quantizes a trained model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.steps._ranges import Method

Dtype = Literal["float32", "int8", "uint8", "int16"]


class Calibrated(BaseModel):
    """How the ranges of activations are found, what the file takes and gives, and when it agrees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration_samples: int = Field(
        500, ge=10, le=100_000, description="Training samples in the representative dataset."
    )
    calibration: Method = Field(
        "minmax",
        description="Range of an activation: min and max, a percentile, or of least squared error.",
    )
    calibration_percentile: float = Field(
        99.99, ge=50, le=100, description="Share of an activation's values, in percent, that the percentile leaves."
    )
    agreement_min: float | None = Field(
        None, ge=0, le=1, description="Share of validation samples on which file and source must agree; none: 0.995."
    )
    input_dtype: Dtype = Field("float32", description="Number format of the file's input; the target's.")
    output_dtype: Dtype = Field("float32", description="Number format of the file's output; the target's.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the draw of the representative dataset.")

    def refuse_other_dtypes(self, scheme: str, allowed: Collection[str]) -> None:
        """Raise ValueError for an input or output that the scheme does not have."""
        for name in ("input_dtype", "output_dtype"):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} {getattr(self, name)!r} does not go with scheme {scheme!r}; "
                    f"expected one of {', '.join(allowed)}"
                )
