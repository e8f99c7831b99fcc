"""Transfer: a network trained on the digits 0 to 4 learns 5 to 9."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_project import copy_project, invoke
from step_runs import SMALL, digits, run_step, saved

from pipeline.errors import EXIT_STEP, StepFailed
from pipeline.inspect import inspect_file
from pipeline.keras_legacy import keras
from pipeline.steps import train, transfer
from pipeline.steps._fit import load_model, validation_score

layers = keras.layers
SHAPE = (28, 28, 1)
NEW = digits(5, 9, train=100)


@pytest.fixture(scope="module")
def low_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("low_digits") / "train"
    run_step(train, None, folder, digits(0, 4, train=1500, build_model=network), epochs=3)
    return folder


def network() -> Any:
    return keras.Sequential(
        [
            layers.Conv2D(8, 5, strides=2, activation="relu", input_shape=SHAPE, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dense(16, activation="relu", name="dense"),
            layers.Dense(5, name="logits", kernel_regularizer="l2"),
            layers.Dropout(0.1, name="last"),
            layers.Activation("linear", name="identity"),
        ]
    )


def changed(before: Any, after: Any) -> set[str]:
    """Return the names of the weights that differ between two models of the same layers."""
    pairs = zip(before.weights, after.weights, strict=True)
    return {new.name.split(":")[0] for old, new in pairs if not np.array_equal(old.numpy(), new.numpy())}


HEAD = {"logits/kernel", "logits/bias"}


@pytest.mark.parametrize(
    ("unfreeze", "phases", "expected"),
    [
        (0, [["logits"]], HEAD),
        (2, [["logits"], ["dense", "logits"]], HEAD | {"dense/kernel", "dense/bias"}),
        (
            None,
            [["logits"], ["conv", "norm", "dense", "logits"]],
            HEAD
            | {"dense/kernel", "dense/bias", "conv/kernel", "conv/bias"}
            | {f"norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")},
        ),
    ],
)
def test_each_phase_changes_what_it_trains_and_nothing_else(
    low_digits: Path, tmp_path: Path, unfreeze: int | None, phases: list[list[str]], expected: set[str]
) -> None:
    facts = run_step(
        transfer, low_digits, tmp_path / "out", NEW, head_epochs=2, epochs=2, unfreeze_layers=unfreeze, batch_size=25
    )
    before, after = load_model(low_digits), load_model(tmp_path / "out")
    assert [phase["trained"] for phase in facts["phases"]] == phases
    assert changed(before, after) == expected
    assert facts["replaced"] == ["logits", "last", "identity"]
    assert [phase["steps"] for phase in facts["phases"]] == [8] * len(phases)
    assert facts["validation_accuracy"] == validation_score(after, NEW)
    assert all(layer.trainable for layer in after.layers), "a later step must find no frozen layer"


def test_what_was_learned_before_helps(low_digits: Path, tmp_path: Path) -> None:
    config = {"head_epochs": 20, "head_learning_rate": 0.01, "epochs": 20, "batch_size": 10}
    facts = run_step(transfer, low_digits, tmp_path / "out", NEW, **config)
    first, second = (phase["history"]["val_accuracy"][-1] for phase in facts["phases"])
    assert first > 0.4, "by chance it would be 0.2"
    assert second > 0.7


def test_the_head_has_a_logit_for_each_label_and_keeps_its_regularizer(low_digits: Path) -> None:
    model, _ = transfer.with_new_head(load_model(low_digits), digits(7, 9, train=10))
    head = model.layers[-1]
    assert model.output_shape == (None, 3)
    assert head.activation is keras.activations.linear
    assert isinstance(head.kernel_regularizer, keras.regularizers.L2)


def test_progress_counts_through_both_phases(low_digits: Path, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    (tmp_path / "out").mkdir()
    config = transfer.Config(head_epochs=1, epochs=3, batch_size=25)
    transfer.run(low_digits, NEW, config, tmp_path / "out", seen.append)
    shares = [progress["done"] for progress in seen]
    assert shares == sorted(shares)
    assert [progress["epoch"] for progress in seen] == [1, 2, 3, 4]
    assert {progress["epochs"] for progress in seen} == {4}
    assert 0.75 < shares[-1] <= 1


def test_the_same_seed_gives_the_same_model(low_digits: Path, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        run_step(transfer, low_digits, tmp_path / name, NEW, head_epochs=1, unfreeze_layers=0, seed=seed)
        weights.append(load_model(tmp_path / name).get_weights()[-2])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def ending(*last: Any, inputs: tuple[int, ...] = SHAPE) -> Any:
    return keras.Sequential([layers.InputLayer(inputs), layers.Flatten(), *last])


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda: ending(layers.Dense(5), inputs=(8, 8, 1)), "inputs [None, 8, 8, 1]"),
        (lambda: ending(layers.Dense(5), layers.LayerNormalization(name="norm")), "norm (LayerNormalization)"),
        (lambda: ending(), "(Flatten)"),
    ],
    ids=["other inputs", "a layer with weights behind the head", "no dense layer"],
)
def test_models_without_a_head_to_replace(tmp_path: Path, make: Any, received: str) -> None:
    with pytest.raises(StepFailed) as caught:
        run_step(transfer, saved(make(), tmp_path / "source"), tmp_path / "out", NEW)
    assert received in caught.value.received
    assert caught.value.fix
    assert caught.value.exit_code == EXIT_STEP


HIGH_DIGITS = """

LABELS = tuple("56789")
all_digits = load


def load(split):
    samples, labels = all_digits(split)
    return samples[labels > 4], labels[labels > 4] - 5
"""
TARGET = """
description = "Another workload's network, transferred"

[[recipe]]
step = "load"
path = "models/low_digits.h5"

[[recipe]]
step = "transfer"
head_epochs = 2
epochs = 2

[[recipe]]
step = "quantize"
scheme = "float32"
"""


def test_a_recipe_from_a_file_to_a_verified_tflite(low_digits: Path, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    (project / "models").mkdir()
    shutil.copy(low_digits / "model.h5", project / "models" / "low_digits.h5")
    (project / "workloads" / "high_digits.py").write_text(SMALL.read_text() + HIGH_DIGITS)
    (project / "targets" / "transferred.toml").write_text(TARGET)
    arguments = ("--target=transferred", "--workload=high_digits", "--json")
    document = json.loads(invoke(project, "convert", *arguments).stdout)
    assert inspect_file(project / document["artifact"]).outputs[0].shape == (1, 5)
    facts = {stage["name"]: stage["facts"] for stage in document["stages"]}
    assert facts["load"]["classes"] == 5
    assert facts["transfer"]["validation_accuracy"] > 0.8
    planned = json.loads(invoke(project, "build", "--dry-run", *arguments).stdout)
    assert [stage["state"] for stage in planned["stages"]][:3] == ["hit"] * 3
