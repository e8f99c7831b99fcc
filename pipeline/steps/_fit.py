"""What every training step shares: the input pipeline, one `fit`, saving and loading.

The leading underscore keeps this module out of the steps' registry.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import BadModelFile, BadWorkload
from pipeline.keras_legacy import keras
from pipeline.steps._batches import predicted, training_batches, validation_arguments
from pipeline.workload import Training, Workload

MODEL_FILE = "model.h5"
RATE = "learning_rate"  # in the history: the optimizer's at each epoch's last step


def fit(
    model: Any,
    workload: Workload,
    settings: Training,
    seed: int,
    report: Any,
    callbacks: tuple[Any, ...] = (),
) -> dict[str, Any]:
    """Compile and fit `model`; return the per-epoch history, the learning rate included."""
    if model.output_shape[1:] != workload.output_shape:
        raise BadWorkload(
            f"{workload.source}: the model's output does not fit LABELS",
            received=f"output shape {list(model.output_shape)}",
            expected=f"{['batch', *workload.output_shape]}: {workload.task.DESCRIPTION}",
            fix="correct build_model(), LABELS or TASK",
        )
    steps = steps_per_epoch(workload, settings)
    rate: Any = settings.learning_rate
    if settings.learning_rate_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps * settings.epochs)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        **workload.task.learning(keras),
    )
    history = model.fit(
        training_batches(workload, settings.batch_size, seed),
        epochs=settings.epochs,
        steps_per_epoch=steps,
        **validation_arguments(workload),
        callbacks=[Progress(report, settings.epochs, steps), *callbacks],
        verbose=0,
    ).history
    return {
        "settings": settings.model_dump(),
        "steps": steps * settings.epochs,
        # A rate that has decayed is far below the sixth decimal.
        "history": {
            name: [float(f"{v:.6g}") if name == RATE else round(float(v), 6) for v in values]
            for name, values in history.items()
        },
    }


def steps_per_epoch(workload: Workload, settings: Training) -> int:
    """Batches an epoch, the last and smaller one included."""
    return -(-len(workload.load("train")[0]) // settings.batch_size)


def validation_score(model: Any, workload: Workload) -> float:
    """Return the workload's metric of the model on the validation split."""
    samples, labels = workload.load("validation")
    parts = [workload.task.evidence(outputs, prepared) for prepared, outputs in predicted(model, samples, workload)]
    scores = workload.task.scores(np.concatenate(parts), labels, workload.threshold)
    return round(scores[workload.metric], 6)


def save_model(model: Any, out: Path) -> None:
    """Save the model without its optimizer: HDF5 keeps the legacy Keras layers as they are."""
    model.save(out / MODEL_FILE, include_optimizer=False)


def load_model(source: Path) -> Any:
    """Load what `save_model` wrote into the stage folder `source`. Raises BadModelFile for a frozen graph."""
    from pipeline.steps._frozen import REASON_FILE

    if (source / REASON_FILE).is_file():
        raise BadModelFile(
            "this step works on legacy Keras layers, which the loaded model cannot be rebuilt from",
            received=(source / REASON_FILE).read_text(encoding="utf-8"),
            expected="a model of layers that legacy Keras has as well, which compute the same there",
            fix="let a quantize or quantize_edge step follow the load step, which take the model as it is, or build "
            "the network in the workload's build_model() from tf_keras layers and train it there",
        )
    return keras.models.load_model(source / MODEL_FILE, compile=False)


def load_inference(source: Path) -> Any:
    """Load a model that is only computed, and converted: legacy Keras, or a frozen graph."""
    from pipeline.steps._frozen import GRAPH_FILE, load_frozen

    return load_frozen(source) if (source / GRAPH_FILE).is_file() else load_model(source)


class Progress(keras.callbacks.Callback):
    """Tells `report` how far a fit is: a dict with epoch, epochs, share done, loss, accuracy.

    Into the history goes what the optimizer's learning rate was, which Keras leaves out.
    """

    def __init__(self, report: Any, epochs: int, steps: int):
        super().__init__()
        self.report, self.epochs, self.steps, self.epoch = report, epochs, steps, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if batch % 20 == 0:
            done = (self.epoch + (batch + 1) / self.steps) / self.epochs
            self.report({"epoch": self.epoch + 1, "epochs": self.epochs, "done": done, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:  # the dict that Keras then hands on to its History
            logs[RATE] = float(keras.backend.get_value(self.model.optimizer.learning_rate))
