"""Kernels on a grid of a few bits, trained as such: learned step size quantization (Esser et al. 2020,
arXiv:1902.08153) with straight-through rounding (Bengio, Léonard, Courville 2013, arXiv:1308.3432).
What is learned is the step's logarithm (Jain et al. 2020, arXiv:1903.08066): Adam's updates are then a
share of the step, however small it is.

Batch normalization is folded first and the channels are brought to equal ranges (`_fold.py`), so that
one step size for a whole kernel is enough: a `.tflite` then needs no scale for each channel. The float
model that comes in teaches its low-bit copy (`distill.py`), and zeros of its pruned kernels stay zero.
What goes out is a plain model whose kernels lie on their grids exactly; `quantize` makes an int8 file
of it, which `pack_int4` packs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline.errors import StepFailed
from pipeline.steps._fine_tuning import FineTuning

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "numpy")

_STEP_CANDIDATES = 36


class Config(FineTuning):
    """How coarse the grid is, and how the network learns to live on it."""

    bits: int = Field(4, ge=2, le=8, description="Bits of a weight; n bits have 2ⁿ − 1 values around zero.")
    epochs: int = Field(10, gt=0, le=10_000, description="Passes over the training split.")
    temperature: float = Field(4.0, gt=0, le=1000, description="Divides the logits of both in the soft part.")
    alpha: float = Field(0.7, ge=0, le=1, description="Weight of the float model's answers; the labels have the rest.")


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the `model.h5` with kernels on a grid into `out`; return validation accuracies and step sizes.

    Raises StepFailed when the model has no kernel of a convolution or a dense layer.
    """
    import numpy as np

    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps import distill
    from pipeline.steps._fit import fit, load_model, save_model, validation_score
    from pipeline.steps._fold import equalize, folded
    from pipeline.steps._promises import kernel_zeros, kernels_of, refuse_lost_zeros

    make_repeatable(config.seed)
    model = load_model(source)
    before = validation_score(model, workload)
    plain = folded(model)
    equalize(plain)
    student = folded(plain, lambda layer: low_bit_layer(layer, config.bits))
    kernels = [layer for layer in student.layers if hasattr(layer, "stands_for")]
    if not kernels:
        raise StepFailed(
            "the model has no kernel that the low_bit step can bring to few bits",
            received=", ".join(dict.fromkeys(type(layer).__name__ for layer in model.layers)),
            expected="a Conv2D or Dense layer",
            fix="take the low_bit step out of the recipe",
        )
    for layer in kernels:
        layer.keep_zeros()
        layer.log_step.assign(math.log(best_step_size(layer.kernel.numpy(), config.bits)))
    rounded = validation_score(student, workload)
    teaching = distill.Config(temperature=config.temperature, alpha=config.alpha)
    facts = fit(distill.learner(student, model, teaching, workload), workload, config.training(), config.seed, report)
    step_sizes = {}
    for layer in kernels:
        step_sizes[layer.name] = math.exp(layer.log_step.numpy())
        values = on_grid(layer.kernel.numpy(), step_sizes[layer.name], config.bits) * np.asarray(layer.kept, np.float32)
        plain.get_layer(layer.name).set_weights([values, *([layer.bias.numpy()] if layer.use_bias else [])])
    save_model(plain, out)
    zeros = kernel_zeros(kernels_of(plain).values())
    refuse_lost_zeros("low_bit", kernels_of(model).values(), kernels_of(plain).values(), "report the model")
    return {
        "promises": {"kernel_zeros": zeros},
        "step_sizes": step_sizes,
        f"float_validation_{workload.metric}": before,
        f"rounded_validation_{workload.metric}": rounded,  # before the training
        f"validation_{workload.metric}": validation_score(plain, workload),
        **facts,
    }


def on_grid(kernel: np.ndarray, step: float, bits: int) -> np.ndarray:
    """Return the kernel with each weight at the nearest of the 2^bits − 1 multiples of `step` around zero."""
    import numpy as np

    top = 2 ** (bits - 1) - 1
    return (np.clip(np.round(kernel / step), -top, top) * step).astype(kernel.dtype)


def best_step_size(kernel: np.ndarray, bits: int) -> float:
    """Return the step size, of some between 0.3 and 1 of the widest, with the least squared error."""
    import numpy as np

    widest = float(np.abs(kernel).max()) / (2 ** (bits - 1) - 1) or 1.0
    steps = widest * np.linspace(0.3, 1, _STEP_CANDIDATES)
    return float(min(steps, key=lambda step: float(np.square(on_grid(kernel, step, bits) - kernel).sum())))


def low_bit_layer(layer: Any, bits: int) -> Any:
    """Return a layer like the Conv2D or Dense `layer` that computes with its kernel rounded to the grid."""
    from pipeline.keras_legacy import keras, tf
    from pipeline.steps._promises import is_pruned

    top = 2 ** (bits - 1) - 1

    class LowBit(type(layer)):  # type: ignore[misc]
        stands_for = type(layer).__name__

        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            self.log_step = self.add_weight(name="log_step", initializer="zeros")
            self.kept: Any = 1.0

        def keep_zeros(self) -> None:
            if is_pruned(self.kernel.numpy()):
                self.kept = tf.constant(self.kernel.numpy() != 0, tf.float32)

        def rounded(self) -> Any:
            step = tf.exp(self.log_step)
            inside = tf.clip_by_value(self.kernel / step, -top, top)
            return (inside + tf.stop_gradient(tf.round(inside) - inside)) * step * self.kept

        def convolution_op(self, inputs: Any, kernel: Any) -> Any:
            return super().convolution_op(inputs, self.rounded())

        def call(self, inputs: Any) -> Any:
            if self.stands_for == "Conv2D":
                return super().call(inputs)
            outputs = tf.matmul(inputs, self.rounded())
            return self.activation(tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs)

    return LowBit.from_config(keras.layers.serialize(layer)["config"])
