"""Post-training quantization and conversion to TFLite (Jacob et al. 2018, arXiv:1712.05877).

scheme    weights  activations  source of the ranges
float32   float32  float32      none: the plain conversion
float16   float16  float32      none
dynamic   int8     float32      at run time
int8      int8     int8         representative dataset; full-integer
int16x8   int8     int16        representative dataset; full-integer

How the ranges of int8 are taken from the representative dataset is `calibration`; see `_ranges.py`.
int4, weights alone and another scheme for a layer are in `quantize_edge.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipeline.steps._calibrated import Calibrated

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "tflite"
LIBRARIES = ("tensorflow", "tf-keras", "numpy")

_ALLOWED_DTYPES = {
    "float32": ("float32",),
    "float16": ("float32",),
    "dynamic": ("float32",),
    "int8": ("int8", "uint8", "float32"),
    "int16x8": ("int16", "float32"),
}
FULL_INTEGER = ("int8", "int16x8")


class Config(Calibrated):
    """Which number formats the file computes in, and how their ranges are found."""

    scheme: Literal["float32", "float16", "dynamic", "int8", "int16x8"] = Field(
        "int8", description="Number formats of weights and activations."
    )
    per_channel: bool = Field(
        True, description="A scale for each output channel; false: one a kernel, which takes fewer bytes; int8 only."
    )

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.calibration != "minmax" and self.scheme != "int8":
            raise ValueError(
                f"calibration {self.calibration!r} does not go with scheme {self.scheme!r}; expected scheme 'int8'"
            )
        if not self.per_channel and self.scheme != "int8":
            raise ValueError(f"per_channel = false does not go with scheme {self.scheme!r}; expected scheme 'int8'")
        self.refuse_other_dtypes(self.scheme, _ALLOWED_DTYPES[self.scheme])
        return self


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write `model.tflite`, and `reference.npy`: the source's outputs on validation samples.

    Raises StepFailed when the converter refuses the model, DataError when the representative
    dataset is unusable.
    """
    import numpy as np

    from pipeline.calibration import representative_dataset
    from pipeline.keras_legacy import make_repeatable, tf
    from pipeline.steps._convert import convert, convert_with_ranges, fixed_batch_converter, save_reference
    from pipeline.steps._fit import load_inference
    from pipeline.steps._ranges import activation_ranges

    make_repeatable(config.seed)
    model = load_inference(source)
    save_reference(model, workload, out)
    converter = fixed_batch_converter(model, workload)
    facts: dict[str, Any] = {
        "scheme": config.scheme,
        "promises": {
            "input_dtype": config.input_dtype,
            "output_dtype": config.output_dtype,
            "full_integer": config.scheme in FULL_INTEGER,
        },
    }
    if config.agreement_min is not None:
        facts["promises"]["agreement_min"] = config.agreement_min
    if config.scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if config.scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if config.scheme in FULL_INTEGER:
        calibration, facts["calibration"] = representative_dataset(workload, config.calibration_samples, config.seed)
        converter.representative_dataset = lambda: ([sample[np.newaxis]] for sample in calibration)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
            if config.scheme == "int8"
            else tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter._experimental_disable_per_channel = not config.per_channel
        converter.inference_input_type = tf.dtypes.as_dtype(config.input_dtype)
        converter.inference_output_type = tf.dtypes.as_dtype(config.output_dtype)
    if config.calibration == "minmax":
        convert(converter, out, config.scheme)
    else:
        convert_with_ranges(
            converter,
            out,
            lambda model: activation_ranges(model, calibration, config.calibration, config.calibration_percentile),
        )
    return facts
