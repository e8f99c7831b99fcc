"""Int8 kernels whose values lie on a grid of 4 bits are stored as int4, two weights in a byte.

Such kernels come from `low_bit`. The converter gives each output channel a scale of its own and rounds
to 8 bits; the grid that the values came from is found again, with one step size for the whole kernel.
Every weight is then nearer to the model that was trained than it was in the int8 file: it is exactly on
the grid, and the scales and zero points of the channels are no longer stored. Biases are int32 in steps
of input scale × weight scale, and are rounded anew. LiteRT and TFLite Micro compute int8 activations
with int4 kernels in CONV_2D and FULLY_CONNECTED (in the latter with one scale for the kernel alone).

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from pipeline.errors import StepFailed

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload

CONSUMES = "tflite"
PRODUCES = "tflite"
LIBRARIES = ("numpy", "flatbuffers", "ai-edge-litert")

TOP = 7  # −8 stays unused, as −128 does in int8 kernels
# Int8 values are half a step of their own off at most, and float32 scales a little more.
_TOLERANCE = 0.501


class Config(BaseModel):
    """Nothing to choose: a kernel lies on such a grid or does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the packed `model.tflite` into `out`; return the kernels that were packed and those that were not.

    Raises StepFailed when no kernel lies on a grid of 4 bits.
    """
    from pipeline.verify import REFERENCE_FILE

    before = (source / "model.tflite").read_bytes()
    content, packed, left = pack_int4(before)
    if not packed:
        raise StepFailed(
            "no int8 kernel of the file lies on a grid of 4 bits",
            received=f"kernels {', '.join(left) or 'none'}",
            expected=f"values that are multiples of one step, −{TOP} to {TOP}",
            fix='put step = "low_bit" with at most 4 bits before the quantize step, whose scheme is int8',
        )
    (out / "model.tflite").write_bytes(content)
    shutil.copyfile(source / REFERENCE_FILE, out / REFERENCE_FILE)
    return {"bytes_before": len(before), "bytes_after": len(content), "packed": packed, "left": left}


def pack_int4(content: bytes) -> tuple[bytes, list[str], list[str]]:
    """Return the file, and shapes of the kernels that were packed and that were left, as text."""
    import ai_edge_litert.schema_py_generated as schema
    import numpy as np

    from pipeline.steps._pack import pack

    model = schema.ModelT.InitFromPackedBuf(content)
    packed: list[str] = []
    left: list[str] = []
    for graph in model.subgraphs:
        readers = [index for operator in graph.operators for index in operator.inputs]
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            if code not in (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED):
                continue
            picture, kernel = (graph.tensors[index] for index in operator.inputs[:2])
            data = model.buffers[kernel.buffer].data
            if kernel.type != schema.TensorType.INT8 or data is None:
                continue
            name = "×".join(str(size) for size in kernel.shape)
            scales = np.asarray(kernel.quantization.scale, np.float64)
            values = np.frombuffer(bytes(data), np.int8).reshape(kernel.shape)
            step = step_size(values, scales)
            if step is None or readers.count(operator.inputs[1]) > 1:
                left.append(name)
                continue
            real = values * scales.reshape(-1, *[1] * (values.ndim - 1))
            kernel.type = schema.TensorType.INT4
            _set_data(model, kernel, two_in_a_byte(np.round(real / step).astype(np.int8)))
            _set_scale(kernel, step)
            if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
                bias = graph.tensors[operator.inputs[2]]
                stored = np.frombuffer(bytes(model.buffers[bias.buffer].data), np.int32)
                _set_data(model, bias, np.round(stored * (scales / step)).astype(np.int32).view(np.uint8))
                _set_scale(bias, step * float(picture.quantization.scale[0]))
            packed.append(name)
    return pack(model), packed, left


def step_size(values: np.ndarray, scales: np.ndarray) -> float | None:
    """Return the widest step of which every real value is a multiple of −7 to 7, as near as 8 bits can tell.

    values: int8 [channels, …]; scales: the real value of one int8 step, [channels] or [1]. None where there
    is no such step.
    """
    import numpy as np

    rows = values.reshape(len(values), -1).astype(np.int64)
    scales = np.broadcast_to(scales, len(rows))[:, None]
    real = rows * scales
    widest = float(np.abs(real).max())
    if not widest:
        return float(scales.max())
    for top in range(1, TOP + 1):
        step = widest / top
        if (np.abs(real - np.round(real / step) * step) <= _TOLERANCE * scales).all():
            return step
    return None


def two_in_a_byte(values: np.ndarray) -> np.ndarray:
    """Return uint8 [half as many, rounded up]: the first of two values in the low half of a byte."""
    import numpy as np

    flat = np.append(values.reshape(-1), np.zeros(values.size % 2, values.dtype)).astype(np.int8).view(np.uint8)
    return (flat[0::2] & 15) | (flat[1::2] << 4)


def _set_data(model: Any, tensor: Any, data: np.ndarray) -> None:
    """Store the tensor's new content, in a buffer of its own where others read the old one."""
    import ai_edge_litert.schema_py_generated as schema

    sharing = sum(other.buffer == tensor.buffer for graph in model.subgraphs for other in graph.tensors)
    if sharing > 1:
        model.buffers.append(schema.BufferT())
        tensor.buffer = len(model.buffers) - 1
    model.buffers[tensor.buffer].data = data


def _set_scale(tensor: Any, scale: float) -> None:
    import numpy as np

    tensor.quantization.scale = np.array([scale], np.float32)
    tensor.quantization.zeroPoint = np.zeros(1, np.int64)
    tensor.quantization.quantizedDimension = 0
