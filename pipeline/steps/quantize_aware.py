"""Quantization-aware training and conversion to a full-integer `.tflite`: Jacob et al. 2018
(arXiv:1712.05877), through TensorFlow Model Optimization's wrappers.

    preserve   technique   what is kept of the model
    none       QAT         nothing but its accuracy
    sparsity   PQAT        zeros of pruned kernels
    clusters   CQAT        clusters of clustered kernels
    both       PCQAT       zeros and clusters

Training and conversion are one step: no other step could read a model of TFMOT's wrappers, whose
ranges of weights and activations the converter takes over. What TFMOT does not do by itself is in
`quantization_aware` and `start_ranges`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.errors import StepFailed
from pipeline.steps._fine_tuning import FineTuning

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "tflite"
LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "numpy")

Dtype = Literal["float32", "int8", "uint8"]
_PRESERVES = {(False, False): "none", (True, False): "sparsity", (False, True): "clusters", (True, True): "both"}


class Config(FineTuning):
    """How the model is fine-tuned on quantized weights and activations, and what it keeps."""

    preserve: Literal["none", "sparsity", "clusters", "both"] = Field(
        "none", description="What earlier steps gave the kernels and this one keeps; it must fit the model."
    )
    learning_rate: float = Field(1e-4, gt=0, le=10, description="Adam's highest learning rate.")
    calibration_samples: int = Field(
        500, ge=10, le=100_000, description="Training samples from which the activations' first ranges are taken."
    )
    input_dtype: Dtype = Field("float32", description="Number format of the file's input; the target's.")
    output_dtype: Dtype = Field("float32", description="Number format of the file's output; the target's.")


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write `model.tflite`, and `reference.npy`: the trained model's outputs on validation samples.

    Raises StepFailed when TFMOT cannot quantize a layer, `preserve` does not fit the model, zeros
    or clusters are lost, or the converter refuses the model; DataError when the calibration samples
    are unusable.
    """
    from pipeline.calibration import representative_dataset
    from pipeline.keras_legacy import make_repeatable, tf
    from pipeline.steps._convert import convert, fixed_batch_converter, save_reference
    from pipeline.steps._fit import fit, load_model
    from pipeline.steps._promises import kernel_zeros, kernels_of, refuse_lost_clusters, refuse_lost_zeros

    make_repeatable(config.seed)
    model = load_model(source)
    before = kernels_of(model)
    kept = what_to_keep(before, config.preserve)
    calibration, record = representative_dataset(workload, config.calibration_samples, config.seed)
    aware = quantization_aware(model, kept)
    start_ranges(aware, model, calibration)
    facts = fit(aware, workload, config.training(), config.seed, report)

    after = quantized_kernels(aware)
    fix = "prune or cluster layers of the kinds that TFMOT preserves, Conv2D and Dense, or use the quantize step"
    refuse_lost_zeros("quantize_aware", before.values(), after, fix)
    refuse_lost_clusters("quantize_aware", before.values(), after, fix)
    save_reference(aware, workload, out)
    converter = fixed_batch_converter(aware, workload)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.dtypes.as_dtype(config.input_dtype)
    converter.inference_output_type = tf.dtypes.as_dtype(config.output_dtype)
    convert(converter, out, "int8")
    promises: dict[str, Any] = {
        "input_dtype": config.input_dtype,
        "output_dtype": config.output_dtype,
        "full_integer": True,
    }
    if config.preserve in ("sparsity", "both"):
        promises["kernel_zeros"] = kernel_zeros(after)  # rounding adds some to those of the float model
    return {"scheme": "int8", "preserve": config.preserve, "promises": promises, "calibration": record, **facts}


def what_to_keep(kernels: dict[str, np.ndarray], preserve: str) -> dict[str, tuple[bool, bool]]:
    """Return {layer: (has zeros, has clusters)}. Raises StepFailed unless `preserve` says what is there."""
    from pipeline.steps._promises import is_clustered, is_pruned

    kept = {name: (is_pruned(kernel), is_clustered(kernel)) for name, kernel in kernels.items()}
    zeros, clusters = any(pruned for pruned, _ in kept.values()), any(clustered for _, clustered in kept.values())
    fitting = _PRESERVES[zeros, clusters]
    if preserve != fitting:
        raise StepFailed(
            "`preserve` of the quantize_aware step does not fit the model that it is given",
            received=f"preserve = {preserve!r}, and a model {'with' if zeros else 'without'} zeros and "
            f"{'with' if clusters else 'without'} clusters in its kernels",
            expected=f"preserve = {fitting!r}: training loses what is not kept, and what is not there cannot be kept",
            fix=f"set preserve = {fitting!r}, or change the prune and cluster steps before it",
        )
    return kept


