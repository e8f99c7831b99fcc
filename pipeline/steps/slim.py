"""Lossless canonical form of a `.tflite`: what no interpreter computes with is left out.

Names, metadata, signatures, leftover calibration ranges and unused buffers go; buffers of equal
content become one, and equal vectors and tables are stored once (`_pack.py`). The order of writing
is fixed, so equal models give equal bytes. The operators, their options, the weights and the
quantization parameters stay as they are, and the outputs on the reference samples are held against
the source's bit by bit.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import StepFailed

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES = "tflite"
PRODUCES = "tflite"
LIBRARIES = ("numpy", "flatbuffers", "ai-edge-litert")


class Config(BaseModel):
    """What is kept although nothing computes with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_names: bool = Field(False, description="Keep the names of tensors and subgraphs, and the signatures.")
    runner: str = Field("host", description="Runner on which the outputs are compared before and after.")


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the slim `model.tflite` into `out`; return the bytes before and after, and what was removed.

    Raises StepFailed when an output on the reference samples differs in a single bit.
    """
    import numpy as np

    from pipeline.runner import Settings, find_runner
    from pipeline.verify import REFERENCE_FILE

    before, after = source / "model.tflite", out / "model.tflite"
    content, removed = slim(before.read_bytes(), keep_names=config.keep_names)
    after.write_bytes(content)
    shutil.copyfile(source / REFERENCE_FILE, out / REFERENCE_FILE)
    count = len(np.load(source / REFERENCE_FILE))
    samples = workload.preprocess(workload.load("validation")[0][:count])
    result = find_runner(config.runner).run({"before": before, "after": after}, samples, Settings())
    outputs = {name: model.outputs for name, model in result.models.items()}
    different = int((outputs["before"] != outputs["after"]).any(axis=1).sum())
    if different:
        raise StepFailed(
            "the slim file does not compute what its source computes",
            received=f"{different} of {count} outputs differ",
            expected="outputs that are equal bit by bit",
            fix="take the slim step out of the recipe, and report the model",
        )
    return {"bytes_before": before.stat().st_size, "bytes_after": len(content), "removed": removed}


def slim(content: bytes, *, keep_names: bool = False) -> tuple[bytes, dict[str, int]]:
    """Return the canonical file and how many names, ranges, buffers, … were removed."""
    import ai_edge_litert.schema_py_generated as schema

    from pipeline.steps._pack import pack

    model = schema.ModelT.InitFromPackedBuf(content)
    removed = {
        "metadata": len(model.metadata or ()),
        "signatures": 0 if keep_names else len(model.signatureDefs or ()),
        "names": 0,
        "ranges": 0,
        "shape_signatures": 0,
    }
    model.metadata = model.metadataBuffer = model.description = None
    if not keep_names:
        model.signatureDefs = None
    for graph in model.subgraphs:
        if not keep_names:
            graph.name = None
        for tensor in graph.tensors:
            if not keep_names and tensor.name is not None:
                tensor.name = None
                removed["names"] += 1
            _strip_tensor(tensor, removed)
        for operator in graph.operators:
            for name in ("intermediates", "mutatingVariableInputs", "customOptions"):
                if getattr(operator, name) is not None and len(getattr(operator, name)) == 0:
                    setattr(operator, name, None)
    removed["buffers"] = _merge_buffers(model)
    return pack(model), removed


def _strip_tensor(tensor: Any, removed: dict[str, int]) -> None:
    signature = tensor.shapeSignature
    if signature is not None and list(signature) == list(tensor.shape):
        tensor.shapeSignature = None  # it says again what the shape says
        removed["shape_signatures"] += 1
    quantization = tensor.quantization
    if quantization is None:
        return
    if quantization.min is not None or quantization.max is not None:
        quantization.min = quantization.max = None
        removed["ranges"] += 1
    if quantization.scale is None and quantization.details is None:
        tensor.quantization = None


def _merge_buffers(model: Any) -> int:
    """Keep one buffer of each content, in the order of first use; buffer 0 stays the empty one."""
    before = len(model.buffers)
    empty = model.buffers[0]
    empty.data = None
    kept, places = [empty], {b"": 0}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            content = b"" if data is None else bytes(data)
            if content not in places:
                places[content] = len(kept)
                kept.append(model.buffers[tensor.buffer])
            tensor.buffer = places[content]
    model.buffers = kept
    return before - len(kept)
