"""From a picture to the file's input and from its output to an answer, as data that any language can follow.

Where a workload's preprocess() works pixel by pixel it is a table of 256 values a channel, found by asking it for
each value of a pixel and held against it on test samples, bit by bit. The scale and zero point of the input are in
it already, by the very function with which every number of the release was measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from pipeline.flatbuffer import Tensor
    from pipeline.workload import Workload

SCHEMA_VERSION = 1
COMPARED = 64  # test samples on which table and preprocess() have to agree
MODES = {1: "L", 3: "RGB"}


def preprocessing(workload: Workload, model: Path) -> dict[str, Any]:
    """Return the document `<stem>.preprocessing.json` of the file that ships, a `.tflite` of the workload.

    Raises BadModelFile for a file that is none.
    """
    import numpy as np

    from pipeline.flatbuffer import read_model
    from pipeline.runners._host_child import quantized  # imports the interpreter

    graph = read_model(model).subgraphs[0]
    taken, given = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    samples, _ = workload.load("test")
    raw = np.asarray(samples[: min(COMPARED, len(samples))])
    table, reason = _table(workload, raw)
    stored = None if table is None else [quantized(row, _details(taken)).tolist() for row in table]
    return {
        "schema_version": SCHEMA_VERSION,
        "input": {
            "shape": list(taken.shape[1:]),
            "mode": MODES.get(workload.input_shape[-1]) if len(workload.input_shape) == 3 else None,
            "dtype": taken.dtype,
            **_scale_and_zero_point(taken),
        },
        "resize": _resize(workload) if table is not None else None,
        "table": stored,
        "reason": reason,
        "output": {
            "dtype": given.dtype,
            **_scale_and_zero_point(given),
            "task": workload.task_name,
            "threshold": workload.threshold,
        },
    }


def _table(workload: Workload, raw: np.ndarray) -> tuple[list[np.ndarray] | None, str]:
    """Return float32 [256] for each channel, or None and why there is no such table."""
    import numpy as np

    shape = workload.input_shape
    if raw.dtype != np.uint8 or raw.shape[1:] != shape or len(shape) != 3 or shape[-1] not in MODES:
        return None, "samples are no pictures of 8 bits a channel: the workload's preprocess() is the reference"
    flat = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, *shape))
    table = workload.preprocess(np.ascontiguousarray(flat))[:, 0, 0, :].T  # [channels, 256]
    looked_up = np.stack([table[channel][raw[..., channel]] for channel in range(shape[-1])], axis=-1)
    if not np.array_equal(looked_up, workload.preprocess(raw)):
        return None, "preprocess() does not work pixel by pixel: the workload's source is the reference"
    return list(table), ""


def _resize(workload: Workload) -> dict[str, Any] | None:
    """Return how pictures of another size become samples; None where only the workload knows."""
    decode = getattr(workload.module, "decode_image", None)
    source = getattr(decode, "__self__", None)  # a reader of pictures, whose method it is
    fit = getattr(getattr(source, "decoding", None), "resize", None) if decode else "pad"
    return {"fit": fit, "resample": "bilinear", "background": 0} if fit else None


def _scale_and_zero_point(tensor: Tensor) -> dict[str, float | int | None]:
    """Return those of a whole tensor; None where it is not quantized."""
    scaled = bool(tensor.scale)
    return {"scale": tensor.scale[0] if scaled else None, "zero_point": tensor.zero_point[0] if scaled else None}


def _details(tensor: Tensor) -> dict[str, Any]:
    """Return what the interpreter tells of a tensor, as the runner reads it."""
    scaled = bool(tensor.scale)
    return {"dtype": tensor.dtype, "quantization": (tensor.scale[0], tensor.zero_point[0]) if scaled else (0.0, 0)}
