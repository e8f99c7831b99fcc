"""Anomaly detection: the spectrum of a machine's hum; an anomalous one has a tone that does not belong there."""

import numpy as np
from tabular import hash_of

from pipeline.workload import Training

DESCRIPTION = "A machine's hum, with and without a foreign tone"
TASK = "anomaly"
LABELS = ("normal", "anomalous")
INPUT_SHAPE = (32,)
INPUT_RANGE = (0.0, 1.0)
TRAINING = Training(epochs=40, batch_size=32, learning_rate=3e-3)
COUNTS = {"train": 600, "validation": 300, "test": 300}


def load(split):
    random = np.random.default_rng(list(COUNTS).index(split))
    count, bins = COUNTS[split], np.arange(32)
    labels = np.zeros(count, np.int64)
    if split != "train":
        labels[::3] = 1
    pitch = random.uniform(3, 5, (count, 1))
    hum = sum(np.exp(-((bins - harmonic * pitch) ** 2)) / harmonic for harmonic in (1, 2, 3))
    foreign = np.exp(-((bins - random.uniform(18, 30, (count, 1))) ** 2)) * 0.5 * labels[:, None]
    noise = np.abs(random.normal(0, 0.03, (count, 32)))
    return np.clip(hum + foreign + noise, 0, 1).astype(np.float32), labels


def preprocess(spectra):
    return spectra


def data_hashes():
    return hash_of(*load("test"))


def build_model():
    from pipeline.keras_legacy import keras

    return keras.Sequential(
        [
            keras.layers.Dense(16, activation="relu", input_shape=INPUT_SHAPE),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(32),
        ]
    )
