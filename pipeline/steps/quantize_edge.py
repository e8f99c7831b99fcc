"""Post-training quantization by ai-edge-quantizer: int4, weights alone, and a scheme for each layer.

    scheme            weights  activations  ranges of activations
    weight_only_int8  int8     float32      none: weights are decoded before use
    weight_only_int4  int4     float32      none
    dynamic_int8      int8     float32      at run time
    dynamic_int4      int4     float32      at run time
    int8              int8     int8         representative dataset
    int8x4            int4     int8         representative dataset
    int16x8           int8     int16        representative dataset
    int16x4           int4     int16        representative dataset

`layers` gives some layers another scheme, or leaves them in float32: which of them need it is what
`invoke sensitivity` finds (partial quantization: Wu et al. 2020, arXiv:2004.09602). Where every scheme
is one of the last four, the file is full-integer.

LiteRT has int4 kernels of CONV_2D and FULLY_CONNECTED. In a scheme of the whole model other kernels,
such as DEPTHWISE_CONV_2D, stay int8 and are listed among the facts; asked for by name they are refused.
What sixteen values a channel cost depends on the network: on validation digits LeNet-5 keeps 99.9% of
its answers at int8x4, a network of 19,000 weights that trained for seconds 94%. Such a recipe has to
say with `agreement_min` that fewer than 99.5% will do, or to keep some layers wider.

ai-edge-quantizer's own calibration is a moving average of each sample's ranges, which cuts off much
of them: 95.4% agreement at int8 on that small network, 99.1% with the ranges of `_ranges.py`.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipeline.errors import StepFailed
from pipeline.steps._calibrated import Calibrated

if TYPE_CHECKING:
    from pipeline.steps._operators import NamedOperator
    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "tflite"
LIBRARIES = ("tensorflow", "tf-keras", "numpy", "ai-edge-litert", "ai-edge-quantizer")
EXTRA = "edge-quantizer"

Scheme = Literal[
    "weight_only_int8", "weight_only_int4", "dynamic_int8", "dynamic_int4", "int8", "int8x4", "int16x8", "int16x4"
]
LayerScheme = Literal[Scheme, "float32"]
# Bits of activations (none: float32) and of weights.
BITS: dict[str, tuple[int | None, int]] = {
    "weight_only_int8": (None, 8),
    "weight_only_int4": (None, 4),
    "dynamic_int8": (None, 8),
    "dynamic_int4": (None, 4),
    "int8": (8, 8),
    "int8x4": (8, 4),
    "int16x8": (16, 8),
    "int16x4": (16, 4),
}
# What a kernel that LiteRT does not have in int4 gets instead.
WITHOUT_INT4 = {
    "weight_only_int4": "weight_only_int8",
    "dynamic_int4": "dynamic_int8",
    "int8x4": "int8",
    "int16x4": "int16x8",
}
_DTYPES = {None: ("float32",), 8: ("int8", "uint8", "float32"), 16: ("int16", "float32")}


class Config(Calibrated):
    """Which number formats the file computes in, and how their ranges are found."""

    scheme: Scheme = Field("int8x4", description="Number formats of weights and activations.")
    layers: dict[str, LayerScheme] = Field(
        {}, description="Other schemes: by layer, by a block that holds layers, or by operator, such as CONV_2D."
    )

    @model_validator(mode="after")
    def _fits(self) -> Config:
        refuse_misfits(self, self.scheme)
        return self


def refuse_misfits(config: Calibrated, scheme: str) -> None:
    """Raise ValueError for a calibration or number formats that the scheme does not have."""
    bits = BITS[scheme][0]
    if config.calibration != "minmax" and bits != 8:
        raise ValueError(
            f"calibration {config.calibration!r} does not go with scheme {scheme!r}; "
            "expected a scheme with int8 activations: int8 or int8x4"
        )
    config.refuse_other_dtypes(scheme, _DTYPES[bits])


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write `model.tflite`, and `reference.npy`: the source's outputs on validation samples.

    Raises StepFailed when the converter or the quantizer refuses the model, `layers` names none of
    its layers or a scheme that one cannot have, or zeros of a pruned model are lost; DataError when
    the representative dataset is unusable.
    """
    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps._convert import MODEL_FILE, convert, fixed_batch_converter, save_reference
    from pipeline.steps._fit import load_inference
    from pipeline.steps._promises import kernel_zeros, kernels_of

    make_repeatable(config.seed)
    model = load_inference(source)
    save_reference(model, workload, out)
    convert(fixed_batch_converter(model, workload), out, "float32")
    return quantize_file(out / MODEL_FILE, workload, config, kernel_zeros(kernels_of(model).values()))


