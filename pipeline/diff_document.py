"""What `invoke diff --json` prints."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.comparison.choice import McNemar
from pipeline.documents import Document
from pipeline.verdict import Verdict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BuildSide(_Part):
    """One of the two builds."""

    path: str = Field(description="Its build.json.")
    target: str = Field(description="Name of the target.")
    workload: str = Field(description="Name of the workload.")
    seed: int = Field(description="Seed of the build.")
    sha256: str = Field(description="SHA-256 of the built file.")
    device: str = Field(description="Name of the device that measured, and its runner.")
    verdict: str = Field(description="The verdict over all budgets that bind.")


class MetricChange(_Part):
    """One number of both builds."""

    metric: str = Field(description="Name of the metric, with its unit.")
    before: float | None = Field(description="Its earlier value; null where it was not measured.")
    after: float | None = Field(description="Its later value; null where it was not measured.")
    before_interval: tuple[float, float] | None = Field(description="95% interval; null where exact or unknown.")
    after_interval: tuple[float, float] | None = Field(description="95% interval; null where exact or unknown.")
    outcome: Literal["worse", "better", "no difference shown", "not applicable"] = Field(
        description="worse or better: beyond both intervals; not applicable: nothing can be said."
    )
    note: str = Field("", description="Why nothing can be said, or by what it was judged.")


class FieldChange(_Part):
    """One field that differs."""

    field: str = Field(description="Dotted name of the field.")
    before: Any = Field(description="Its earlier value; null where it is missing.")
    after: Any = Field(description="Its later value; null where it is missing.")


class StageChange(_Part):
    """One stage of either build."""

    name: str = Field(description="The stage's name.")
    state: Literal["same", "changed", "follows a change", "only before", "only after", "unknown"] = Field(
        description="same: equal key; follows a change: only what it is made from differs; unknown: no record left."
    )
    parameters: list[FieldChange] = Field(description="Parameters and seed that differ; null: the step's own default.")
    inputs: list[str] = Field(description="What else of its key differs: source files, data files, libraries.")
    note: str = Field("", description="Why the parameters cannot be compared.")


class OperatorChange(_Part):
    """How often an operator with these number formats stands in each file."""

    operator: str = Field(description="Builtin name, and its number formats.")
    before: int = Field(description="Count in the earlier file.")
    after: int = Field(description="Count in the later file.")


class AnswerChange(_Part):
    """One test sample that the two files answer differently."""

    index: int = Field(description="Index into the test split.")
    label: str | None = Field(description="The true class; null where it cannot be had.")
    before: str = Field(description="What the earlier file answers.")
    after: str = Field(description="What the later file answers.")


class Answers(_Part):
    """The two files' answers to the test split."""

    samples: int = Field(description="Samples of the split.")
    changed: int = Field(description="Samples that are answered differently.")
    lost: int | None = Field(description="Right before, wrong after; null without labels.")
    gained: int | None = Field(description="Wrong before, right after; null without labels.")
    mcnemar: McNemar | None = Field(description="McNemar's exact test, the earlier file the reference; or null.")
    shown: list[AnswerChange] = Field(description="All that changed, by index.")
    note: str = Field("", description="Why the true classes cannot be had.")


class BudgetChange(_Part):
    """One budget of either target."""

    metric: str = Field(description="The budget's key in the target's TOML.")
    before: Verdict | None = Field(description="The earlier verdict; null where there was no such budget.")
    after: Verdict | None = Field(description="The later verdict; null where there is no such budget.")


class DiffDocument(Document):
    """What `invoke diff --json` prints."""

    before: BuildSide = Field(description="The first build that was named.")
    after: BuildSide = Field(description="The second.")
    metrics: list[MetricChange] = Field(description="Every number that either build has.")
    recipe: list[StageChange] = Field(description="The stages of both in order, what is gone at its old place.")
    versions: list[FieldChange] = Field(description="Libraries, Python and the device's own that differ.")
    operators: list[OperatorChange] = Field(description="Operators whose counts differ.")
    file: list[FieldChange] = Field(description="Parameters, multiply-accumulates and zeros, where they differ.")
    answers: Answers | None = Field(description="Which test samples changed class; null where it cannot be had.")
    budgets: list[BudgetChange] = Field(description="Every budget of either.")
    missing: dict[str, str] = Field(description="Parts that cannot be had, by field name, and why.")
