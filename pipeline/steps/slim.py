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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.steps._same_outputs import refuse_other_outputs

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES = "tflite"
PRODUCES = "tflite"
LIBRARIES = ("numpy", "flatbuffers", "ai-edge-litert")

NO_METADATA = -1  # the schema's default


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

    from pipeline.verify import REFERENCE_FILE

    before, after = source / "model.tflite", out / "model.tflite"
    content, removed = slim(before.read_bytes(), keep_names=config.keep_names)
    after.write_bytes(content)
    shutil.copyfile(source / REFERENCE_FILE, out / REFERENCE_FILE)
    count = len(np.load(source / REFERENCE_FILE))
    refuse_other_outputs(before, after, workload, count, config.runner, "slim")
    return {"bytes_before": before.stat().st_size, "bytes_after": len(content), "removed": removed}


def slim(content: bytes, *, keep_names: bool = False) -> tuple[bytes, dict[str, dict[str, int]]]:
    """Return the canonical file, and {kind: {"count", "bytes"}} of what was removed.

    The bytes are what each kind takes in a file that is already laid out anew; what that alone
    saves is the bytes of `layout`: equal vectors once, and no more padding than is needed. So they
    add up to the whole difference; one kind may be a few bytes below zero where data had to be aligned.
    """
    import ai_edge_litert.schema_py_generated as schema

    from pipeline.steps._pack import pack

    model = schema.ModelT.InitFromPackedBuf(content)
    take_in(model, content)
    packed = pack(model)
    removed = {"layout": {"bytes": len(content) - len(packed)}}
    for kind, remove in _REMOVE.items():
        if keep_names and kind in KEPT_NAMES:
            continue
        before = len(packed)
        count = remove(model)
        packed = pack(model)
        removed[kind] = {"count": count, "bytes": before - len(packed)}
    return packed, removed


def take_in(model: Any, content: bytes) -> None:
    """Take in what lies behind the flatbuffer, as in files beyond 2 GB and all of ai-edge-quantizer's.

    TFLite Micro looks for it in the flatbuffer alone, and computes with nothing without a word.
    """
    import numpy as np

    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    for graph in model.subgraphs:
        for operator in graph.operators:
            if operator.largeCustomOptionsOffset > 1:
                place = operator.largeCustomOptionsOffset
                operator.customOptions = np.frombuffer(content, np.uint8, operator.largeCustomOptionsSize, place)
                operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0


def _remove_metadata(model: Any) -> int:
    """Metadata, the description, and the places that operators and subgraphs have in the metadata."""
    found = len(model.metadata or ()) + (model.description is not None)
    model.metadata = model.metadataBuffer = model.description = None
    for graph in model.subgraphs:
        for part in (graph, *graph.operators):
            part.debugMetadataIndex = NO_METADATA
    return found


def _remove_signatures(model: Any) -> int:
    found = len(model.signatureDefs or ())
    model.signatureDefs = None
    return found


def _remove_names(model: Any) -> int:
    """Names of tensors and of subgraphs: operators know them by number."""
    named = [part for graph in model.subgraphs for part in (graph, *graph.tensors) if part.name is not None]
    for part in named:
        part.name = None
    return len(named)


def _remove_ranges(model: Any) -> int:
    """Lowest and highest calibrated values, and tables of quantization parameters that hold none."""
    found = 0
    for tensor in _tensors(model):
        held = tensor.quantization
        if held is None:
            continue
        leftover = held.min is not None or held.max is not None
        held.min = held.max = None
        if held.details is None and (held.scale is None or not len(held.scale)):
            tensor.quantization, leftover = None, True
        found += leftover
    return found


def _remove_shape_signatures(model: Any) -> int:
    """Shape signatures that say again what the shape says."""
    found = 0
    for tensor in _tensors(model):
        signature = tensor.shapeSignature
        if signature is not None and list(signature) == list(tensor.shape):
            tensor.shapeSignature = None
            found += 1
    return found


def _remove_empty_vectors(model: Any) -> int:
    found = 0
    for graph in model.subgraphs:
        for operator in graph.operators:
            for name in ("intermediates", "mutatingVariableInputs", "customOptions"):
                if getattr(operator, name) is not None and len(getattr(operator, name)) == 0:
                    setattr(operator, name, None)
                    found += 1
    return found


def remove_buffers(model: Any) -> int:
    """Keep one buffer of each content, in the order of first use; buffer 0 stays the empty one."""
    before = len(model.buffers)
    empty = model.buffers[0]
    empty.data = None
    kept, places = [empty], {b"": 0}
    for tensor in _tensors(model):
        data = model.buffers[tensor.buffer].data
        content = b"" if data is None else bytes(data)
        if content not in places:
            places[content] = len(kept)
            kept.append(model.buffers[tensor.buffer])
        tensor.buffer = places[content]
    model.buffers = kept
    return before - len(kept)


def _tensors(model: Any) -> Iterator[Any]:
    for graph in model.subgraphs:
        yield from graph.tensors


# In this order: metadata and signatures point at buffers and names.
_REMOVE: dict[str, Callable[[Any], int]] = {
    "metadata": _remove_metadata,
    "signatures": _remove_signatures,
    "names": _remove_names,
    "ranges": _remove_ranges,
    "shape_signatures": _remove_shape_signatures,
    "empty_vectors": _remove_empty_vectors,
    "buffers": remove_buffers,
}
KEPT_NAMES = ("signatures", "names")
