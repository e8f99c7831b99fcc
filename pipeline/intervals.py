"""How sure a measured number is: bootstrap intervals over blocks of rounds.

Invocations of one round resemble each other, and so do rounds of one process, so neither counts as
an independent sample. The interval comes from a two-level bootstrap: blocks are drawn with
replacement, then rounds within each, model and baseline together. With k blocks such a bootstrap is
too narrow, by √((k−1)/k) and by taking the normal distribution for Student's; the interval is widened
by both (Hesterberg 2015, doi:10.1080/00031305.2015.1089789), on a logarithmic scale as befits times
and ratios.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np

PERCENTILES = (0.5, 0.9, 0.99)
CONFIDENCE = 0.95
RESAMPLES = 1000
GRID = 2000  # values at which distributions are compared; exact with no more samples than this
NORMAL_QUANTILE = 1.959964  # 97.5%


class Interval(BaseModel):
    """A number and between what it lies."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float = Field(description="Best estimate.")
    low: float = Field(description="Lower end of the interval.")
    high: float = Field(description="Upper end of the interval.")


class Percentiles(NamedTuple):
    """The `PERCENTILES` of some times, in nanoseconds."""

    values: np.ndarray  # float64 [3], over all samples
    resampled: np.ndarray  # float64 [3, RESAMPLES]


def bootstrap_percentiles(blocks: Sequence[np.ndarray]) -> Percentiles:
    """Return the percentiles of all samples pooled, and those of each resample.

    blocks: times int64 [rounds, invocations], the same number of rounds in each. The seed is
    fixed, so two models with equal blocks and rounds are resampled alike, which pairs them.
    """
    import numpy as np

    rounds = [np.sort(times) for block in blocks for times in block]
    pooled = np.sort(np.concatenate(rounds))
    # Sorting each resample would take a minute. Each round's distribution, counted at common
    # values, is enough: a resample's distribution is a weighted sum of them.
    grid = pooled[np.linspace(0, len(pooled) - 1, min(GRID, len(pooled))).round().astype(int)]
    counts = np.array([np.searchsorted(times, grid, side="right") for times in rounds], np.float64)
    cumulated = round_weights(len(blocks), len(blocks[0])) @ counts
    values = np.quantile(pooled, PERCENTILES, method="inverted_cdf")
    resampled = [grid[(cumulated >= share * cumulated[:, -1:]).argmax(axis=1)] for share in PERCENTILES]
    return Percentiles(*(np.maximum(part, 1.0) for part in (values, resampled)))  # a coarse clock may say 0


def round_weights(blocks: int, rounds: int) -> np.ndarray:
    """Return how often each round is drawn in each resample, float64 [RESAMPLES, blocks × rounds].

    Drawing `rounds` rounds with replacement for each of the n times that a block is drawn is one
    multinomial draw of n × rounds.
    """
    import numpy as np

    random = np.random.default_rng(0)
    drawn = random.multinomial(blocks, [1 / blocks] * blocks, size=RESAMPLES)
    weights = random.multinomial(drawn * rounds, [1 / rounds] * rounds)
    return weights.reshape(RESAMPLES, blocks * rounds).astype(np.float64)


def interval(value: float, resampled: np.ndarray, blocks: int) -> Interval:
    """Return the value with its widened bootstrap interval; 2 `blocks` or more, all numbers positive."""
    low, high, widened = _quantiles(resampled, blocks)
    return Interval(
        value=value,
        low=value * min(1.0, low / value) ** widened,
        high=value * max(1.0, high / value) ** widened,
    )


def difference_interval(value: float, resampled: np.ndarray, blocks: int) -> Interval:
    """Return a difference of times, which may be negative, with its bootstrap interval, widened as `interval` does."""
    low, high, widened = _quantiles(resampled, blocks)
    return Interval(
        value=value,
        low=value + min(0.0, low - value) * widened,
        high=value + max(0.0, high - value) * widened,
    )


def _quantiles(resampled: np.ndarray, blocks: int) -> tuple[float, float, float]:
    """Return the lower and the upper quantile of the resamples, and by how much their distances are widened."""
    import numpy as np

    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    widened = student_quantile(blocks, CONFIDENCE) / NORMAL_QUANTILE * math.sqrt(blocks / (blocks - 1))
    return float(low), float(high), widened


@functools.cache
def student_quantile(count: int, confidence: float) -> float:
    """Return how many standard errors of a mean of so many values its interval reaches to either side."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 0.5 + confidence / 2))


def median_and_range(values: Sequence[float]) -> Interval:
    """Return the median with the smallest and largest value, which hold the true median of 5 at 94%."""
    return Interval(value=sorted(values)[len(values) // 2], low=min(values), high=max(values))
