"""The tutorial network on MNIST: 784 → Dense 64 → Dense 64 → Dense 10, logits out.

The settings are those of the widely taught introduction to Keras: images scaled to
0–1, Adam with a learning rate of 1e-4, sparse categorical cross-entropy on logits,
10 epochs, batches of 64, the last tenth of the training set held out for validation.
"""

from pipeline.workload import Training
from pipeline.workloads.mnist_data import (  # noqa: F401  (the contract's names)
    DATA_FILES,
    INPUT_RANGE,
    INPUT_SHAPE,
    LABELS,
    load,
    preprocess,
)

DESCRIPTION = "MNIST digits, the tutorial's dense network 784-64-64-10, 55,050 parameters"
TRAINING = Training(epochs=10, batch_size=64, learning_rate=1e-4, learning_rate_schedule="constant")


def build_model():
    """Return the untrained tf_keras model: [batch, 28, 28, 1] in, [batch, 10] logits out."""
    from pipeline.keras_legacy import keras

    return keras.Sequential(
        [
            keras.layers.Flatten(input_shape=INPUT_SHAPE),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ],
        name="mnist_dense",
    )
