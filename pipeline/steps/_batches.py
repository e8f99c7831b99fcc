"""Batches for training and validation: gathered in memory from an array, streamed from whatever is no array.

Only indices are shuffled, so that the order is the same either way and memory does not grow with the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.data.streaming import chunks, is_lazy
from pipeline.keras_legacy import tf

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload

BATCH = 1000  # samples of a validation batch in memory
STREAMED_BATCH = 250
READERS = 2  # batches that are read and preprocessed at a time


def training_batches(workload: Workload, batch_size: int, seed: int) -> Any:
    """Endless (float32 batch, labels), reshuffled each epoch, augmented if the workload can.

    Whole batches are gathered and resampled at once: per-image mapping costs more than
    training LeNet-5 does.
    """
    samples, labels = workload.load("train")
    count = len(samples)
    targets = tf.constant(labels)
    gather = _streamed(samples, workload) if is_lazy(samples) else _gathered(samples, workload)

    def batch(step: Any, index: Any) -> Any:
        chosen = gather(index)
        if workload.augment:
            draw = tf.stack([tf.constant(seed, tf.int32), tf.cast(step, tf.int32)])
            chosen = workload.augment(chosen, draw)
        return chosen, workload.task.targets(chosen, tf.gather(targets, index))

    order = tf.data.Dataset.range(count).shuffle(count, seed=seed, reshuffle_each_iteration=True)
    batches = order.batch(batch_size).repeat().enumerate()
    return batches.map(batch, num_parallel_calls=READERS if is_lazy(samples) else 1).prefetch(4)


def _gathered(samples: np.ndarray, workload: Workload) -> Any:
    prepared = tf.constant(workload.preprocess(samples))
    return lambda index: tf.gather(prepared, index)


def _streamed(samples: Any, workload: Workload) -> Any:
    def read(index: Any) -> Any:
        return workload.preprocess(samples[index])

    def gather(index: Any) -> Any:
        chosen = tf.numpy_function(read, [index], tf.float32, stateful=False)
        return tf.ensure_shape(chosen, [None, *workload.input_shape])

    return gather


def validation_arguments(workload: Workload) -> dict[str, Any]:
    """Return what `model.fit` is given to validate with."""
    samples, labels = workload.load("validation")
    if not is_lazy(samples):
        prepared = workload.preprocess(samples)
        targets = workload.task.targets(prepared, labels)
        return {"validation_data": (prepared, targets), "validation_batch_size": BATCH}
    gather, known = _streamed(samples, workload), tf.constant(labels)

    def batch(index: Any) -> Any:
        chosen = gather(index)
        return chosen, workload.task.targets(chosen, tf.gather(known, index))

    order = tf.data.Dataset.range(len(samples)).batch(STREAMED_BATCH)
    return {"validation_data": order.map(batch, num_parallel_calls=READERS).prefetch(2)}


def predicted(model: Any, samples: Any, workload: Workload) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (preprocessed samples, the model's outputs), all at once for an array, else chunk by chunk."""
    for part in chunks(samples, workload):
        prepared = workload.preprocess(samples[part])
        yield prepared, model.predict(prepared, batch_size=BATCH, verbose=0)
