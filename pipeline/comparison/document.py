"""What `invoke compare --json` prints and `compare.json` holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.benchmark import Latency
from pipeline.comparison.choice import McNemar
from pipeline.intervals import Interval
from pipeline.runner import Figure
from pipeline.verdict import Verdict


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Accuracy(Strict):
    """How many samples of a split a file classifies correctly."""

    accuracy: float = Field(description="Share of correct samples, 0 to 1.")
    correct: int = Field(description="Correct samples.")
    samples: int = Field(description="Samples of the split.")
    interval: tuple[float, float] = Field(description="95% interval (Wilson).")


class ColdStart(Strict):
    """The first answer of a fresh process, and the pace under load."""

    first_answer_ms: Interval = Field(
        description="From the file on disk to the first output, interpreter already imported: median, smallest and "
        "largest of five processes, in milliseconds."
    )
    sustained_seconds: float = Field(
        description="Seconds that the timed invocations took in sum; warm-ups come between the rounds."
    )
    sustained_p50_us: tuple[float, float] = Field(
        description="Median latency in the first and in the last quarter of the sustained run, in microseconds."
    )


class CandidateRow(Strict):
    """One candidate, every number measured on its file."""

    name: str = Field(description="Name of the technique.")
    description: str = Field(description="One line.")
    recipe: list[dict[str, Any]] = Field(description="The whole recipe, ready for a target's TOML.")
    stages: dict[str, str] = Field(description="Key of every stage.")
    file: str = Field(description="Path of the file, relative to the project.")
    sha256: str = Field(description="SHA-256 of the file.")
    fits_target: bool = Field(description="Whether it takes and gives the number formats that the target asks for.")
    size_bytes: int = Field(description="Size of the file.")
    deflated_bytes: int = Field(description="Size of the file after zlib at level 9.")
    weight_bytes: int = Field(description="Bytes of the weights as stored.")
    parameters: int = Field(description="Elements of all weights.")
    multiply_accumulates: int = Field(description="Multiply-accumulates of one invocation.")
    operators: dict[str, int] = Field(description="Number of operators of each name.")
    dtypes: list[str] = Field(description="Number formats in which the operators compute.")
    weight_dtypes: list[str] = Field(description="Number formats in which the kernels are stored.")
    zero_fraction: float = Field(description="Share of the kernels' weights that are zero, in the file.")
    distinct_values_per_channel: int | None = Field(
        description="Distinct stored values in the output channel that has most, over all kernels; null without one."
    )
    validation: Accuracy = Field(description="On the validation split, which chooses.")
    test: Accuracy = Field(description="On the test split, which is reported and chooses nothing.")
    mcnemar: McNemar = Field(description="Against the float32 file, on the validation split.")
    latency: Latency = Field(
        description="Latency, all candidates interleaved in the same processes; of the evaluating runner where the "
        "target's device gives no times."
    )
    speedup: Interval | None = Field(description="The float32 file's median latency over this one's.")
    memory_bytes: Interval | None = Field(description="Growth of the process's peak resident size.")
    figures: dict[str, Figure] = Field({}, description="What the target's device tells of the file besides times.")
    verdicts: list[Verdict] = Field(description="The target's budgets, accuracy judged on the validation split.")
    verdict: Literal["pass", "fail", "inconclusive"] = Field(description="Over all budgets that bind.")
    accuracy_sure: bool = Field(
        False, description="Whether the accuracy budgets hold on validation with 95% confidence, one-sided."
    )
    on_front: bool = Field(False, description="No other candidate is as small, as fast and as accurate.")
    not_chosen: str = Field("", description="Why it cannot be the choice; empty if it could.")
    against: str | None = Field(None, description="The technique that the reasons hold it against.")
    gained: bool = Field(True, description="Whether it is smaller or faster than what it is held against.")
    reasons: list[str] = Field([], description="What it gained and why, computed from both files' facts.")
    seconds: float = Field(description="Seconds that its stages took when they were made, shared ones included.")
    corrupted: dict[str, list[float]] | None = Field(
        None, description="By corruption: accuracy on test images at severities 1 to 5; null without --scenarios."
    )
    cold_start: ColdStart | None = Field(None, description="Null without --scenarios, or where no time is measured.")


class Exclusion(Strict):
    """A candidate that could not be made."""

    name: str = Field(description="Name of the technique.")
    code: str = Field(description="The error's short name.")
    message: str = Field(description="What went wrong.")
    received: str = Field(description="What was received.")
    expected: str = Field(description="What was expected.")
    fix: str = Field(description="How to mend it.")
