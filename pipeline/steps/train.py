"""Train the workload's float model from its initial weights with Adam (Kingma, Ba 2015).

The loss is sparse categorical cross-entropy on logits; the learning rate is constant or
follows half a cosine to zero (Loshchilov, Hutter 2017). Batches are drawn by a seeded
shuffle and augmented by a seeded draw, so two runs with one seed give equal weights.

`weights` starts from a file of pre-trained weights instead, as far as its layers fit by name and shape.
Nothing is downloaded: keras.applications and others publish such files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.steps._given_file import GivenFile

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES: str | None = None
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "numpy")


class Config(BaseModel):
    """Fields left out take the workload's own TRAINING settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int | None = Field(None, gt=0, le=10_000, description="Passes over the training split.")
    batch_size: int | None = Field(None, gt=0, le=65_536, description="Samples a step.")
    learning_rate: float | None = Field(None, gt=0, le=10, description="Adam's highest learning rate.")
    learning_rate_schedule: Literal["constant", "cosine"] | None = Field(
        None, description="Constant, or cosine decay to zero over the whole run."
    )
    weights: GivenFile | None = Field(
        None,
        description="Pre-trained weights to begin with, by the layers' names and shapes: .h5, .weights.h5 or .keras; "
        "relative to the project's root.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of weights, order and augmentation.")


def run(source: Path | None, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write `model.h5` (the trained model) into `out`; return the losses of each epoch.

    With `weights`, also which layers the file gave, and which were `left` as initialized: {layer: reason}.
    Raises BadModelFile for a file that holds no weights, or fits no layer.
    """
    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps._fit import fit, save_model
    from pipeline.steps._weights import give_weights

    make_repeatable(config.seed)
    model = workload.build_model()
    initial = {"weights": give_weights(model, config.weights)} if config.weights else {}
    given = config.model_dump(exclude={"seed", "weights"}, exclude_none=True)
    facts = fit(model, workload, workload.training.model_copy(update=given), config.seed, report)
    save_model(model, out)
    summary: list[str] = []
    model.summary(print_fn=lambda line, **kwargs: summary.append(line))
    return {"parameters": model.count_params(), "summary": summary, **initial, **facts}
