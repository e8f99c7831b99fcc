"""MNIST with the network of TensorFlow Model Optimization's pruning guide, 20,410 parameters.

A 3×3 convolution with 12 filters, max pooling, and a dense layer that holds 99% of the weights. The
settings of the float training are the guide's: Adam, 4 epochs, batches of 32, the last tenth of the
training pictures held out, no augmentation.
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

DESCRIPTION = "MNIST digits, the pruning guide's network, 20,410 parameters"
TRAINING = Training(epochs=4, batch_size=32, learning_rate=1e-3, learning_rate_schedule="constant")


def build_model():
    """Return the untrained tf_keras model: [batch, 28, 28, 1] in, [batch, 10] logits out."""
    from pipeline.keras_legacy import keras

    return keras.Sequential(
        [
            keras.layers.Conv2D(12, 3, activation="relu", input_shape=INPUT_SHAPE),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
