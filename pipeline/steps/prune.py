"""Pruning and fine-tuning through TensorFlow Model Optimization's wrappers.

    method     what becomes zero                          when
    magnitude  the smallest weights                       share rises: Zhu, Gupta 2017, "To prune, or not
                                                          to prune" (arXiv:1710.01878); or constant
    m_by_n     the m smallest of every n neighbours       all at the first step: Zhou et al. 2021,
                                                          N:M sparsity (arXiv:2102.04010)
    block      blocks of the smallest mean or maximum     as magnitude: Narang, Undersander, Diamos
                                                          2017, block sparsity (arXiv:1711.02782)

Neighbours and blocks are those of the `.tflite`, see `_sparsity.py`. A layer that the method cannot
prune stays dense and is named with the reason; a model without any other is refused.

TFMOT updates the masks every 100 steps from a step that the caller guesses, so that a
short run ends, without a word, with no zeros at all. Here begin, end and frequency come
from the real number of steps, and the achieved sparsity is checked before anything is kept.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from pipeline.errors import StepFailed
from pipeline.steps._fine_tuning import FineTuning
from pipeline.steps._promises import SPARSITY_TOLERANCE
from pipeline.steps._sparsity import kernel_variables, pattern_zeros, why_dense, zero_share

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "numpy")

MASK_UPDATES_MIN = 20
_BLOCK_FIELDS = ("block_size", "block_pooling_type")
_UNUSED = {
    "magnitude": ("m", "n", *_BLOCK_FIELDS),
    "m_by_n": ("schedule", "initial_sparsity", "final_sparsity", "ramp_share", *_BLOCK_FIELDS),
    "block": ("m", "n"),
}


class Config(FineTuning):
    """Which weights are removed, how far and how gently."""

    method: Literal["magnitude", "m_by_n", "block"] = Field("magnitude", description="What is removed together.")
    schedule: Literal["polynomial", "constant"] = Field(
        "polynomial", description="The share rises from initial to final sparsity, or is final from the first step on."
    )
    m: int = Field(2, gt=0, le=31, description="m_by_n: zeros among n neighbours along the inputs.")
    n: int = Field(4, gt=1, le=32, description="m_by_n: neighbours along the inputs that share m zeros.")
    block_size: tuple[PositiveInt, PositiveInt] = Field(
        (1, 4), description="block: outputs and inputs of a dense layer that become zero together."
    )
    block_pooling_type: Literal["AVG", "MAX"] = Field(
        "AVG", description="block: the size of a block's weights by which blocks are compared."
    )
    final_sparsity: float = Field(0.8, gt=0, lt=1, description="Share of zeros in each pruned kernel at the end.")
    initial_sparsity: float = Field(0.3, ge=0, lt=1, description="Share of zeros at the first mask update.")
    epochs: int = Field(6, ge=2, le=10_000, description="Epochs of fine-tuning; the last one keeps the masks fixed.")
    ramp_share: float = Field(
        0.5, gt=0, le=1, description="Share of the steps in which sparsity rises; at most all but the last epoch."
    )
    kernel_elements_min: int = Field(
        1000, ge=0, description="Kernels with fewer weights stay dense: they hold next to nothing and cost accuracy."
    )
    skip_layers: tuple[str, ...] = Field((), description="Names of layers that are left dense.")

    @model_validator(mode="after")
    def _fields_fit(self) -> Config:
        unused = set(_UNUSED[self.method])
        if self.schedule == "constant":
            unused.add("initial_sparsity")
        for field in sorted(unused):
            if getattr(self, field) != Config.model_fields[field].default:
                raise ValueError(
                    f"{field} does nothing with method {self.method!r} and schedule {self.schedule!r}; "
                    "expected it to be left out"
                )
        if self.m >= self.n:
            raise ValueError(f"m {self.m} zeros leave nothing of n {self.n} neighbours; expected m below n")
        if "initial_sparsity" not in unused and self.initial_sparsity > self.final_sparsity:
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
    or breaks its pattern, or when the model has no layer that TFMOT can prune so.
    """
    from pipeline.keras_legacy import keras, make_repeatable

    from tensorflow_model_optimization.sparsity import keras as sparsity  # isort: skip

    from pipeline.steps._fit import fit, load_model, save_model, steps_per_epoch
    from pipeline.steps._promises import kernel_zeros, kernels_of

    make_repeatable(config.seed)
    model = load_model(source)
    schedule, parameters = pruning_parameters(config, steps_per_epoch(workload, config.training()))
    pruned, left_dense = prunable_layers(model, config)

    def wrap(layer: Any) -> Any:
        return sparsity.prune_low_magnitude(layer, **parameters) if layer.name in pruned else layer

    class Sparsity(keras.callbacks.Callback):
        """Puts the share of zeros in the pruned kernels into the history."""

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if logs is not None:  # the dict that Keras then hands on to its History
                logs["sparsity"] = zero_share(wrapper.layer for wrapper in update.prunable_layers)

    wrapped = keras.models.clone_model(model, clone_function=wrap)
    update = sparsity.UpdatePruningStep()
    # In this order: at an epoch's end the first masks the weights, which the optimizer has just moved off zero.
    facts = fit(wrapped, workload, config.training(), config.seed, report, (update, Sparsity()))
    stripped = sparsity.strip_pruning(wrapped)
    zeros = _zeros(stripped, pruned, config)
    save_model(stripped, out)
    return {
        "method": config.method,
        "schedule": schedule,
        "zero_fraction": zeros,
        "left_dense": left_dense,
        # Held against every later file by verify.py: zeros are easily lost on the way.
        "promises": {"kernel_zeros": kernel_zeros(kernels_of(stripped).values())},
        **facts,
    }


