"""Magnitude pruning with a polynomial schedule, then fine-tuning: Zhu, Gupta 2017, "To prune,
or not to prune" (arXiv:1710.01878), through TensorFlow Model Optimization's wrappers.

TFMOT updates the masks every 100 steps from a step that the caller guesses, so that a
short run ends, without a word, with no zeros at all. Here begin, end and frequency come
from the real number of steps, and the achieved sparsity is checked before anything is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import StepFailed

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "numpy")

MASK_UPDATES_MIN = 20
SPARSITY_TOLERANCE = 0.005


class Config(BaseModel):
    """How far and how gently weights are removed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    final_sparsity: float = Field(0.8, gt=0, lt=1, description="Share of zeros in each pruned kernel at the end.")
    initial_sparsity: float = Field(0.3, ge=0, lt=1, description="Share of zeros at the first mask update.")
    epochs: int = Field(6, ge=2, le=10_000, description="Epochs of fine-tuning; the last one keeps the masks fixed.")
    ramp_share: float = Field(
        0.5, gt=0, le=1, description="Share of the steps in which sparsity rises; at most all but the last epoch."
    )
    batch_size: int = Field(128, gt=0, le=65_536, description="Samples a step.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Adam's highest learning rate.")
    learning_rate_schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="Constant, or cosine decay to zero over the whole run."
    )
    kernel_elements_min: int = Field(
        1000, ge=0, description="Kernels with fewer weights stay dense: they hold next to nothing and cost accuracy."
    )
    skip_layers: tuple[str, ...] = Field((), description="Names of layers that are left dense.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of order and augmentation.")

    @model_validator(mode="after")
    def _schedule_rises(self) -> Config:
        if self.initial_sparsity > self.final_sparsity:
            raise ValueError(
                f"initial_sparsity {self.initial_sparsity} is above final_sparsity {self.final_sparsity}; "
                "expected at most final_sparsity"
            )
        return self


def mask_schedule(steps_per_epoch: int, epochs: int, ramp_share: float) -> dict[str, int]:
    """Return begin_step, end_step and frequency: at least 20 updates, the last at least an epoch early.

    TFMOT updates the masks where (step - begin) is a multiple of frequency and step <= end, so
    end is placed on such a step. Raises StepFailed when the run is too short for 20 updates.
    """
    last = min(int(steps_per_epoch * epochs * ramp_share), steps_per_epoch * (epochs - 1))
    frequency = min(100, last // MASK_UPDATES_MIN)
    if frequency < 1:
        raise StepFailed(
            "the pruning run is too short for its schedule",
            received=f"{epochs} epochs of {steps_per_epoch} steps",
            expected=f"at least {MASK_UPDATES_MIN} steps in which sparsity rises, before the last epoch",
            fix="raise `epochs` or lower `batch_size` of the prune step",
        )
    return {"begin_step": 0, "end_step": last // frequency * frequency, "frequency": frequency}


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the pruned, stripped `model.h5` into `out`; return schedule, losses and zeros per kernel.

    Raises StepFailed when a kernel's share of zeros is not within 0.5 points of what was asked,
    or when the model has no layer that TFMOT can prune.
    """
    from pipeline.keras_legacy import keras, make_repeatable

    from tensorflow_model_optimization.sparsity import keras as sparsity  # isort: skip

    from pipeline.steps._fit import fit, load_model, save_model, steps_per_epoch
    from pipeline.workload import Training

    make_repeatable(config.seed)
    model = load_model(source)
    settings = Training(**config.model_dump(include=set(Training.model_fields)))
    schedule = mask_schedule(steps_per_epoch(workload, settings), config.epochs, config.ramp_share)
    polynomial = sparsity.PolynomialDecay(
        initial_sparsity=config.initial_sparsity, final_sparsity=config.final_sparsity, **schedule
    )
    pruned = prunable_layers(model, config)

    def wrap(layer: Any) -> Any:
        if layer.name not in pruned:
            return layer
        return sparsity.prune_low_magnitude(layer, pruning_schedule=polynomial)

    wrapped = keras.models.clone_model(model, clone_function=wrap)
    facts = fit(wrapped, workload, settings, config.seed, report, (sparsity.UpdatePruningStep(),))
    stripped = sparsity.strip_pruning(wrapped)
    zeros, promised = _zeros(stripped, pruned, config.final_sparsity)
    save_model(stripped, out)
    return {
        "schedule": schedule,
        "zero_fraction": zeros,
        # Held against every later file by verify.py: zeros are easily lost on the way.
        "promises": {"kernel_zeros": promised},
        **facts,
    }


def prunable_layers(model: Any, config: Config) -> list[str]:
    """Return the names of the layers that TFMOT can prune and the config does not leave dense."""
    from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

    names = [layer.name for layer in model.layers]
    unknown = sorted(set(config.skip_layers) - set(names))
    if unknown:
        raise StepFailed(
            "the prune step is told to skip layers that the model does not have",
            received=", ".join(unknown),
            expected=f"names among {', '.join(names)}",
            fix="correct `skip_layers` of the prune step",
        )
    found = [
        layer.name
        for layer in model.layers
        if layer.name not in config.skip_layers
        and PruneRegistry.supports(layer)
        and PruneRegistry._weight_names(layer)
        and sum(weight.size for weight in layer.get_weights() if weight.ndim > 1) >= config.kernel_elements_min
    ]
    if not found:
        raise StepFailed(
            "the model has no layer that can be pruned",
            received=f"layers {', '.join(names)}",
            expected=f"at least one convolution or dense layer of {config.kernel_elements_min} weights or more",
            fix="take the prune step out of the recipe, shorten `skip_layers`, or lower `kernel_elements_min`",
        )
    return found


def _zeros(model: Any, pruned: list[str], asked: float) -> tuple[dict[str, float], list[tuple[int, float]]]:
    """Check the share of zeros of each pruned layer; return it, and (elements, share asked for) of each kernel."""
    zeros: dict[str, float] = {}
    promised: list[tuple[int, float]] = []
    for layer in model.layers:
        if layer.name not in pruned:
            continue
        kernels = [weight for weight in layer.get_weights() if weight.ndim > 1]
        size = sum(kernel.size for kernel in kernels)
        zeros[layer.name] = sum(int((kernel == 0).sum()) for kernel in kernels) / size
        promised += [(int(kernel.size), asked) for kernel in kernels if (kernel == 0).any()]
        # A small kernel cannot hit the share more closely than one element.
        if abs(zeros[layer.name] - asked) > max(SPARSITY_TOLERANCE, 1 / size):
            raise StepFailed(
                f"the kernel of {layer.name} did not reach the sparsity that was asked for",
                received=f"{zeros[layer.name]:.4f} zeros in {size} weights",
                expected=f"{asked} ± {SPARSITY_TOLERANCE}",
                fix="raise `epochs` of the prune step, so that its schedule can end",
            )
    return zeros, promised
