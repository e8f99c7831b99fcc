"""Which candidate is taken, and how sure the numbers are: pure functions over measured rows.

Accuracy is a count of right answers on the validation split: its interval is Wilson's, and two
files that answered the same samples are held against each other by McNemar's exact test
(McNemar 1947, doi:10.1007/BF02295996). The test split is read by none of these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np

    from pipeline.comparison.document import CandidateRow

SIGNIFICANT = 0.05
ONE_SIDED = 1.6449  # the normal distribution's 95% quantile
SAME_SIZE = 0.01  # files whose bytes differ by a smaller share count as equal


class McNemar(BaseModel):
    """Two files on the same samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    only_reference_right: int = Field(description="Samples that the float file alone classifies correctly.")
    only_this_right: int = Field(description="Samples that this file alone classifies correctly.")
    p_value: float = Field(description="Probability of a difference as large, if both were equally good.")

    @property
    def worse(self) -> bool:
        """Whether this file is less accurate, and not by chance."""
        return self.p_value < SIGNIFICANT and self.only_this_right < self.only_reference_right


def mcnemar(reference_right: np.ndarray, right: np.ndarray) -> McNemar:
    """Return the exact two-sided test. Both are bool [samples]: whether the file was right."""
    from scipy.stats import binomtest

    lost = int((reference_right & ~right).sum())
    gained = int((right & ~reference_right).sum())
    p_value = float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
    return McNemar(only_reference_right=lost, only_this_right=gained, p_value=p_value)


def accuracy_is_sure(row: CandidateRow) -> bool:
    """Whether the accuracy budgets hold on validation with 95% confidence, and not only as counted.

    What just passes on one split fails on the next one half of the time, and the candidate that is
    picked for passing more often still. `accuracy_min` is held against the one-sided Wilson bound,
    `accuracy_drop_max` against that of the paired difference (Wald, from McNemar's counts).
    """
    from scipy.stats import binomtest

    limits = {verdict.metric: verdict.limit for verdict in row.verdicts}
    correct, samples = row.validation.correct, row.validation.samples
    lowest = binomtest(correct, samples).proportion_ci(confidence_level=1 - 2 * SIGNIFICANT, method="wilson").low
    lost, won = row.mcnemar.only_reference_right, row.mcnemar.only_this_right
    error = math.sqrt(max(0.0, lost + won - (lost - won) ** 2 / samples))
    most = (lost - won + ONE_SIDED * error) / samples
    return bool(lowest >= limits.get("accuracy_min", 0.0) and most <= limits.get("accuracy_drop_max", 1.0))


def pareto_front(points: Sequence[tuple[float, ...]]) -> list[bool]:
    """Return which points no other one beats. Smaller is better on every axis."""

    def beaten_by(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return other != one and all(theirs <= mine for theirs, mine in zip(other, one, strict=True))

    return [not any(beaten_by(point, other) for other in points) for point in points]


def axes(row: CandidateRow) -> tuple[float, float, float]:
    """Return what the front is made of: bytes, median latency, errors on validation."""
    return row.size_bytes, row.latency.p50_us, 1 - row.validation.accuracy


def why_not(row: CandidateRow, reference: CandidateRow) -> str:
    """Return why this candidate cannot be the choice; nothing when it can."""
    failed = [verdict.metric for verdict in row.verdicts if verdict.verdict == "fail"]
    if not row.fits_target:
        return "it does not take or give the number formats that the target asks for"
    if failed:
        return f"it fails {', '.join(failed)}"
    if row.mcnemar.worse:
        return f"it is less accurate than {reference.name}, and not by chance"
    return ""


def choose(rows: Sequence[CandidateRow]) -> CandidateRow | None:
    """Return the candidate for the target: of those that can be chosen, the smallest.

    Those whose accuracy budgets hold surely go before those where they hold as counted. Among files of
    one size it is the fastest; among those as fast, as their intervals tell, the one that is smallest
    when deflated, as it is for a download; then the one in the first row.
    """
    possible = [row for row in rows if not row.not_chosen]
    left = [row for row in possible if row.accuracy_sure] or possible
    if not left:
        return None
    smallest = min(row.size_bytes for row in left)
    left = [row for row in left if row.size_bytes <= smallest * (1 + SAME_SIZE)]
    fastest = min(left, key=lambda row: row.latency.p50_us)
    left = [row for row in left if row.latency.p50_us_interval[0] <= fastest.latency.p50_us_interval[1]]
    return min(left, key=lambda row: row.deflated_bytes)