def pruning_parameters(config: Config, steps_per_epoch: int) -> tuple[dict[str, int], dict[str, Any]]:
    """Return when the masks are updated, and what TFMOT's `prune_low_magnitude` takes."""
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity, PolynomialDecay

    if config.method == "m_by_n":  # whatever the schedule, TFMOT sets these masks once
        return {"begin_step": 1, "end_step": 1, "frequency": 1}, {"sparsity_m_by_n": (config.m, config.n)}
    when = mask_schedule(steps_per_epoch, config.epochs, config.ramp_share)
    if config.schedule == "constant":
        schedule = ConstantSparsity(config.final_sparsity, **when)
    else:
        schedule = PolynomialDecay(config.initial_sparsity, config.final_sparsity, **when)
    parameters: dict[str, Any] = {"pruning_schedule": schedule}
    if config.method == "block":  # Keras has a kernel's inputs first, the file its outputs
        parameters |= {"block_size": config.block_size[::-1], "block_pooling_type": config.block_pooling_type}
    return when, parameters


def prunable_layers(model: Any, config: Config) -> tuple[list[str], dict[str, str]]:
    """Return the names of the layers that are pruned, and {name: reason} of those with kernels that stay dense."""
    names = [layer.name for layer in model.layers]
    unknown = sorted(set(config.skip_layers) - set(names))
    if unknown:
        raise StepFailed(
            "the prune step is told to skip layers that the model does not have",
            received=", ".join(unknown),
            expected=f"names among {', '.join(names)}",
            fix="correct `skip_layers` of the prune step",
        )
    with_kernel = [layer for layer in model.layers if any(len(weight.shape) > 1 for weight in layer.weights)]
    reasons = {layer.name: why_dense(layer, config) for layer in with_kernel}
    found = [name for name, reason in reasons.items() if not reason]
    if not found:
        raise StepFailed(
            f"the model has no layer that can be pruned by {config.method}",
            received="; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or f"layers {', '.join(names)}",
            expected=f"at least one convolution or dense layer of {config.kernel_elements_min} weights or more",
            fix="take the prune step out of the recipe, shorten `skip_layers`, lower `kernel_elements_min`, "
            "or choose another method",
        )
    return found, {name: reason for name, reason in reasons.items() if reason}


def _zeros(model: Any, pruned: list[str], config: Config) -> dict[str, float]:
    """Return, per pruned layer, the share of zeros that follow the pattern; refuse one that is not as asked."""
    found: dict[str, float] = {}
    count = pattern_zeros(config)
    asked = config.m / config.n if config.method == "m_by_n" else config.final_sparsity
    for name in pruned:
        kernels = [variable.numpy() for variable in kernel_variables(model.get_layer(name))]
        size = sum(kernel.size for kernel in kernels)
        found[name] = sum(count(kernel) for kernel in kernels) / size
        # A small kernel cannot hit the share more closely than one element, or one block.
        grain = math.prod(config.block_size) if config.method == "block" else 1
        tolerance = 0.5 / size if config.method == "m_by_n" else max(SPARSITY_TOLERANCE, grain / size)
        if abs(found[name] - asked) > tolerance:
            raise StepFailed(
                f"the kernel of {name} did not reach the sparsity that was asked for",
                received=f"{found[name]:.4f} zeros in {size} weights that follow the method {config.method}",
                expected=f"{asked} ± {tolerance:.4f}",
                fix="raise `epochs` of the prune step, so that its schedule can end",
            )
    return found
