"""Which split a sample belongs to: decided by its own content, so that what is added moves nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Shares(BaseModel):
    """Shares of the samples that are held back; the rest is the train split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation: float = Field(0.1, ge=0, lt=1, description="Share of the validation split, 0 to below 1.")
    test: float = Field(0.1, ge=0, lt=1, description="Share of the test split, 0 to below 1.")


def split_of(content_sha256: str, shares: Shares) -> str:
    """Return "train", "validation" or "test" for a sample by the SHA-256 of its content (64 hexadecimal digits)."""
    place = int(content_sha256[:16], 16) / 2**64  # uniform over 0 to 1
    if place < shares.validation:
        return "validation"
    return "test" if place < shares.validation + shares.test else "train"
