"""The document of `invoke doctor --json`, which is written without pydantic; this is its published form."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.doctor.examine import SCHEMA_VERSION
from pipeline.documents import Document


class FindingRecord(BaseModel):
    """One thing that the doctor looked at."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="What was looked at.")
    needed: bool = Field(description="Whether `invoke build --target=mobile` needs it.")
    state: Literal["ok", "warning", "missing", "failed", "left out"] = Field(
        description="missing: only some tasks need it; failed: the main job will not work; left out: by --quick."
    )
    found: str = Field(description="What was found, in words.")
    fix: str = Field(description="The command that mends it; empty where nothing is to be mended.")


class DoctorDocument(Document):
    """What `invoke doctor` prints with `--json`."""

    schema_version: int = Field(SCHEMA_VERSION, description="Raised when a reader of the older form would break.")
    main_job: bool = Field(description="Whether `invoke build --target=mobile` will work; the exit code is 4 if not.")
    findings: list[FindingRecord] = Field(description="What the main job needs first, then what other tasks do.")
