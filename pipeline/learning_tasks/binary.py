"""Yes or no: one logit, and a threshold on its probability from which the answer is yes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.learning_task import label_names_expected
from pipeline.scores import logit_of

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "yes or no at a threshold; labels are 0 and 1 [n], LABELS names (no, yes)"
METRICS = ("accuracy", "auc", "f1")
HAS_CLASSES = True
AGREEMENT_MIN = 0.995


def labels_expected(labels: np.ndarray, names: tuple[str, ...], split: str) -> str:
    return "two LABELS, of no and of yes" if len(names) != 2 else label_names_expected(names, labels)


def output_shape(names: tuple[str, ...], input_shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,)


def learning(keras: Any) -> dict[str, Any]:
    return {
        "loss": keras.losses.BinaryCrossentropy(from_logits=True),
        "metrics": [keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
    }


def targets(prepared: Any, labels: Any) -> Any:
    return labels[:, None]


def evidence(outputs: np.ndarray, prepared: np.ndarray) -> np.ndarray:
    return outputs[:, 0]


def answers(evidence: np.ndarray, threshold: float) -> np.ndarray:
    return (evidence >= logit_of(threshold)).astype(int)


def scores(evidence: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    from pipeline.scores import area_under_curve, mean_f1

    answered = answers(evidence, threshold)
    return {
        "accuracy": int((answered == labels).sum()) / len(labels),
        "auc": area_under_curve(evidence, labels),
        "f1": mean_f1(answered[:, None] == 1, labels[:, None] == 1),
    }


def agreement(outputs: np.ndarray, reference: np.ndarray, threshold: float) -> float:
    """Return the share of samples to which both give the same answer at the threshold."""
    return float((answers(outputs, threshold) == answers(reference, threshold)).mean())


def apart(ours: np.ndarray, theirs: np.ndarray, threshold: float, step: float, operators: int) -> np.ndarray:
    import numpy as np

    differ = answers(ours, threshold) != answers(theirs, threshold)
    return np.abs(ours[differ] - logit_of(threshold)).astype(np.float64) / step


def probabilities(evidence: np.ndarray) -> np.ndarray:
    import numpy as np

    from pipeline.scores import sigmoid

    yes = sigmoid(evidence)
    return np.stack([1 - yes, yes], axis=1)


def shown(evidence: np.ndarray, names: tuple[str, ...], threshold: float) -> list[tuple[str, float | None]]:
    """Return each sample's answer with the probability of that answer."""
    answered = answers(evidence, threshold)
    return [(names[a], float(row[a])) for a, row in zip(answered, probabilities(evidence), strict=True)]
