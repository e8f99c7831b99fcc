"""What several learning tasks compute: areas, F1, shares; pure functions of arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return float64 [n, classes], each row of sum 1."""
    import numpy as np

    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the probability of each logit, float64 of 0 to 1."""
    from scipy.special import expit

    return expit(logits.astype("float64"))


def logit_of(probability: float) -> float:
    """Return the logit of a probability between 0 and 1, both excluded."""
    return math.log(probability / (1 - probability))


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the area under the ROC curve, 0 to 1, ties counted half: Mann and Whitney's statistic.

    scores: float [n], higher for positives; labels: 0 or 1 [n]. It is 0.5 where one of the two kinds is
    missing: nothing can be ranked.
    """
    from scipy.stats import rankdata

    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return 0.5
    ranks = rankdata(scores)[labels == 1].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def mean_f1(answered: np.ndarray, held: np.ndarray) -> float:
    """Return F1 averaged over labels. answered, held: bool [n, labels]; a label that neither has counts 0."""
    import numpy as np

    right = (answered & held).sum(axis=0)
    asked = answered.sum(axis=0) + held.sum(axis=0)
    return float((2 * right / np.maximum(asked, 1)).mean())


def share_kept(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Return 1 − Σ(outputs − reference)² / Σ(reference − its mean)², the share of variance that is kept.

    The mean is over samples, for each output by itself. Equal outputs give 1, also constant ones.
    """
    import numpy as np

    wide = reference.astype(np.float64)
    error = np.square(outputs - wide).sum()
    spread = np.square(wide - wide.mean(axis=0)).sum()
    return 1.0 if not error else float(1 - error / spread) if spread else 0.0


def steps_beyond(ours: np.ndarray, theirs: np.ndarray, step: float, operators: int) -> np.ndarray:
    """Return the largest difference, in steps, of each sample that rounding does not explain.

    Every operator may add a step of its own, as in `device_check.first_difference`.
    """
    import numpy as np

    steps = np.abs(ours.astype(np.float64) - theirs).reshape(len(ours), -1).max(axis=1) / step
    return steps[steps > operators]
