"""How sure a score is, given the samples that it was computed from.

The accuracy of one answer a sample has Wilson's interval (Wilson 1927, doi:10.1080/01621459.1927.10502953). Any other
score has the standard error of a bootstrap over samples, to either side as far as the normal distribution says
(Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 6 and 13).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.learning_task import METRICS

if TYPE_CHECKING:
    import numpy as np

    Score = Callable[[np.ndarray, np.ndarray], dict[str, float]]

TWO_SIDED = 1.959963984540054  # the normal distribution's 97.5% quantile
RESAMPLES = 200  # enough for a standard error, as the book says in chapter 6.4
SAMPLES_MAX = 10_000  # of more, resamples are this large, and the error is scaled by the root of the ratio


def wilson_interval(correct: int, samples: int) -> tuple[float, float]:
    """Return the 95% interval of a share, 0 to 1."""
    share, squared = correct / samples, TWO_SIDED**2
    centre = (correct + squared / 2) / (samples + squared)
    reach = TWO_SIDED / (samples + squared) * math.sqrt(correct * (1 - share) + squared / 4)
    return (centre - reach if correct else 0.0), (centre + reach if correct < samples else 1.0)


def score_intervals(
    score: Score, evidence: np.ndarray, labels: np.ndarray, correct: int | None = None
) -> dict[str, tuple[float, float]]:
    """Return the 95% interval of each metric that has one.

    score(evidence, labels) -> {metric: value}; evidence and labels: [n, …]. correct: how many answers are right, where
    each sample has one answer. The seed is fixed: equal evidence gives equal intervals. A flawless share varies in no
    resample: its interval is Wilson's. Any other score that does not vary has none: these samples do not tell how sure
    it is. With few positive samples an area is less sure than its interval says.
    """
    import numpy as np

    random, samples = np.random.default_rng(0), len(labels)
    size, found = min(samples, SAMPLES_MAX), score(evidence, labels)
    rows = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, samples, size)
        rows.append(list(score(evidence[drawn], labels[drawn]).values()))
    spans = {}
    for (name, value), resampled in zip(found.items(), np.transpose(rows), strict=True):
        is_share = METRICS[name].higher_is_better
        if is_share and value == 1:
            counted = _fewest(labels) if name == "auc" else samples
            spans[name] = wilson_interval(counted, counted)
        elif np.isfinite(resampled).all() and np.ptp(resampled) > 0:
            reach = float(np.std(resampled, ddof=1)) * math.sqrt(size / samples) * TWO_SIDED
            spans[name] = (max(0.0, value - reach), min(1.0 if is_share else math.inf, value + reach))
    return spans if correct is None else spans | {"accuracy": wilson_interval(correct, samples)}


def _fewest(labels: np.ndarray) -> int:
    """Return how many samples the rarer of 0 and 1 has, of several labels the rarest: [n] or [n, labels]."""
    positives = (labels == 1).sum(axis=0)
    return int(min(positives.min(), (len(labels) - positives).min()))
