"""The contract of a learning task: what labels are, how a network learns them, and how it is scored.

A task is a module of `pipeline/learning_tasks/`, named by a workload's TASK. It defines:

    DESCRIPTION: str            one line
    METRICS: tuple[str, ...]    names from METRICS below, the first is what a workload is scored by unless
                                it names another as its METRIC
    HAS_CLASSES: bool           whether each sample is of one class: calibration draws as many of each, and
                                techniques are compared by which samples are right
    AGREEMENT_MIN: float        least agreement of a file with its source, where the recipe sets none
    labels_expected(labels, names, split) -> str   what labels should be; "" where these are
    output_shape(names, input_shape)   what the network gives for one sample
    learning(keras) -> dict     `loss` and `metrics` for the legacy Keras model's compile()
    targets(prepared, labels)   what fit() learns for a batch
    evidence(outputs, prepared) -> [n, …]   what a file's outputs say of each sample, all that scores need
    answers(evidence, threshold) -> [n, …]  what is answered: the class, yes or no, the value
    scores(evidence, labels, threshold) -> {metric: value}   every one of METRICS
    agreement(outputs, reference, threshold) -> float   how far two sets of outputs agree, 1 is wholly
    apart(ours, theirs, threshold, step, operators) -> float [differing samples]   how far the answers that
                                differ lie apart in ours, in steps of the output
    probabilities(evidence) -> [n, labels]   how likely each label is, 0 to 1; None where the task has no such
    shown(evidence, names, threshold) -> [(answer, confidence or None), …]   for people

Outputs are float arrays [n, …], those that `apart` gets are finite; `threshold` is a workload's THRESHOLD.
TensorFlow is imported by no task.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pipeline.lookup import find_module


@dataclass(frozen=True)
class Metric:
    """How a number that scores a file is read."""

    higher_is_better: bool
    description: str


METRICS = {
    "accuracy": Metric(True, "share of the samples that are answered correctly, 0 to 1"),
    "f1": Metric(True, "F1, the harmonic mean of precision and recall, averaged over the labels, 0 to 1"),
    "auc": Metric(True, "area under the ROC curve, 0 to 1: how often a positive sample ranks above a negative one"),
    "mean_absolute_error": Metric(False, "mean distance to the label, in the label's unit"),
}


def find_task(name: str, where: str) -> ModuleType:
    """Return the task's module. Raises UnknownName with the nearest known name."""
    return find_module("learning_tasks", name, None, kind="task", marker="METRICS", where=where)


def metric_of_budget(budget: str) -> str | None:
    """Return the metric that a budget's key binds, such as "auc" for "auc_drop_max"; None for another budget."""
    return next((name for name in METRICS if budget in budget_keys(name)), None)


def budget_keys(metric: str) -> tuple[str, str]:
    """Return the two keys of a metric: its limit, and how much worse than the float file it may be."""
    return (
        (f"{metric}_min", f"{metric}_drop_max")
        if METRICS[metric].higher_is_better
        else (
            f"{metric}_max",
            f"{metric}_rise_max",
        )
    )


def in_words(metric: str, value: float) -> str:
    """Return a score for people: shares in percent."""
    return f"{value:.2%}" if metric in ("accuracy", "f1") else f"{value:.4g}"


def label_names_expected(names: tuple[str, ...], labels: Any) -> str:
    """Return what integer labels of one class each should be; "" where these are."""
    if labels.ndim == 1 and labels.dtype.kind in "iu" and 0 <= labels.min() <= labels.max() < len(names):
        return ""
    return f"one integer of 0 to {len(names) - 1} for each sample (LABELS has {len(names)})"
