"""Each sample is of one of several classes: a logit for each, softmax cross-entropy, the highest answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.learning_task import label_names_expected

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "one of several classes; labels are integers [n]"
METRICS = ("accuracy", "f1")
HAS_CLASSES = True
AGREEMENT_MIN = 0.995


def labels_expected(labels: np.ndarray, names: tuple[str, ...], split: str) -> str:
    return label_names_expected(names, labels)


def output_shape(names: tuple[str, ...], input_shape: tuple[int, ...]) -> tuple[int, ...]:
    return (len(names),)


def learning(keras: Any) -> dict[str, Any]:
    return {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "metrics": ["accuracy"]}


def targets(prepared: Any, labels: Any) -> Any:
    return labels


def evidence(outputs: np.ndarray, prepared: np.ndarray) -> np.ndarray:
    return outputs


def answers(evidence: np.ndarray, threshold: float) -> np.ndarray:
    return evidence.argmax(axis=1)


def scores(evidence: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    import numpy as np

    from pipeline.scores import mean_f1

    answered, classes = answers(evidence, threshold), np.arange(evidence.shape[1])
    return {
        "accuracy": int((answered == labels).sum()) / len(labels),
        "f1": mean_f1(answered[:, None] == classes, labels[:, None] == classes),
    }


def agreement(outputs: np.ndarray, reference: np.ndarray, threshold: float) -> float:
    """Return the share of samples of which both say the same class."""
    return float((outputs.argmax(axis=1) == reference.argmax(axis=1)).mean())


def apart(ours: np.ndarray, theirs: np.ndarray, threshold: float, step: float, operators: int) -> np.ndarray:
    """A tie in ours may fall either way, however far the device has moved each of the two classes."""
    import numpy as np

    one, other = ours.argmax(axis=1), theirs.argmax(axis=1)
    at = np.flatnonzero(one != other)
    return np.abs(ours[at, one[at]] - ours[at, other[at]]).astype(np.float64) / step


def probabilities(evidence: np.ndarray) -> np.ndarray:
    from pipeline.scores import softmax

    return softmax(evidence)


def shown(evidence: np.ndarray, names: tuple[str, ...], threshold: float) -> list[tuple[str, float | None]]:
    """Return each sample's class with its softmax."""
    return [(names[int(row.argmax())], float(row.max())) for row in probabilities(evidence)]
