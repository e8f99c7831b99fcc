"""MNIST with a student whose file has at most 5,400 bytes."""

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

DESCRIPTION = "MNIST digits, student of at most 5,400 bytes"


def build_student():
    """Return the untrained student: [batch, 28, 28, 1] in, [batch, 10] logits out."""
    return network((8, 1, "valid"), (12, 2, "same"), (12, 1, "same"), "max", (14, 1, "same"), (14, 1, "valid"), "mean")