def quantize_file(path: Path, workload: Workload, config: Config, zeros: list[tuple[int, float]]) -> dict[str, Any]:
    """Quantize the float `.tflite` at `path` in its place; return the step's facts.

    zeros: what was promised of its kernels, see `_promises.py`. Raises what `run` raises.
    """
    from pipeline.calibration import representative_dataset
    from pipeline.steps._operators import named_operators
    from pipeline.steps._ranges import activation_ranges

    operators = named_operators(path)
    schemes = schemes_of(operators, config)
    facts: dict[str, Any] = {"scheme": config.scheme, "schemes": _by_layer(operators, schemes)}
    ranges: dict[str, tuple[float, float]] = {}  # activations that stay float need none
    used = {config.scheme, *schemes}
    if any(scheme in BITS and BITS[scheme][0] for scheme in used):
        samples, facts["calibration"] = representative_dataset(workload, config.calibration_samples, config.seed)
        ranges = activation_ranges(path, samples, config.calibration, config.calibration_percentile)
    path.write_bytes(quantized(path.read_bytes(), operators, schemes, config, ranges))
    facts["promises"] = {
        "input_dtype": config.input_dtype,
        "output_dtype": config.output_dtype,
        "full_integer": all(scheme in BITS and BITS[scheme][0] for scheme in used),
        "kernel_zeros": _kept_zeros(path, zeros),
    }
    if config.agreement_min is not None:
        facts["promises"]["agreement_min"] = config.agreement_min
    return facts


def schemes_of(operators: list[NamedOperator], config: Config) -> list[str]:
    """Return the scheme of each operator. Raises StepFailed for a name that fits none, or two that fit one."""
    found: list[str] = []
    for operator in operators:
        names = sorted(operator.names & config.layers.keys())
        schemes: set[str] = {config.layers[name] for name in names} or {config.scheme}
        if len(schemes) > 1:
            raise StepFailed(
                f"`layers` of the quantize_edge step gives {operator.layer} two schemes",
                received=", ".join(f"{name} = {config.layers[name]!r}" for name in names),
                expected="one scheme for each operator",
                fix="name the layer itself alone",
            )
        scheme = schemes.pop()
        if not _can(operator, scheme):
            if names:
                raise StepFailed(
                    f"the layer {operator.layer} ({operator.kind}) cannot be quantized as {scheme!r}",
                    received=f"{names[0]} = {scheme!r}",
                    expected=f"one of {', '.join(name for name in (*BITS, 'float32') if _can(operator, name))}",
                    fix=f"give {names[0]} one of these, or leave it out of `layers`",
                )
            wider = WITHOUT_INT4.get(scheme, scheme)
            scheme = wider if _can(operator, wider) else "float32"
        found.append(scheme)
    unknown = config.layers.keys() - {name for operator in operators for name in operator.names}
    if unknown:
        raise StepFailed(
            "`layers` of the quantize_edge step names what the model does not have",
            received=", ".join(sorted(unknown)),
            expected=f"names among {', '.join(dict.fromkeys(operator.layer for operator in operators))}",
            fix="correct the names; conversion joins an activation, batch normalization or padding to its neighbour",
        )
    return found


