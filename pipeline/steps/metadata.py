"""TFLite metadata: what the model is, how its input is prepared, what its outputs are called, inside the file.

The last step of a recipe, since every other one that writes a `.tflite` leaves out what no interpreter computes
with. Android's code generators and MediaPipe read it; interpreters do not. The labels lie in a zip behind the file,
so that `unzip model.tflite` finds them. The outputs on the reference samples stay the same bit by bit.

Format: https://ai.google.dev/edge/litert/models/metadata, and `_metadata_table.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import StepFailed
from pipeline.steps._metadata_table import (
    BUFFER_NAME,
    COLOR_SPACES,
    ModelFacts,
    TensorFacts,
    metadata_table,
    zip_behind,
)
from pipeline.steps._same_outputs import refuse_other_outputs

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload

CONSUMES = "tflite"
PRODUCES = "tflite"
LIBRARIES = ("numpy", "flatbuffers", "ai-edge-litert")

LABELS_FILE = "labels.txt"
PROBED_SAMPLES = 16
TEXT_MAX = 10_000


class Config(BaseModel):
    """What only the author can say; texts that are left empty are not in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", max_length=TEXT_MAX, description="Name of the model; left out: the workload's.")
    description: str = Field("", max_length=TEXT_MAX, description="What it does; left out: the workload's description.")
    version: str = Field("", max_length=TEXT_MAX, description="Version of the model, such as 1.2.0.")
    author: str = Field("", max_length=TEXT_MAX, description="Who made it.")
    license: str = Field("", max_length=TEXT_MAX, description="License of the model, such as Apache-2.0.")
    input_name: str = Field("", max_length=TEXT_MAX, description="Name of the input; left out: image, or input.")
    input_description: str = Field("", max_length=TEXT_MAX, description="What the input is.")
    output_name: str = Field("score", min_length=1, max_length=TEXT_MAX, description="Name of the output.")
    output_description: str = Field("", max_length=TEXT_MAX, description="What the output is.")
    runner: str = Field("host", description="Runner on which the outputs are compared before and after.")


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write `model.tflite` with its metadata into `out`; return the bytes before and after, and what was written.

    Raises StepFailed when a label holds a line break, or when an output on the reference samples differs in a bit.
    """
    import numpy as np

    from pipeline.inspect import inspect_file
    from pipeline.verify import REFERENCE_FILE

    before, after = source / "model.tflite", out / "model.tflite"
    found = inspect_file(before)
    shapes = [tuple(tensor.shape) for tensor in (*found.inputs, *found.outputs)]
    if (len(found.inputs), len(found.outputs)) != (1, 1):
        raise StepFailed(
            "metadata are written for files of one input and one output",
            received=f"{len(found.inputs)} and {len(found.outputs)}",
            expected="one of each",
            fix="take the metadata step out of the recipe",
        )
    normalization = affine_normalization(workload)
    pictures = normalization is not None and shapes[0][1:] == workload.input_shape
    labelled = shapes[1][-1:] == (len(workload.labels),)
    facts = ModelFacts(
        name=config.name or workload.name,
        description=config.description or workload.description,
        version=config.version,
        author=config.author,
        license=config.license,
        input=TensorFacts(
            name=config.input_name or ("image" if pictures else "input"),
            description=config.input_description,
            image_size=workload.input_shape if pictures else None,  # type: ignore[arg-type]
            normalization=normalization if pictures else None,
            value_range=workload.input_range,
        ),
        output=TensorFacts(
            name=config.output_name,
            description=config.output_description,
            labels_file=LABELS_FILE if labelled else "",
        ),
    )
    content = with_metadata(before.read_bytes(), facts, workload.labels if labelled else ())
    after.write_bytes(content)
    shutil.copyfile(source / REFERENCE_FILE, out / REFERENCE_FILE)
    refuse_other_outputs(before, after, workload, len(np.load(source / REFERENCE_FILE)), config.runner, "metadata")
    mean, deviation = normalization if normalization and pictures else ((), ())
    return {
        "bytes_before": before.stat().st_size,
        "bytes_after": len(content),
        "labels": len(workload.labels) if labelled else 0,
        "mean": list(mean),
        "deviation": list(deviation),
    }


def with_metadata(content: bytes, facts: ModelFacts, labels: tuple[str, ...] = ()) -> bytes:
    """Return the file with these metadata in place of any that it had, and the labels in a zip behind it."""
    import ai_edge_litert.schema_py_generated as schema
    import numpy as np

    from pipeline.steps._pack import pack
    from pipeline.steps.slim import take_in

    if broken := [label for label in labels if label.splitlines() != [label]]:
        raise StepFailed(
            "a label cannot be a line of a file of labels",
            received=repr(broken[0]),
            expected="labels of one line each, which are not empty",
            fix="rename the class, or take the metadata step out of the recipe",
        )
    model = schema.ModelT.InitFromPackedBuf(content)
    take_in(model, content)
    entries = list(model.metadata or [])
    entry = next((entry for entry in entries if entry.name == BUFFER_NAME.encode()), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = BUFFER_NAME, len(model.buffers)
        entries.append(entry)
        model.buffers.append(schema.BufferT())
    model.buffers[entry.buffer].data = np.frombuffer(metadata_table(facts), np.uint8)
    model.metadata = entries
    return zip_behind(pack(model), {LABELS_FILE: "".join(f"{label}\n" for label in labels).encode()} if labels else {})


def affine_normalization(workload: Workload) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and deviation by channel with which preprocessing is (pixel − mean) ÷ deviation; else None.

    None also where samples are no 8-bit pictures of one or three channels, of the network's own size. What is found
    on black and white is held against preprocessing itself, on real samples and on every pixel value.
    """
    import numpy as np

    raw = np.asarray(workload.load("validation")[0][:PROBED_SAMPLES])
    shape = workload.input_shape
    if raw.dtype != np.uint8 or len(shape) != 3 or shape[2] not in COLOR_SPACES or raw.size == 0:
        return None
    if raw.shape[1:] not in (shape, shape[:2] if shape[2] == 1 else shape):
        return None

    def prepared(samples: np.ndarray) -> np.ndarray:
        return np.asarray(workload.preprocess(samples), np.float64)

    pixels = shape[0] * shape[1]
    levels = np.arange(-(-256 // pixels) * pixels) % 256  # every pixel value, in as few pictures as hold them
    ramps = np.repeat(levels, shape[2]).astype(np.uint8).reshape(-1, *raw.shape[1:])
    flat = np.stack([np.full(raw.shape[1:], value, np.uint8) for value in (0, 255)])
    low, high = prepared(flat).reshape(2, -1, shape[2])[:, 0]
    if not (high > low).all():
        return None
    deviation = 255 / (high - low)
    mean = -low * deviation
    for samples in (flat, ramps, raw):
        expected, values = (samples.reshape(-1, *shape).astype(np.float64) - mean) / deviation, prepared(samples)
        if expected.shape != values.shape or not np.allclose(expected, values, rtol=0, atol=1e-5 * np.ptp(values)):
            return None
    return tuple(float(value) + 0.0 for value in mean), tuple(float(value) for value in deviation)