def quantization_aware(model: Any, kept: dict[str, tuple[bool, bool]]) -> Any:
    """Return the model with TFMOT's wrappers. Raises StepFailed naming what TFMOT cannot quantize.

    Two faults of TFMOT 0.8.1 are mended here. Its collaborative schemes share one quantizer among
    all layers, and the first layer without zeros switches their keeping off in the others: here
    each layer has its own. And it leaves the kernel before a ReLU layer unquantized.
    """
    from tensorflow_model_optimization.experimental import combine
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_configs
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_aware_activation import NoOpActivation
    from tensorflow_model_optimization.quantization import keras as quantization
    from tensorflow_model_optimization.quantization.keras import default_8bit

    from pipeline.keras_legacy import keras
    from pipeline.steps._convert import first_line

    class Registry(default_8bit.Default8BitQuantizeRegistry):
        def get_quantize_config(self, layer: Any) -> Any:
            zeros, clusters = kept.get(layer.name, (False, False))
            if clusters:
                scheme = combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=zeros)
            elif zeros:
                scheme = combine.Default8BitPrunePreserveQuantizeScheme()
            else:
                return super().get_quantize_config(layer)
            return scheme.get_quantize_registry().get_quantize_config(layer)

    class Transform(default_8bit.Default8BitQuantizeLayoutTransform):
        def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> Any:
            model, layer_quantize_map = super().apply(model, layer_quantize_map)
            for layer in model.layers:
                found = layer_quantize_map.get(layer.name, {}).get("quantize_config")
                if (
                    isinstance(found, default_8bit_quantize_configs.NoOpQuantizeConfig)
                    and getattr(layer, "activation", None) is keras.activations.linear
                ):
                    # Only the output, which ReLU still cuts, is to stay unquantized.
                    layer.activation = NoOpActivation()
                    layer_quantize_map[layer.name] = {"quantize_config": None}
            return model, layer_quantize_map

    class Scheme(default_8bit.Default8BitQuantizeScheme):
        def get_quantize_registry(self) -> Registry:
            return Registry()

        def get_layout_transformer(self) -> Transform:
            return Transform()

    try:
        return quantization.quantize_apply(quantization.quantize_annotate_model(model), Scheme())
    except Exception as error:  # TFMOT raises RuntimeError, ValueError and others, with the layer in the message
        raise StepFailed(
            "TFMOT cannot make the model quantization-aware",
            received=first_line(error),
            expected="a sequential or functional model of layers that TFMOT quantizes",
            fix="replace the layer that the message names, or use the quantize step instead",
        ) from error


def start_ranges(aware: Any, model: Any, samples: np.ndarray) -> None:
    """Give activations the ranges that they have in the float model, on samples float32 [n, *input_shape].

    TFMOT starts all of them at ±6 and moves them by a thousandth a step, so that a run of some
    hundred steps would train and convert the model with ranges that are not its own.
    """
    from pipeline.keras_legacy import keras

    outputs = {layer.name: layer.get_output_at(0) for layer in model.layers}
    probe = keras.Model(model.inputs, outputs)
    low, high = dict.fromkeys(outputs, 0.0), dict.fromkeys(outputs, 0.0)  # TFLite wants zero in every range
    for start in range(0, len(samples), 100):
        for name, values in probe(samples[start : start + 100], training=False).items():
            low[name] = min(low[name], float(values.numpy().min()))
            high[name] = max(high[name], float(values.numpy().max()))
    for layer in aware.layers:
        name = layer.layer.name if hasattr(layer, "layer") else None
        for variable in layer.non_trainable_weights if name in outputs else ():
            if variable.name.endswith(("post_activation_min:0", "output_min:0")):
                variable.assign(low[name])
            elif variable.name.endswith(("post_activation_max:0", "output_max:0")):
                variable.assign(high[name])


def quantized_kernels(aware: Any) -> list[np.ndarray]:
    """Return the kernels as they will be in the file: masked, clustered and rounded to 8 bits."""
    found = []
    for layer in aware.layers:
        quantized = [
            quantizer(weight, False, weights=variables).numpy()
            for weight, quantizer, variables in getattr(layer, "_weight_vars", ())
        ]
        found += quantized or [weight for weight in layer.get_weights() if weight.ndim > 1]
    return found
