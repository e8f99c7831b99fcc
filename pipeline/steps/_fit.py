"""What every training step shares: the input pipeline, one `fit`, saving and loading.

The leading underscore keeps this module out of the steps' registry.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.errors import BadWorkload
from pipeline.keras_legacy import keras, tf
from pipeline.workload import Training, Workload

MODEL_FILE = "model.h5"


def fit(
    model: Any,
    workload: Workload,
    settings: Training,
    seed: int,
    report: Any,
    callbacks: tuple[Any, ...] = (),
) -> dict[str, Any]:
    """Compile and fit `model`; return the per-epoch history and the validation accuracy."""
    if model.output_shape[1:] != (len(workload.labels),):
        raise BadWorkload(
            f"{workload.source}: the model's output does not fit LABELS",
            received=f"output shape {list(model.output_shape)}",
            expected=f"[batch, {len(workload.labels)}], a logit for each of LABELS",
            fix="correct build_model() or LABELS",
        )
    steps = steps_per_epoch(workload, settings)
    rate: Any = settings.learning_rate
    if settings.learning_rate_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps * settings.epochs)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images, labels = workload.load("validation")
    history = model.fit(
        training_batches(workload, settings.batch_size, seed),
        epochs=settings.epochs,
        steps_per_epoch=steps,
        validation_data=(workload.preprocess(images), labels),
        validation_batch_size=1000,
        callbacks=[Progress(report, settings.epochs, steps), *callbacks],
        verbose=0,
    ).history
    return {
        "settings": settings.model_dump(),
        "steps": steps * settings.epochs,
        "history": {name: [round(float(v), 6) for v in values] for name, values in history.items()},
    }


def steps_per_epoch(workload: Workload, settings: Training) -> int:
    """Batches an epoch, the last and smaller one included."""
    return -(-len(workload.load("train")[0]) // settings.batch_size)


def training_batches(workload: Workload, batch_size: int, seed: int) -> Any:
    """Endless (float32 batch, labels), reshuffled each epoch, augmented if the workload can.

    Whole batches are gathered and resampled at once: per-image mapping costs more than
    training LeNet-5 does.
    """
    samples, labels = workload.load("train")
    count = len(samples)
    prepared = tf.constant(workload.preprocess(samples))
    targets = tf.constant(labels)

    def batch(step: Any, index: Any) -> Any:
        chosen = tf.gather(prepared, index)
        if workload.augment:
            draw = tf.stack([tf.constant(seed, tf.int32), tf.cast(step, tf.int32)])
            chosen = workload.augment(chosen, draw)
        return chosen, tf.gather(targets, index)

    order = tf.data.Dataset.range(count).shuffle(count, seed=seed, reshuffle_each_iteration=True)
    batches = order.batch(batch_size).repeat().enumerate()
    return batches.map(batch, num_parallel_calls=1).prefetch(4)


def validation_accuracy(model: Any, workload: Workload) -> float:
    """Return the share of the validation split that the model classifies correctly, 0 to 1."""
    samples, labels = workload.load("validation")
    logits = model.predict(workload.preprocess(samples), batch_size=1000, verbose=0)
    return round(float((logits.argmax(axis=1) == labels).mean()), 6)


def save_model(model: Any, out: Path) -> None:
    """Save the model without its optimizer: HDF5 keeps the legacy Keras layers as they are."""
    model.save(out / MODEL_FILE, include_optimizer=False)


def load_model(source: Path) -> Any:
    """Load what `save_model` wrote into the stage folder `source`."""
    return keras.models.load_model(source / MODEL_FILE, compile=False)


class Progress(keras.callbacks.Callback):
    """Tells `report` how far a fit is: a dict with epoch, epochs, share done, loss, accuracy."""

    def __init__(self, report: Any, epochs: int, steps: int):
        super().__init__()
        self.report, self.epochs, self.steps, self.epoch = report, epochs, steps, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if batch % 20 == 0:
            done = (self.epoch + (batch + 1) / self.steps) / self.epochs
            self.report({"epoch": self.epoch + 1, "epochs": self.epochs, "done": done, **(logs or {})})
