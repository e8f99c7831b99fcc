"""Your own program: it knows nothing of this pipeline, trains with Keras 3 and saves trained.keras."""

import keras
import numpy as np

arrays = np.load("marks.npz")
classes = sorted(set(arrays["y_train"]))


def pair(split):
    """Return pictures scaled to 0–1 [n, 24, 24, 1], as the pipeline's reader scales 8-bit pixels, and labels [n]."""
    labels = np.searchsorted(classes, arrays[f"y_{split}"])
    return arrays[f"x_{split}"][..., None] / np.float32(255), labels


keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((24, 24, 1)),
        keras.layers.Conv2D(12, 3, strides=2, activation="relu"),
        keras.layers.Conv2D(24, 3, strides=2, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(len(classes), activation="softmax"),
    ]
)
model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(*pair("train"), epochs=15, batch_size=32, validation_data=pair("val"), verbose=2)
model.save("trained.keras")
