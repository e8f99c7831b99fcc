"""Distillation: a trained teacher and its students, on real digits."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from step_runs import run_step, saved, varied

from pipeline.errors import EXIT_REQUEST, BadWorkload, StepFailed, UnknownName
from pipeline.keras_legacy import keras, make_repeatable
from pipeline.steps import distill, train
from pipeline.steps._fit import load_model
from pipeline.workload import Workload

layers = keras.layers


def student(units: int = 8, inputs: tuple[int, ...] = (28, 28, 1), classes: int = 10) -> Any:
    return keras.Sequential(
        [layers.Flatten(input_shape=inputs), layers.Dense(units, activation="relu"), layers.Dense(classes)]
    )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "train"
    run_step(train, None, folder, varied(), epochs=3)
    return folder


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_soft_loss_is_the_papers(temperature: float) -> None:
    taught, learned = np.random.default_rng(0).normal(0, 5, (2, 6, 10))
    p, q = softmax(taught / temperature), softmax(learned / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()
    assert float(distill.distillation_loss(taught, learned, temperature)) == pytest.approx(expected)


def test_a_student_learns_from_the_teacher_alone(teacher: Path, tmp_path: Path) -> None:
    """With alpha 1 the labels count for nothing, so wrong ones do no harm."""
    right = varied()
    images, labels = right.load("train")

    def load(split: str) -> tuple[np.ndarray, np.ndarray]:
        return (images, (labels + 1) % 10) if split == "train" else right.load(split)

    workload = varied(load=load, build_student=student)
    facts = run_step(distill, teacher, tmp_path / "out", workload, alpha=1, epochs=3)
    model = load_model(tmp_path / "out")
    assert facts["teacher_parameters"] == load_model(teacher).count_params()
    assert facts["parameters"] == model.count_params() < facts["teacher_parameters"]
    assert facts["teacher_validation_accuracy"] > 0.9
    assert facts["validation_accuracy"] > 0.75
    assert facts["history"]["accuracy"][-1] < 0.1, "against the wrong labels"
    samples, truth = right.load("validation")
    measured = (model.predict(right.preprocess(samples), verbose=0).argmax(axis=1) == truth).mean()
    assert facts["validation_accuracy"] == facts["history"]["val_accuracy"][-1] == pytest.approx(measured)


def test_a_student_learns_from_the_labels_alone(teacher: Path, tmp_path: Path) -> None:
    """With alpha 0 the temperature, and so the teacher, counts for nothing, and the seed decides."""
    weights = []
    for temperature, seed in ((1, 0), (9, 0), (1, 1)):
        out = tmp_path / f"{temperature} {seed}"
        config = {"alpha": 0, "temperature": temperature, "seed": seed, "epochs": 1}
        run_step(distill, teacher, out, varied(build_student=student), **config)
        weights.append(load_model(out).get_weights()[0])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_the_teacher_sees_the_augmented_batch_in_inference_mode(tmp_path: Path) -> None:
    """A teacher with dropout that doubles its input, taught to a student that can only copy."""

    class Seen(layers.Layer):
        batches: list[Any] = []

        def call(self, batch: Any, training: bool | None = None) -> Any:
            Seen.batches.append(training)
            return batch

    def augment(images: Any, seed: Any) -> Any:
        return images * 0

    inputs = keras.Input((28, 28, 1))
    network = layers.Dense(10, use_bias=False)(layers.Flatten()(Seen()(inputs)))
    learner = student()
    classes = Workload("classes", ModuleType("classes"))
    before = learner.get_weights()
    loss = distill.learner(learner, keras.Model(inputs, network), distill.Config(alpha=1), classes)
    loss.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.ones((4, 28, 28, 1), np.float32)
    loss.train_on_batch(augment(images, None), np.zeros(4, np.int64))
    assert Seen.batches[-1] is False
    # From an empty picture the teacher has equal logits, and so has the student: nothing is learned.
    assert all(np.array_equal(one, other) for one, other in zip(before, learner.get_weights(), strict=True))


def test_same_is_the_teachers_architecture_and_starts_anew(teacher: Path) -> None:
    original = load_model(teacher)
    make_repeatable(1)
    clone = distill.build_student(varied(), original, distill.Config(student="same"))
    assert clone.count_params() == original.count_params()
    assert [layer.name for layer in clone.layers] == [layer.name for layer in original.layers]
    assert not np.array_equal(clone.get_weights()[0], original.get_weights()[0])


def test_narrow_is_a_part_of_the_teacher_that_learns_from_the_whole(teacher: Path, tmp_path: Path) -> None:
    facts = run_step(distill, teacher, tmp_path / "out", varied(), student="narrow", keep_ratio=0.5, epochs=1)
    whole, narrow = load_model(teacher), load_model(tmp_path / "out")
    assert narrow.get_layer("conv").output_shape[-1] == whole.get_layer("conv").output_shape[-1] // 2
    assert facts["parameters"] == narrow.count_params() < whole.count_params() / 2
    assert facts["validation_accuracy"] > 0.75
    # It starts with the teacher's own filters: those with the largest kernels.
    started = distill.build_student(varied(), whole, distill.Config(student="narrow", keep_ratio=0.5))
    filters = whole.get_layer("conv").get_weights()[0].reshape(-1, whole.get_layer("conv").filters).T
    largest = filters[np.sort(np.argsort(-np.abs(filters).sum(axis=1))[: started.get_layer("conv").filters])]
    assert np.array_equal(started.get_layer("conv").get_weights()[0].reshape(largest.shape[::-1]).T, largest)


def test_a_teacher_that_cannot_be_narrowed_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([layers.Flatten(input_shape=(28, 28, 1)), layers.Dense(10, name="logits")])
    with pytest.raises(StepFailed, match="no layer whose channels can be pruned") as caught:
        run_step(distill, saved(model, tmp_path / "in"), tmp_path / "out", varied(), student="narrow", keep_ratio=0.5)
    assert "logits" in caught.value.received


@pytest.mark.parametrize(
    ("builder", "received", "expected"),
    [
        (lambda: student(units=100), "79,510 parameters", "at most the teacher's 18,826"),
        (lambda: student(inputs=(8, 8, 1)), "(None, 8, 8, 1)", "(None, 28, 28, 1)"),
        (lambda: student(classes=5), "(None, 5)", "(None, 10)"),
        (
            lambda: keras.Sequential([layers.Flatten(), layers.Dense(10)]),
            "input None",
            "a tf_keras model that is built",
        ),
        (lambda: "a student", "builtins.str", "a tf_keras model that is built"),
    ],
    ids=["larger", "other inputs", "other classes", "not built", "no model"],
)
def test_students_that_are_refused(teacher: Path, tmp_path: Path, builder: Any, received: str, expected: str) -> None:
    with pytest.raises(BadWorkload) as caught:
        run_step(distill, teacher, tmp_path / "out", varied(build_student=builder))
    assert received in caught.value.received
    assert expected in caught.value.expected
    assert caught.value.exit_code == EXIT_REQUEST


def test_a_function_that_the_workload_lacks(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        run_step(distill, teacher, tmp_path / "out", varied(build_small_student=student), student="build_smal_student")
    assert caught.value.fix == "did you mean 'build_small_student'?"
    assert "same" in caught.value.expected
