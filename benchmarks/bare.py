"""The mobile target's work as a bare script, without this project's plan, store, checks and process.

    PYTHONPATH=. python -P benchmarks/bare.py OUT.tflite

The same data, network, augmentation, epochs and pruning schedule, and as many calibration samples
(the first ones, not a balanced draw); then the file is evaluated on the 10,000 test images and
timed. `pipeline.py` compares the wall time of a cold build with this.
"""

from __future__ import annotations

import os
import sys
import time

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

from pipeline.workloads import mnist

TRAIN_EPOCHS, PRUNE_EPOCHS, BATCH = mnist.TRAINING.epochs, 5, mnist.TRAINING.batch_size
SCHEDULE = {"initial_sparsity": 0.5, "final_sparsity": 0.85, "begin_step": 0, "end_step": 1040, "frequency": 52}


def batches(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    prepared, targets = tf.constant(images), tf.constant(labels)

    def batch(step, index):
        draw = tf.stack([tf.constant(0, tf.int32), tf.cast(step, tf.int32)])
        return mnist.augment(tf.gather(prepared, index), draw), tf.gather(targets, index)

    order = tf.data.Dataset.range(len(images)).shuffle(len(images), seed=0, reshuffle_each_iteration=True)
    return order.batch(BATCH).repeat().enumerate().map(batch, num_parallel_calls=1).prefetch(4)


def fit(model, data, validation, epochs: int, rate: float, steps: int, callbacks=()) -> None:
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps * epochs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"])
    model.fit(
        batches(*data),
        epochs=epochs,
        steps_per_epoch=steps,
        validation_data=validation,
        validation_batch_size=1000,
        callbacks=list(callbacks),
        verbose=0,
    )


def main(out: str) -> None:
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    data, validation, test = (
        (mnist.preprocess(images), labels) for images, labels in map(mnist.load, ("train", "validation", "test"))
    )
    steps = -(-len(data[0]) // BATCH)
    model = mnist.build_model()
    fit(model, data, validation, TRAIN_EPOCHS, mnist.TRAINING.learning_rate, steps)

    sparsity = tfmot.sparsity.keras
    schedule = sparsity.PolynomialDecay(**SCHEDULE)

    def wrap(layer):
        kernel = max((weight.size for weight in layer.get_weights() if weight.ndim > 1), default=0)
        return sparsity.prune_low_magnitude(layer, pruning_schedule=schedule) if kernel >= 1000 else layer

    pruned = keras.models.clone_model(model, clone_function=wrap)
    fit(pruned, data, validation, PRUNE_EPOCHS, 1e-3, steps, [sparsity.UpdatePruningStep()])
    stripped = sparsity.strip_pruning(pruned)

    spec = tf.TensorSpec([1, *mnist.INPUT_SHAPE], tf.float32)
    function = tf.function(lambda batch: stripped(batch, training=False), input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], stripped)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in data[0][:500])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    content = converter.convert()
    with open(out, "wb") as stream:
        stream.write(content)

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    entry, exit_ = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = entry["quantization"]
    correct, times = 0, []
    for image, label in zip(*test, strict=True):
        quantized = np.clip(np.rint(image[np.newaxis] / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], quantized)
        interpreter.invoke()
        correct += int(interpreter.get_tensor(exit_["index"]).argmax() == label)
    for _ in range(20_000):
        started = time.perf_counter_ns()
        interpreter.invoke()
        times.append(time.perf_counter_ns() - started)
    print(f"accuracy {correct / len(test[1]):.4f}, p50 {np.median(times) / 1000:.1f} µs, {len(content)} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
