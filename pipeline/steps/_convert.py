"""Keras model → `.tflite`: what the steps that end in a file share.

The model is converted from a concrete function with a fixed batch of 1: `from_keras_model`
leaves −1 in the shape signature, which microcontrollers and delegates refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StepFailed

if TYPE_CHECKING:
    from pipeline.workload import Workload

MODEL_FILE = "model.tflite"


def save_reference(model: Any, workload: Workload, out: Path) -> None:
    """Write `reference.npy`, float32 [up to 1000, classes]: the model's outputs on validation samples.

    The file is held against it before it counts as built.
    """
    import numpy as np

    from pipeline.verify import REFERENCE_FILE, REFERENCE_SAMPLES

    samples = workload.preprocess(workload.load("validation")[0][:REFERENCE_SAMPLES])
    np.save(out / REFERENCE_FILE, model.predict(samples, batch_size=250, verbose=0))


def fixed_batch_converter(model: Any, workload: Workload) -> Any:
    """Return a TFLiteConverter of the model with the input float32 [1, *input_shape]."""
    from pipeline.keras_legacy import tf

    function = tf.function(
        lambda batch: model(batch, training=False),
        input_signature=[tf.TensorSpec([1, *workload.input_shape], tf.float32, name="input")],
    ).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], model)


def convert(converter: Any, out: Path, scheme: str) -> None:
    """Write `model.tflite`. Raises StepFailed when the converter refuses the model."""
    try:
        content = converter.convert()
    except Exception as error:  # the converter raises many kinds, RuntimeError to its own
        raise StepFailed(
            f"the TFLite converter refuses the model for scheme {scheme!r}",
            received=first_line(error),
            expected="operators that TFLite has in this number format",
            fix="choose another scheme, or replace the layer that the message names",
        ) from error
    (out / MODEL_FILE).write_bytes(content)


def convert_with_ranges(converter: Any, out: Path, ranges_of: Callable[[Path], dict[str, tuple[float, float]]]) -> None:
    """Write an int8 `model.tflite` whose activations have other ranges than the converter's own.

    ranges_of: gets the path of the float file and returns {tensor's name: (lowest, highest)}.

    The converter knows min/max alone. It works in two halves, and its debugger uses them one by one:
    the float model with ranges in it, then that model quantized. The ranges are replaced between them.
    """
    from tensorflow.lite.python.convert import mlir_quantize

    converter._experimental_calibrate_only = True
    convert(converter, out, "int8")
    model = out / MODEL_FILE
    content = with_ranges(model.read_bytes(), ranges_of(model))
    types = converter.inference_input_type, converter.inference_output_type
    model.write_bytes(mlir_quantize(content, input_data_type=types[0], output_data_type=types[1]))


def with_ranges(content: bytes, ranges: dict[str, tuple[float, float]]) -> bytes:
    """Return a `.tflite` with these ranges in the tensors of these names."""
    import ai_edge_litert.schema_py_generated as schema
    import flatbuffers
    import numpy as np

    model = schema.ModelT.InitFromPackedBuf(content)
    for tensor in model.subgraphs[0].tensors:
        name = tensor.name.decode()
        if name in ranges:
            low, high = ranges[name]
            tensor.quantization.min = np.array([low], np.float32)
            tensor.quantization.max = np.array([high], np.float32)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def first_line(error: Exception) -> str:
    """Return the first line of what a library said, or the kind of its exception when it said nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
