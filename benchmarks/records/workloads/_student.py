"""What the students share: blocks of convolution, batch normalization and ReLU, and gentler pictures.

Small networks underfit the teacher's augmentation, so theirs is about half as strong.
"""

from workloads import teacher

from pipeline.workloads.affine import affine


def network(*layers):
    """Return an untrained tf_keras model: [batch, 28, 28, 1] in, [batch, 10] logits out.

    Each of `layers` is "max" (2×2 max pooling), "mean" (average pooling over the whole picture), or
    (filters, stride, padding) of a 3×3 convolution with batch normalization and ReLU. A dense layer of
    ten outputs is the last. Pooling a whole picture by AveragePooling2D needs no table of axes in the
    file, as GlobalAveragePooling2D's MEAN does.
    """
    from pipeline.keras_legacy import keras

    model = keras.Sequential([keras.Input(teacher.INPUT_SHAPE)])
    for layer in layers:
        if layer == "max":
            model.add(keras.layers.MaxPooling2D())
        elif layer == "mean":
            model.add(keras.layers.AveragePooling2D(model.output_shape[1]))
        else:
            filters, stride, padding = layer
            model.add(keras.layers.Conv2D(filters, 3, strides=stride, padding=padding, use_bias=False))
            model.add(keras.layers.BatchNormalization(momentum=0.95))
            model.add(keras.layers.ReLU())
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(len(teacher.LABELS)))
    return model


def augment(images, seed):
    """Rotate, shear, scale and shift each image a little, by about 9 degrees, 0.1, 10% and 1.5 pixels at most."""
    return affine(images, seed, rotation=0.15, shear=0.1, scale=0.1, shift=1.5)
