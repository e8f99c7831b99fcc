"""Anomalies by reconstruction: an autoencoder learns normal samples; what it cannot repeat is anomalous.

As in MLPerf Tiny's anomaly detection (Banbury et al. 2021, arXiv:2106.07597): the score of a sample is the
mean squared error between input and output, and files are compared by the area under the ROC curve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.learning_task import label_names_expected
from pipeline.scores import share_kept, steps_beyond

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "normal or not, by reconstruction; labels are 0 and 1 [n], the training split has normal samples alone"
METRICS = ("auc",)
HAS_CLASSES = False
AGREEMENT_MIN = 0.99  # of the variance of the reconstructions


def labels_expected(labels: np.ndarray, names: tuple[str, ...], split: str) -> str:
    if len(names) != 2:
        return "two LABELS, of normal and of anomalous samples"
    if split == "train" and labels.any():
        return "normal samples alone in the training split, all labels 0"
    if split != "train" and (labels.all() or not labels.any()):
        return f"both normal (0) and anomalous (1) samples in the {split} split"
    return label_names_expected(names, labels)


def output_shape(names: tuple[str, ...], input_shape: tuple[int, ...]) -> tuple[int, ...]:
    return input_shape


def learning(keras: Any) -> dict[str, Any]:
    return {"loss": keras.losses.MeanSquaredError(), "metrics": []}


def targets(prepared: Any, labels: Any) -> Any:
    return prepared


def evidence(outputs: np.ndarray, prepared: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.square(outputs - prepared, dtype=np.float64).reshape(len(outputs), -1).mean(axis=1)


def answers(evidence: np.ndarray, threshold: float) -> np.ndarray:
    return evidence


def scores(evidence: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    from pipeline.scores import area_under_curve

    return {"auc": area_under_curve(evidence, labels)}


def agreement(outputs: np.ndarray, reference: np.ndarray, threshold: float) -> float:
    """Return the share of the variance of the reference's reconstructions that the outputs keep."""
    return share_kept(outputs, reference)


def apart(ours: np.ndarray, theirs: np.ndarray, threshold: float, step: float, operators: int) -> np.ndarray:
    return steps_beyond(ours, theirs, step, operators)


def probabilities(evidence: np.ndarray) -> None:
    return None


def shown(evidence: np.ndarray, names: tuple[str, ...], threshold: float) -> list[tuple[str, float | None]]:
    """Return each sample's mean squared error: where normal ends is for the device's own data to say."""
    return [(f"error {value:.4g}", None) for value in evidence]
