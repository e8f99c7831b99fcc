"""MNIST with a student whose file has at most 4,500 bytes."""

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

DESCRIPTION = "MNIST digits, student of at most 4,500 bytes"


def build_student():
    """Return the untrained student: [batch, 28, 28, 1] in, [batch, 10] logits out."""
    return network((6, 1, "valid"), (8, 2, "same"), (10, 1, "same"), "max", (12, 1, "same"), (12, 1, "valid"), "mean")
