"""A workload without TensorFlow: seeded grey pictures, ten classes."""

import numpy as np

from pipeline.workload import Training

DESCRIPTION = "grey noise in ten classes"
LABELS = tuple("abcdefghij")
INPUT_SHAPE = (28, 28, 1)
INPUT_RANGE = (0.0, 1.0)
TRAINING = Training(epochs=1)
SAMPLES = {"train": 200, "validation": 50, "test": 100}


def load(split):
    count = SAMPLES[split]
    samples = np.random.default_rng(count).integers(0, 256, (count, *INPUT_SHAPE), dtype=np.uint8)
    return samples, np.arange(count) % 10


def preprocess(samples):
    return samples.astype(np.float32) / 255


def build_model():
    raise RuntimeError("the numpy-only steps build no model")
