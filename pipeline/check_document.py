"""The parts of what `invoke check --json` prints."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayerCheck(_Part):
    """One layer of a Keras model. A reason is empty where nothing is in the way."""

    name: str = Field(description="The layer's name.")
    kind: str = Field(description="Its class.")
    parameters: int | None = Field(description="Count of its weights; null where the file does not say.")
    not_pruned: str = Field(description="Why the prune step leaves it dense.")
    not_clustered: str = Field(description="Why the cluster step leaves it as it is.")
    not_quantize_aware: str = Field(description="Why the quantize_aware step refuses the model.")
    not_int8: str = Field(description="Why a full-integer file cannot come of it.")
    operators: list[str] | None = Field(
        description="TFLite operators that it becomes, as far as is known beforehand; null where nothing is."
    )


class SizeEstimates(_Part):
    """Estimates: the weights alone at so many bytes each, without the graph around them."""

    float32_bytes: int = Field(description="Estimate with weights in float32.")
    float16_bytes: int = Field(description="Estimate with weights in float16.")
    int8_bytes: int = Field(description="Estimate with weights in int8.")


class TargetCheck(_Part):
    """Whether a target can be built for, as far as shows beforehand."""

    target: str = Field(description="Name of the target.")
    runner: str = Field(description="Its runner.")
    possible: bool = Field(description="False when there is an obstacle.")
    obstacles: list[str] = Field(description="What makes it impossible.")
    warnings: list[str] = Field(description="What may go wrong, or will be left out.")


class Finding(_Part):
    """What holds for every target."""

    severity: Literal["obstacle", "warning", "note"] = Field(description="An obstacle makes every target impossible.")
    text: str = Field(description="What was found, and where.")
