"""What two files answer on the test split: how often each class was taken for each, and where they differ.

The answers are those that the evaluation kept; nothing is run here, and nothing is chosen by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.anatomy.document import Confusion, Disagreement, Disagreements

if TYPE_CHECKING:
    import numpy as np

CLASSES_MAX = 100  # of a matrix that can still be read
SHOWN_MAX = 60


def confusion(names: Sequence[str], truth: np.ndarray, before: np.ndarray, now: np.ndarray) -> Confusion:
    """Return the counts of the float32 file (`before`) and of the one that ships (`now`): integers [n] each."""
    return Confusion(
        labels=list(names),
        float_counts=_counts(len(names), truth, before),
        file_counts=_counts(len(names), truth, now),
    )


def disagreements(
    names: Sequence[str],
    truth: np.ndarray,
    before: np.ndarray,
    now: np.ndarray,
    pictures: Callable[[list[int]], list[str]],
) -> Disagreements:
    """Return where the float32 file (`before`) and the one that ships (`now`) differ, integers [n] each.

    pictures: of samples by their indices, as data URIs.
    """
    import numpy as np

    right, wrong = (before == truth), (now != truth)
    lost = np.flatnonzero(right & wrong)
    gained = np.flatnonzero(~right & ~wrong)
    other = np.flatnonzero(~right & wrong & (before != now))
    shown = [int(index) for index in np.concatenate([lost, gained, other])[:SHOWN_MAX]]
    return Disagreements(
        samples=len(truth),
        lost=len(lost),
        gained=len(gained),
        both_wrong=len(other),
        shown=[
            Disagreement(
                index=index,
                label=names[int(truth[index])],
                float_answer=names[int(before[index])],
                file_answer=names[int(now[index])],
                picture=picture,
            )
            for index, picture in zip(shown, pictures(shown), strict=True)
        ],
    )


def _counts(classes: int, truth: np.ndarray, answers: np.ndarray) -> list[list[int]]:
    import numpy as np

    places = truth.astype(np.int64) * classes + answers.astype(np.int64)
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes).tolist()