def quantized(
    content: bytes,
    operators: list[NamedOperator],
    schemes: list[str],
    config: Config,
    ranges: dict[str, tuple[float, float]],
) -> bytes:
    """Return the float `.tflite` quantized. Raises StepFailed when ai-edge-quantizer refuses it."""
    import numpy as np
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import (
        ComputePrecision,
        OpQuantizationConfig,
        TensorDataType,
        TensorQuantizationConfig,
    )
    from ai_edge_quantizer.qtyping import TFLOperationName as Operation
    from ai_edge_quantizer.quantizer import Quantizer

    from pipeline.steps._convert import first_line

    quantizer = Quantizer(bytearray(content))
    for name in ("input", "output"):
        dtype = getattr(config, f"{name}_dtype")
        operation = Operation(name.upper())
        if dtype == "float32":
            quantizer.update_quantization_recipe(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
        elif dtype == "uint8":
            byte = TensorQuantizationConfig(num_bits=8, symmetric=False, dtype=TensorDataType.UINT)
            weights = TensorQuantizationConfig(num_bits=8, symmetric=True)  # an input has none, but a rule must
            rule = OpQuantizationConfig(byte, weights, ComputePrecision.INTEGER)
            quantizer.update_quantization_recipe(".*", operation, rule)
        else:
            quantizer.add_static_config(".*", operation, int(dtype.removeprefix("int")), 8)
    for operator, scheme in zip(operators, schemes, strict=True):
        _add(quantizer, operator, scheme)
    statistics = {
        name: {"min": np.array([[low]], np.float32), "max": np.array([[high]], np.float32)}
        for name, (low, high) in ranges.items()
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own interpreter, about memory
            result = quantizer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    except Exception as error:  # it raises RuntimeError, ValueError and others, with the operator in the message
        raise StepFailed(
            f"ai-edge-quantizer refuses the model for scheme {config.scheme!r}",
            received=first_line(error),
            expected="operators that LiteRT has in these number formats",
            fix="choose another scheme, or set the layer that the message names to float32 in `layers`",
        ) from error
    return bytes(result.quantized_model)


def _add(quantizer: Any, operator: NamedOperator, scheme: str) -> None:
    """Add one operator's scheme to the quantizer's recipe; what it does not know stays float."""
    from ai_edge_quantizer.qtyping import TFLOperationName as Operation

    kind = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}.get(operator.kind, operator.kind)
    if scheme == "float32" or kind not in Operation.__members__.values():
        return
    where, operation = f"^{re.escape(operator.output_name)};", Operation(kind)
    activation_bits, weight_bits = BITS[scheme]
    if activation_bits:
        quantizer.add_static_config(where, operation, activation_bits, weight_bits if operator.has_kernel else 8)
    elif operator.has_kernel and scheme.startswith("dynamic"):
        quantizer.add_dynamic_config(where, operation, weight_bits)
    elif operator.has_kernel:
        quantizer.add_weight_only_config(where, operation, weight_bits)


def _can(operator: NamedOperator, scheme: str) -> bool:
    """True where ai-edge-quantizer has the operator in this scheme."""
    from ai_edge_quantizer.recipe_manager import RecipeManager

    try:
        _add(RecipeManager(), operator, scheme)
    except ValueError:
        return False
    return True


def _by_layer(operators: list[NamedOperator], schemes: list[str]) -> dict[str, str]:
    """Return {layer: scheme} of all operators with a kernel."""
    return {operator.layer: scheme for operator, scheme in zip(operators, schemes, strict=True) if operator.has_kernel}


def _kept_zeros(path: Path, zeros: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the zeros of the file's kernels, as promised from here on: 4 bits round many weights to zero.

    Raises StepFailed when a pruned kernel lost some.
    """
    from pipeline.inspect import inspect_file
    from pipeline.steps._promises import SPARSITY_TOLERANCE, lost_zeros

    found = [(kernel.elements, kernel.zeros / kernel.elements) for kernel in inspect_file(path).kernels]
    lost = lost_zeros(zeros, found, more_allowed=True)
    if lost:
        raise StepFailed(
            "ai-edge-quantizer lost zeros of the pruned model that it was given",
            received="; ".join(received for received, _ in lost),
            expected="; ".join(expected for _, expected in lost),
            fix="use the quantize step, or take the prune step out",
        )
    return [(elements, share) for elements, share in found if share > SPARSITY_TOLERANCE]
