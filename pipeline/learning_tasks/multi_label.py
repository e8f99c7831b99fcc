"""Several labels may hold of a sample: a logit for each, and the threshold of each one's probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.learning_tasks.binary import agreement, answers, learning  # noqa: F401  (each label is a yes or no)
from pipeline.scores import logit_of

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "any of several labels; labels are 0 and 1 [n, labels]"
METRICS = ("f1", "accuracy", "auc")
HAS_CLASSES = False
AGREEMENT_MIN = 0.995


def labels_expected(labels: np.ndarray, names: tuple[str, ...], split: str) -> str:
    import numpy as np

    if labels.ndim == 2 and labels.shape[1] == len(names) and np.isin(labels, (0, 1)).all():
        return ""
    return f"0 or 1 for each of the {len(names)} LABELS of each sample: [samples, {len(names)}]"


def output_shape(names: tuple[str, ...], input_shape: tuple[int, ...]) -> tuple[int, ...]:
    return (len(names),)


def targets(prepared: Any, labels: Any) -> Any:
    return labels


def evidence(outputs: np.ndarray, prepared: np.ndarray) -> np.ndarray:
    return outputs


def scores(evidence: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    """Return F1 and AUC averaged over the labels, and the share of all single answers that is right."""
    from pipeline.scores import area_under_curve, mean_f1

    answered = answers(evidence, threshold)
    areas = [area_under_curve(evidence[:, label], labels[:, label]) for label in range(labels.shape[1])]
    return {
        "f1": mean_f1(answered == 1, labels == 1),
        "accuracy": float((answered == labels).mean()),
        "auc": float(sum(areas) / len(areas)),
    }


def apart(ours: np.ndarray, theirs: np.ndarray, threshold: float, step: float, operators: int) -> np.ndarray:
    """Of a sample's labels that differ, the one that lies furthest from the threshold counts."""
    import numpy as np

    differ = answers(ours, threshold) != answers(theirs, threshold)
    distances = np.where(differ, np.abs(ours - logit_of(threshold)), 0.0).astype(np.float64).max(axis=1)
    return distances[differ.any(axis=1)] / step


def probabilities(evidence: np.ndarray) -> np.ndarray:
    from pipeline.scores import sigmoid

    return sigmoid(evidence)


def shown(evidence: np.ndarray, names: tuple[str, ...], threshold: float) -> list[tuple[str, float | None]]:
    """Return each sample's labels, with the probability that all of them are right were they independent."""
    import numpy as np

    answered, held = answers(evidence, threshold), probabilities(evidence)
    sure = np.where(answered == 1, held, 1 - held).prod(axis=1)
    texts = ["+".join(name for name, on in zip(names, row, strict=True) if on) or "none" for row in answered]
    return [(text, float(p)) for text, p in zip(texts, sure, strict=True)]
