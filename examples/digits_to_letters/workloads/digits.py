"""The first 6,000 of MNIST's digits, and a small network that learns them in a quarter of a minute."""

from pipeline.workload import Training
from pipeline.workloads import mnist_data
from pipeline.workloads.mnist_data import DATA_FILES, INPUT_RANGE, INPUT_SHAPE, LABELS, preprocess  # noqa: F401

DESCRIPTION = "6,000 MNIST digits, three convolutions"
TRAINING = Training(epochs=10, batch_size=32, learning_rate=3e-3)
COUNTS = {"train": 6000, "validation": 1000, "test": 1000}


def load(split):
    samples, labels = mnist_data.load(split)
    return samples[: COUNTS[split]], labels[: COUNTS[split]]


def build_model():
    from pipeline.keras_legacy import keras

    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(16, 3, strides=2, activation="relu", input_shape=INPUT_SHAPE),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(LABELS), name="logits"),
        ]
    )
