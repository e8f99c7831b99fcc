"""Transfer learning: a model trained on other labels learns this workload's (Yosinski et al. 2014,
"How transferable are features in deep neural networks?", arXiv:1411.1792).

The last dense layer, and what follows it, gives way to a new one with a logit for each label. Phase
one trains the new head alone: its first gradients, large and random, would spoil the features. Phase
two trains on with a lower learning rate, all layers or the last few. Frozen batch normalization runs in
inference mode and keeps its statistics.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import StepFailed

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "numpy")
GIVES_BASELINE = True  # the first model of this workload's labels is what later files are compared with


class Config(BaseModel):
    """How long and how gently each phase trains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    head_epochs: int = Field(20, gt=0, le=10_000, description="Epochs of phase one, in which the new head learns.")
    head_learning_rate: float = Field(3e-3, gt=0, le=10, description="Adam's highest learning rate in phase one.")
    epochs: int = Field(40, gt=0, le=10_000, description="Epochs of phase two.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Adam's highest learning rate in phase two.")
    unfreeze_layers: int | None = Field(
        None,
        ge=0,
        description="Last layers with weights that phase two trains, the head counted; none: all; 0: no phase two.",
    )
    batch_size: int = Field(32, gt=0, le=65_536, description="Samples a step.")
    learning_rate_schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="Constant, or cosine decay to zero over each phase."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the head's weights, of order and augmentation.")


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the model with the new head as `model.h5` into `out`; return what each phase trained and reached.

    Raises StepFailed when the model takes other inputs than the workload gives, or has no head that
    can be replaced.
    """
    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps._fit import fit, load_model, save_model, validation_score
    from pipeline.workload import Training

    make_repeatable(config.seed)
    model, replaced = with_new_head(load_model(source), workload)
    layers = [layer for layer in model.layers if layer.weights]
    last = len(layers) if config.unfreeze_layers is None else config.unfreeze_layers
    plan = [(layers[-1:], config.head_epochs, config.head_learning_rate)]
    if last:
        plan.append((layers[-last:], config.epochs, config.learning_rate))
    total, before, phases = sum(epochs for _, epochs, _ in plan), 0, []
    for trained, epochs, rate in plan:
        for layer in layers:
            layer.trainable = layer in trained
        settings = Training(
            epochs=epochs,
            batch_size=config.batch_size,
            learning_rate=rate,
            learning_rate_schedule=config.learning_rate_schedule,
        )
        facts = fit(model, workload, settings, config.seed, _part_of(report, before, total))
        phases.append({"trained": [layer.name for layer in trained], **facts})
        before += epochs
    model.trainable = True  # it is saved with the layers: a later step would fine-tune the head alone
    save_model(model, out)
    return {
        "replaced": replaced,
        "parameters": model.count_params(),
        f"validation_{workload.metric}": validation_score(model, workload),
        "phases": phases,
    }


def with_new_head(model: Any, workload: Workload) -> tuple[Any, list[str]]:
    """Return the model with a new last dense layer, and the names of the layers that gave way."""
    from pipeline.keras_legacy import keras

    if model.input_shape != (None, *workload.input_shape):
        raise StepFailed(
            "the model that comes in does not take this workload's samples",
            received=f"a model for inputs {list(model.input_shape)}",
            expected=f"{[None, *workload.input_shape]}",
            fix="start from a model of the same INPUT_SHAPE, or scale the samples in the workload's preprocess()",
        )
    if len(workload.output_shape) != 1:
        raise StepFailed(
            "a transfer replaces the head of a network that gives values, and this workload's task has no such head",
            received=f"outputs {list(workload.output_shape)}",
            expected="a task whose outputs are one row of values, such as classification",
            fix="take the transfer step out of the recipe",
        )
    kinds = keras.layers
    dense = [place for place, layer in enumerate(model.layers) if isinstance(layer, kinds.Dense)]
    behind = model.layers[dense[-1] + 1 :] if dense else model.layers[-1:]
    others = [layer for layer in behind if not isinstance(layer, (kinds.Activation, kinds.Softmax, kinds.Dropout))]
    if not dense or others:
        raise StepFailed(
            "the model that comes in has no head that can be replaced",
            received=f"a model that ends with {', '.join(f'{e.name} ({type(e).__name__})' for e in others or behind)}",
            expected="a dense layer at the end, followed by nothing but an activation or dropout",
            fix="start from a model that ends with a dense layer",
        )
    old = model.layers[dense[-1]]
    head = kinds.Dense.from_config(
        {**old.get_config(), "units": math.prod(workload.output_shape), "activation": "linear"}
    )
    return keras.Model(model.inputs, head(old.input)), [old.name, *(layer.name for layer in behind)]


def _part_of(report: Any, before: int, total: int) -> Any:
    """Return a `report` for one phase that counts on from the epochs before it."""

    def reported(progress: dict[str, Any]) -> None:
        epoch = before + progress["epoch"]
        share = progress["done"] * progress["epochs"]
        report({**progress, "epoch": epoch, "epochs": total, "done": (before + share) / total})

    return reported
