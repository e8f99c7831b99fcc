"""How sure a score is, given the samples that it was computed from.

Shares of right answers have Wilson's interval (Wilson 1927, doi:10.1080/01621459.1927.10502953). Every other score has
the standard error of a bootstrap over samples, to either side as far as the normal distribution says (Efron and
Tibshirani 1993, An Introduction to the Bootstrap, chapters 6 and 13).
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
    each sample has one answer. The seed is fixed: equal evidence gives equal intervals. A score that is the same in all
    resamples, as that of a flawless file, has none: these samples do not tell how sure it is.
    """
    import numpy as np

    random, samples = np.random.default_rng(0), len(labels)
    size, found = min(samples, SAMPLES_MAX), score(evidence, labels)
    rows = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, samples, size)
        rows.append(list(score(evidence[drawn], labels[drawn]).values()))
    errors = np.std(rows, axis=0, ddof=1) * math.sqrt(size / samples)
    spans = {}
    for (name, value), error in zip(found.items(), errors, strict=True):
        if error > 0:
            reach, most = float(error) * TWO_SIDED, 1.0 if METRICS[name].higher_is_better else math.inf
            spans[name] = (max(0.0, value - reach), min(most, value + reach))
    return spans if correct is None else spans | {"accuracy": wilson_interval(correct, samples)}
