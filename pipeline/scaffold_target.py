"""A target for data that somebody brought: another target's runner and steps, with starting points for budgets."""

from __future__ import annotations

import math
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.learning_task import budget_keys, find_task
from pipeline.target import Budgets, Target, recipe_toml, toml_value

if TYPE_CHECKING:
    from pipeline.scaffold import Brought

DROP = 0.02  # of accuracy, F1 or the area under the curve, that compression may cost to begin with,
DROP_SAMPLES = 2  # but no less than so many samples of a small test split
RISE_SHARE = 0.05  # of the labels' standard deviation, by which an error may grow
SIZE_BYTES, SMALL_SIZE_BYTES = 1_000_000, 131_072
LARGE = {"efficientnet_lite0": 6_000_000}  # int8, with room
SMALL_RUNNERS = ("tflm", "vela")
PRUNE = {"initial_sparsity": 0.2, "final_sparsity": 0.5}
RISING_STEPS = 20  # that pruning takes at least
AGREEMENT_MIN, APART_SAMPLES = 0.95, 3  # of few validation samples 99.5% are all of them
KEPT_BUDGETS = ("npu_operator_share_min",)  # what a device asks for whatever the network
DENSELY_CONNECTED = ("lenet5", "resnet8", "autoencoder", "dense")
COMMENTS = {
    "size_bytes": "the file as it lies on the device",
    "accuracy_min": "more than a guess: a model that is given other values than it learned from guesses",
    "auc_min": "more than a guess: a model that is given other values than it learned from guesses",
    "npu_operator_share_min": "an operator that the NPU does not take runs on the processor",
}


def adapted(target: Target, brought: Brought, root: Path, *, own_kept: bool) -> Target:
    """Return the target with a recipe that begins as the model asks for.

    With `own_kept` that is all: somebody wrote the rest for this data. Else the steps are made to suit new
    data, and the budgets, which were another workload's, give way to starting points.
    """
    recipe = [entry for old in target.recipe if (entry := _entry(dict(old), brought, root, own_kept)) is not None]
    if brought.choice.step == "quantize_tflite":
        recipe = [_first(brought, root, {})]
    changes: dict[str, Any] = {"recipe": tuple(recipe)}
    if not own_kept:
        budgets = Budgets.model_validate(starting_budgets(target, brought))
        changes |= {"budgets": budgets, "expected_seconds": {}, "workloads": ()}
    return target.model_copy(update=changes)


def _entry(entry: dict[str, Any], brought: Brought, root: Path, own_kept: bool) -> dict[str, Any] | None:
    step = entry.get("step")
    if step == "train":
        return _first(brought, root, entry)
    if own_kept:
        return entry
    if step == "distill":  # its student is written for another workload, and these networks are small
        return None
    if step == "prune":
        return _pruned(brought) if _has_weights_to_spare(brought) else None
    return _calibrated(entry, brought) if step == "quantize" else entry


def _has_weights_to_spare(brought: Brought) -> bool:
    """Whether pruning is worth a try: not of a few weights for features, nor of a network that is narrow by design.

    Separable convolutions are left with so little that zeros cost accuracy, and no .tflite is smaller for zeros.
    A trained file may hold layers that cannot be pruned, and is first of all brought over as it is.
    """
    choice = brought.choice
    learns = not choice.trained and (bool(choice.code) or choice.network in DENSELY_CONNECTED)
    return learns and len(brought.source.input_shape) > 1


