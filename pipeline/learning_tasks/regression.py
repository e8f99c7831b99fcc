"""Values are predicted: mean squared error trains, mean absolute error scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.scores import share_kept, steps_beyond

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "numbers; labels are floats [n, values], LABELS names the values"
METRICS = ("mean_absolute_error",)
HAS_CLASSES = False
AGREEMENT_MIN = 0.99  # of the variance: the file strays from its source by at most a tenth of the spread


def labels_expected(labels: np.ndarray, names: tuple[str, ...], split: str) -> str:
    import numpy as np

    if labels.dtype.kind == "f" and labels.shape[1:] == (len(names),) and np.isfinite(labels).all():
        return ""
    return f"finite floats [samples, {len(names)}] (LABELS has {len(names)})"


def output_shape(names: tuple[str, ...], input_shape: tuple[int, ...]) -> tuple[int, ...]:
    return (len(names),)


def learning(keras: Any) -> dict[str, Any]:
    return {
        "loss": keras.losses.MeanSquaredError(),
        "metrics": [keras.metrics.MeanAbsoluteError(name="mean_absolute_error")],
    }


def targets(prepared: Any, labels: Any) -> Any:
    return labels


def evidence(outputs: np.ndarray, prepared: np.ndarray) -> np.ndarray:
    return outputs


def answers(evidence: np.ndarray, threshold: float) -> np.ndarray:
    return evidence


def scores(evidence: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    return {"mean_absolute_error": float(abs(evidence - labels).mean())}


def agreement(outputs: np.ndarray, reference: np.ndarray, threshold: float) -> float:
    """Return the share of the reference's variance that the outputs keep, 1 where they are equal."""
    return share_kept(outputs, reference)


def apart(ours: np.ndarray, theirs: np.ndarray, threshold: float, step: float, operators: int) -> np.ndarray:
    return steps_beyond(ours, theirs, step, operators)


def probabilities(evidence: np.ndarray) -> None:
    return None


def shown(evidence: np.ndarray, names: tuple[str, ...], threshold: float) -> list[tuple[str, float | None]]:
    """Return each sample's values by name."""
    return [
        (", ".join(f"{name} {value:.4g}" for name, value in zip(names, row, strict=True)), None) for row in evidence
    ]
