"""What a network that knows the digits 0 to 4 is worth when it has to learn 5 to 9 from few images.

    python -m benchmarks.transfer [SEEDS]    5 seeds by default, about 5 minutes on 2 cores

Each seed draws its images and its initial weights. The network learns 0 to 4 from all their training
images; then the transfer step and, from initial weights, the train step learn 5 to 9 from the same 10,
50 or 100 images a class in the same number of steps, with the images as they are and with the mnist
workload's augmentation. Both arms' settings were chosen on the validation split, with other seeds.
Prints a Markdown table: accuracy on the 4,861 test images of 5 to 9, mean ± standard deviation.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.steps import train, transfer
from pipeline.workload import Training, Workload
from pipeline.workloads import mnist, mnist_data

IMAGES_PER_CLASS = (10, 50, 100)
BATCH, STEPS_PER_EPOCH, HEAD_EPOCHS, EPOCHS = 25, 20, 5, 20
SCRATCH = {"learning_rate": 6e-3}
TRANSFER = {
    "head_epochs": HEAD_EPOCHS,
    "epochs": EPOCHS,
    "head_learning_rate": 3e-3,
    "learning_rate": 3e-3,
    "unfreeze_layers": 2,
    "batch_size": BATCH,
}
VALIDATION_IMAGES = 200  # for the history alone: nothing here is chosen by it


def build_model() -> Any:
    """Return the untrained network: 28,389 parameters, five logits."""
    from pipeline.keras_legacy import keras

    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", input_shape=mnist_data.INPUT_SHAPE),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(5),
        ]
    )


def digits(first: int, images_per_class: int | None, augmented: bool, seed: int) -> Workload:
    """Return the workload of five digits from `first` on, with so many training images a class or all."""

    def load(split: str) -> tuple[np.ndarray, np.ndarray]:
        images, labels = mnist_data.load(split)
        random = np.random.default_rng(seed)
        places = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(first, first + 5)]
        if split == "train" and images_per_class:
            places = [place[:images_per_class] for place in places]
        chosen = np.sort(np.concatenate(places))
        if split == "train" and images_per_class:  # several passes an epoch, so that one is worth validating
            chosen = np.tile(chosen, -(-BATCH * STEPS_PER_EPOCH // len(chosen)))[: BATCH * STEPS_PER_EPOCH]
        if split == "validation":
            chosen = chosen[:VALIDATION_IMAGES]
        return images[chosen], labels[chosen] - first

    module = ModuleType(f"digits_from_{first}")
    module.__dict__.update(
        DESCRIPTION=f"digits {first} to {first + 4}",
        LABELS=tuple(str(digit) for digit in range(first, first + 5)),
        INPUT_SHAPE=mnist_data.INPUT_SHAPE,
        INPUT_RANGE=mnist_data.INPUT_RANGE,
        TRAINING=Training(epochs=HEAD_EPOCHS + EPOCHS, batch_size=BATCH),
        load=load,
        preprocess=mnist_data.preprocess,
        augment=mnist.augment if augmented else None,
        build_model=build_model,
    )
    return Workload(module.__name__, module)


def run(step: ModuleType, source: Path | None, out: Path, workload: Workload, **config: Any) -> Path:
    out.mkdir()
    step.run(source, workload, step.Config(**config), out, lambda progress: None)
    return out


def test_accuracy(folder: Path, workload: Workload) -> float:
    from pipeline.steps._fit import load_model

    images, labels = workload.load("test")
    logits = load_model(folder).predict(workload.preprocess(images), batch_size=1000, verbose=0)
    return float((logits.argmax(axis=1) == labels).mean())


def measure(seed: int, work: Path) -> dict[tuple[bool, int], tuple[float, float]]:
    """Return {(augmented, images a class): (accuracy from scratch, transferred)} of one seed."""
    low = run(train, None, work / "low", digits(0, None, True, seed), epochs=3, batch_size=128, seed=seed)
    found = {}
    for augmented, count in itertools.product((False, True), IMAGES_PER_CLASS):
        high, name = digits(5, count, augmented, seed), f"{count}_{augmented}"
        scratch = run(train, None, work / f"scratch_{name}", high, seed=seed, **SCRATCH)
        transferred = run(transfer, low, work / f"transfer_{name}", high, seed=seed, **TRANSFER)
        found[augmented, count] = test_accuracy(scratch, high), test_accuracy(transferred, high)
    return found


def main(seeds: int) -> None:
    results = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(seed, Path(folder)))
        print(f"seed {seed}: {results[-1]}", file=sys.stderr, flush=True)
    print("| augmented | images a class | from scratch, % | transferred, % | gain in points |")
    print("| --- | --- | --- | --- | --- |")
    for augmented, count in results[0]:
        scratch, transferred = 100 * np.array([found[augmented, count] for found in results]).T
        parts = (scratch, transferred, transferred - scratch)
        cells = [f"{part.mean():.2f} ± {part.std(ddof=1):.2f}" for part in parts]
        print(f"| {'yes' if augmented else 'no'} | {count} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
