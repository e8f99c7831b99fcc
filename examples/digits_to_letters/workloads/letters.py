"""Six letters in strokes, 20 pictures of each to learn from."""

from pathlib import Path

from pipeline.data import npz
from pipeline.workload import Training

DATA = npz.open_data(Path(__file__).resolve().parents[1] / "letters.npz")

DESCRIPTION = "letters in strokes"
TASK, LABELS = DATA.task, DATA.labels
INPUT_SHAPE, INPUT_RANGE = DATA.input_shape, DATA.input_range
TRAINING = Training(epochs=80, batch_size=32, learning_rate=1e-3)
load, preprocess, data_hashes = DATA.load, DATA.preprocess, DATA.hashes


def build_model():
    """Return the network of digits, with other outputs: what a recipe without the transfer trains."""
    from pipeline.keras_legacy import keras

    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(16, 3, strides=2, activation="relu", input_shape=INPUT_SHAPE),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(LABELS), name="logits"),
        ]
    )
