"""What `invoke ci --json` prints, and its reports are written from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.documents import Document
from pipeline.regression import Change
from pipeline.verdict import Verdict


class CiError(BaseModel):
    """Why a target could not be built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(description="As in the document of errors; defect for an error of the pipeline itself.")
    message: str = Field(description="What went wrong.")
    received: str = Field("", description="What was received.")
    expected: str = Field("", description="What was expected.")
    fix: str = Field("", description="How to mend it.")


class CiTarget(BaseModel):
    """One target: its verdicts, or why there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = Field(description="Name of the target.")
    workload: str = Field(description="Name of the workload.")
    outcome: Literal["pass", "fail", "inconclusive", "error"] = Field(
        description="The verdict over all budgets that bind; error where it could not be built."
    )
    exit_code: int = Field(description="What `invoke build` exits with for this target alone.")
    seconds: float = Field(ge=0, description="Seconds that the build took, stages from the store included.")
    sha256: str = Field("", description="SHA-256 of the built file; empty where it could not be built.")
    verdicts: list[Verdict] = Field([], description="One for each budget of the target.")
    changes: list[Change] = Field([], description="Against the earlier build that --against has.")
    compared: str = Field("", description="Which earlier build it was compared with; empty where with none.")
    not_compared: str = Field("", description="Why it was compared with none.")
    error: CiError | None = Field(None, description="Why it could not be built; null where it was.")


class CiDocument(Document):
    """What `invoke ci --json` prints."""

    targets: list[CiTarget] = Field(description="One for each target, in the order that was asked for.")
    outcome: Literal["pass", "fail", "inconclusive", "error"] = Field(description="The worst of the targets.")
