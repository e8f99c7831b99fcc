"""MNIST with the network that teaches the records' students: 4 convolutions, 85,790 parameters.

Two of the convolutions halve the picture by their stride, so that a pass costs no more than two of
LeNet-5's, and the students can ask it about every augmented picture that they see.
"""

from pipeline.workload import Training
from pipeline.workloads.affine import affine
from pipeline.workloads.mnist_data import (  # noqa: F401  (the contract's names)
    DATA_FILES,
    INPUT_RANGE,
    INPUT_SHAPE,
    LABELS,
    load,
    preprocess,
)

DESCRIPTION = "MNIST digits, the teacher of the records' students"
TRAINING = Training(epochs=24, batch_size=128, learning_rate=2e-3, learning_rate_schedule="cosine")


def build_model():
    """Return the untrained tf_keras model: [batch, 28, 28, 1] in, [batch, 10] logits out."""
    from pipeline.keras_legacy import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input(INPUT_SHAPE)], name="teacher")
    for filters, stride in ((20, 1), (40, 2), (60, 1), (80, 2)):
        model.add(layers.Conv2D(filters, 3, strides=stride, use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(len(LABELS), name="logits"))
    return model


def augment(images, seed):
    """Rotate, shear, scale and shift each image of a batch, by about 12 degrees, 0.2, 14% and 2 pixels at most."""
    return affine(images, seed, rotation=0.22, shear=0.2, scale=0.14, shift=2.0)
