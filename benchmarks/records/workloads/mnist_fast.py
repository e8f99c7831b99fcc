"""MNIST with a student of at most 12,000 bytes with 8-bit weights, six times as fast as float LeNet-5."""

from workloads._student import augment, network  # noqa: F401  (augment is a part of the contract)
from workloads.teacher import (  # noqa: F401  (the contract's names; build_model gives the teacher)
    DATA_FILES,
    INPUT_RANGE,
    INPUT_SHAPE,
    LABELS,
    TRAINING,
    build_model,
    load,
    preprocess,
)

DESCRIPTION = "MNIST digits, fast student of at most 12,000 bytes"


def build_student():
    """Return the untrained student: [batch, 28, 28, 1] in, [batch, 10] logits out."""
    return network((12, 1, "valid"), (16, 2, "same"), (16, 1, "same"), "max", (16, 1, "same"), (16, 1, "valid"), "mean")