def _pruned(brought: Brought) -> dict[str, Any]:
    """Return a short pruning whose sparsity rises in as many steps as the step asks for, in half of the epochs."""
    steps = max(1, math.ceil(brought.training_samples / brought.batch_size))
    epochs = max(min(5, max(2, brought.epochs // 5)), math.ceil(2 * RISING_STEPS / steps) + 1)
    return {"step": "prune", **PRUNE, "epochs": epochs, "batch_size": brought.batch_size}


def _calibrated(entry: dict[str, Any], brought: Brought) -> dict[str, Any]:
    """Return a step that quantizes, calibrated on as many samples as there are, and with room for a few answers."""
    samples = max(10, min(entry.get("calibration_samples", 500), brought.distinct))
    added = {}
    if "agreement_min" not in entry and find_task(brought.source.task, "").HAS_CLASSES:
        few = math.floor(100 * (1 - APART_SAMPLES / max(1, brought.validation_samples))) / 100
        added = {"agreement_min": max(0.0, min(AGREEMENT_MIN, few))}
    return {**entry, "calibration_samples": samples, **added}


def _first(brought: Brought, root: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe's first step: train, train from given weights, or take a trained model's file."""
    if brought.choice.trained:
        given = {"step": brought.choice.step, "path": in_project(brought.choice.trained, root)}
        return _calibrated(given, brought) if brought.choice.step == "quantize_tflite" else given
    if brought.weights:
        few = {"epochs": max(5, brought.epochs // 3)}  # it knows something already
        return {"step": "train", **few, **entry, "weights": in_project(brought.weights, root)}
    return entry


def in_project(path: Path, root: Path) -> str:
    """Return a path as a recipe has it, from the project's root where it lies below."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def starting_budgets(target: Target, brought: Brought) -> dict[str, Any]:
    """Return budgets by key: size, the loss of the task's metric, and what the device asks of any file."""
    limits: dict[str, Any] = {"size_bytes": _size(target, brought)}
    metric = find_task(brought.source.task, "").METRICS[0]
    least, key = budget_keys(metric)
    if brought.choice.trained and metric in ("accuracy", "auc"):
        limits[least] = _above_chance(metric, len(brought.source.labels))
    room = math.ceil(1000 * DROP_SAMPLES / max(1, brought.test_samples)) / 1000
    limits[key] = min(1.0, max(DROP, room)) if key.endswith("_drop_max") else _rise(brought)
    for kept in KEPT_BUDGETS:
        if (limit := getattr(target.budgets, kept)) is not None:
            limits[kept] = limit
    return limits


def _above_chance(metric: str, classes: int) -> float:
    """Return what no guess reaches: the data may be scaled otherwise than the model's own were."""
    return 0.6 if metric == "auc" or classes <= 2 else round(2 / classes, 3)


def _size(target: Target, brought: Brought) -> int:
    trained = brought.choice.trained
    if trained:  # int8 takes a quarter of float32
        files = [trained] if trained.is_file() else [path for path in trained.rglob("*") if path.is_file()]
        return max(20_000, sum(path.stat().st_size for path in files) // 2)
    if target.runner in SMALL_RUNNERS:
        return SMALL_SIZE_BYTES
    return LARGE.get(brought.choice.network, SIZE_BYTES)


def _rise(brought: Brought) -> float:
    labels = np.asarray(brought.source.load("train")[1], dtype=np.float64)
    spread = float(labels.std(axis=0).mean()) if labels.size else 0.0
    return float(f"{RISE_SHARE * spread:.2g}") or 0.01


def target_text(template: str, name: str, target: Target, base: Target) -> str:
    """Return the TOML of an adapted target, with a comment on what each budget is for."""
    head: dict[str, Any] = {
        "description": f"{name} as for {base.name}: {target.input_dtype} in, {target.output_dtype} out"
    }
    for key in ("runner", "runner_without_device", "input_dtype", "output_dtype", "threads", "slim", "baseline"):
        if (value := getattr(target, key)) != Target.model_fields[key].default or key == "runner":
            head[key] = value
    lines = [f"{key} = {toml_value(value)}" for key, value in head.items()]
    if target.limits != Target.model_fields["limits"].default:
        lines.append(f"limits = {toml_value(target.limits.model_dump())}")
    device = {key: value for key, value in base.device.items() if base.place_of(key)[0] == base.path}
    if device:
        lines += ["", "[device]", *(f"{key} = {toml_value(value)}" for key, value in device.items())]
    limits = target.budgets.model_dump(exclude_none=True)
    budgets = [f"{key} = {_number(value)}  # {_why(key)}" for key, value in limits.items()]
    budgets += [f"# {key} = …  # {Budgets.model_fields[key].description}" for key in _more(base, limits)]
    return Template(template).substitute(
        name=name,
        base=base.name,
        head="\n".join(lines) + "\n",
        budgets="\n".join(budgets) + "\n",
        recipe=recipe_toml(target.recipe),
    )


def _more(base: Target, limits: dict[str, Any]) -> list[str]:
    """Return the keys that are worth setting later: the metric's own limit, and what the base target limits."""
    loss = next(key for key in limits if key.endswith(("_drop_max", "_rise_max")))
    own = loss.replace("_drop_max", "_min").replace("_rise_max", "_max")
    scores = {key for key in Budgets.model_fields if key.startswith(("accuracy", "f1", "auc", "mean_"))}
    others = [key for key in base.budgets.model_dump(exclude_none=True) if key not in scores]
    return [own, *(key for key in others if key not in limits)]


def _why(key: str) -> str:
    if key in COMMENTS:
        return COMMENTS[key]
    return "how much worse than the float32 file, on the test split, it may be"


def _number(value: Any) -> str:
    return f"{value:_}" if isinstance(value, int) else toml_value(value)
