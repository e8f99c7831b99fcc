"""Makes `tiny_float32.tflite` and `tiny_int8.tflite`: one small network in two number formats.

    python tests/data/make_models.py        from the repository's root

The files are committed, so that tests need no TensorFlow; run this only to change them.
Input [1, 28, 28, 1] in 0..1, output [1, 10] logits; the weights are random, from a fixed seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[1]))  # run as a file, Python sees this folder only

import numpy as np  # noqa: E402

from pipeline.keras_legacy import keras, make_repeatable, tf  # noqa: E402

make_repeatable(7)
model = keras.Sequential(
    [
        keras.layers.InputLayer((28, 28, 1)),
        keras.layers.Conv2D(2, 5, strides=4, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
)
calibration = np.random.default_rng(7).random((100, 1, 28, 28, 1), dtype=np.float32)
function = tf.function(
    lambda batch: model(batch, training=False),
    input_signature=[tf.TensorSpec([1, 28, 28, 1], tf.float32, name="input")],
).get_concrete_function()

float_converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
(FOLDER / "tiny_float32.tflite").write_bytes(float_converter.convert())

converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([sample] for sample in calibration)
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
(FOLDER / "tiny_int8.tflite").write_bytes(converter.convert())
