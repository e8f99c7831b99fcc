"""Makes `tiny_float32.tflite` and `tiny_int8.tflite`, one small network in two number formats,
`tiny_int8_float_io.tflite` and `tiny_int8_uint8_io.tflite`, the int8 one with another input and output,
and `depthwise_int8.tflite`: more kinds of operators, and a scale for each channel.

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

layers = keras.layers


def converter(model: keras.Model) -> tf.lite.TFLiteConverter:
    function = tf.function(
        lambda batch: model(batch, training=False),
        input_signature=[tf.TensorSpec([1, 28, 28, 1], tf.float32, name="input")],
    ).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], model)


def int8(model: keras.Model, outside: tf.DType = tf.int8) -> bytes:
    calibration = np.random.default_rng(7).random((100, 1, 28, 28, 1), dtype=np.float32)
    quantizing = converter(model)
    quantizing.optimizations = [tf.lite.Optimize.DEFAULT]
    quantizing.representative_dataset = lambda: ([sample] for sample in calibration)
    quantizing.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    quantizing.inference_input_type = quantizing.inference_output_type = outside
    return quantizing.convert()


make_repeatable(7)
tiny = keras.Sequential(
    [
        layers.InputLayer((28, 28, 1)),
        layers.Conv2D(2, 5, strides=4, activation="relu"),
        layers.Flatten(),
        layers.Dense(10),
    ]
)
(FOLDER / "tiny_float32.tflite").write_bytes(converter(tiny).convert())
(FOLDER / "tiny_int8.tflite").write_bytes(int8(tiny))
(FOLDER / "tiny_int8_float_io.tflite").write_bytes(int8(tiny, tf.float32))
(FOLDER / "tiny_int8_uint8_io.tflite").write_bytes(int8(tiny, tf.uint8))

make_repeatable(7)
image = keras.Input((28, 28, 1))
first = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=4, use_bias=False)(image))
between = layers.DepthwiseConv2D(3, padding="same", activation="relu")(layers.ReLU()(first))
added = layers.Add()([layers.Conv2D(4, 1)(between), first])
pooled = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(layers.Concatenate()([added, between])))
depthwise = keras.Model(image, layers.Softmax()(layers.Dense(10)(pooled)))
(FOLDER / "depthwise_int8.tflite").write_bytes(int8(depthwise))
