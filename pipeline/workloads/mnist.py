"""MNIST with LeNet-5 as the compression literature uses it: 20-50-500-10, 431,080 parameters.

The network is Caffe's LeNet, the one that Deep Compression (Han, Mao, Dally 2016)
reports on: two 5×5 convolutions without padding, each followed by 2×2 max pooling,
then dense 500 and dense 10. Logits out.
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

DESCRIPTION = "MNIST digits, LeNet-5 (20-50-500-10), 431,080 parameters"
TRAINING = Training(epochs=12, batch_size=128, learning_rate=1.5e-3, learning_rate_schedule="cosine")

_ROTATION = 0.17  # radians, about 10 degrees either way
_SCALE = 0.10  # share by which each axis shrinks or grows
_SHIFT = 2.0  # pixels either way


def build_model():
    """Return the untrained tf_keras model: [batch, 28, 28, 1] in, [batch, 10] logits out."""
    from pipeline.keras_legacy import keras

    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(20, 5, activation="relu", input_shape=INPUT_SHAPE, name="conv1"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, activation="relu", name="conv2"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, activation="relu", name="dense1"),
            layers.Dense(10, name="logits"),
        ],
        name="lenet5",
    )


def build_student():
    """Return an untrained student for `distill`: 18,686 parameters, and faster than LeNet-5.

    [batch, 28, 28, 1] in, [batch, 10] logits out. Average pooling over the whole map needs no table of
    axes in the file, as a mean does.
    """
    from pipeline.keras_legacy import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input(INPUT_SHAPE)], name="student")

    def convolution(filters, strides, padding):
        model.add(layers.Conv2D(filters, 3, strides=strides, padding=padding, use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.95))
        model.add(layers.ReLU())

    convolution(12, 1, "valid")
    convolution(20, 2, "same")
    convolution(20, 1, "same")
    model.add(layers.MaxPooling2D())
    convolution(28, 1, "same")
    convolution(28, 1, "valid")
    model.add(layers.AveragePooling2D(4))
    model.add(layers.Flatten())
    model.add(layers.Dense(10, name="logits"))
    return model


def augment(images, seed):
    """Rotate, scale and shift each image of a batch a little, by one affine resampling.

    images: float32 tensor [batch, 28, 28, 1] of 0–1; seed: int32 tensor [2], which fixes
    the draw, so that two processes train on the same pictures. Returns the same shape.
    """
    return affine(images, seed, rotation=_ROTATION, scale=_SCALE, shift=_SHIFT)
