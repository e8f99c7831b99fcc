"""Real MNIST digits, few of them, and a network that trains in seconds."""

from pipeline.workload import Training
from pipeline.workloads import mnist_data
from pipeline.workloads.mnist_data import DATA_FILES, INPUT_RANGE, INPUT_SHAPE, LABELS, preprocess  # noqa: F401

DESCRIPTION = "3,000 MNIST digits, one convolution"
TRAINING = Training(epochs=2, batch_size=32, learning_rate=3e-3)
SAMPLES = {"train": 3000, "validation": 1000, "test": 1000}


def load(split):
    samples, labels = mnist_data.load(split)
    return samples[: SAMPLES[split]], labels[: SAMPLES[split]]


def build_model():
    from pipeline.keras_legacy import keras

    return keras.Sequential(
        [
            keras.layers.Conv2D(8, 5, strides=2, activation="relu", input_shape=INPUT_SHAPE, name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu", name="dense"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
