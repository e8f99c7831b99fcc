"""The parts of a finished build that the report shows, as plain data.

Every part is taken from the file that ships, its float32 baseline, or what the stages recorded; a part that
cannot be had is left out, and `missing` says why.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.operator_times import OperatorTimes

BytesKind = Literal["weights", "biases", "quantization parameters", "other constants", "graph overhead"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Curves(_Part):
    """What one training stage recorded, epoch by epoch."""

    stage: str = Field(description="Name of the stage, such as train or prune.")
    series: dict[str, list[float]] = Field(
        description="One value an epoch: loss, val_loss, the metric and val_ of it, learning_rate, sparsity."
    )


class Confusion(_Part):
    """How often each class was taken for each, on the test split: rows are the true classes."""

    labels: list[str] = Field(description="Names of the classes.")
    float_counts: list[list[int]] = Field(description="Of the float32 file of the uncompressed model.")
    file_counts: list[list[int]] = Field(description="Of the file that ships.")


class Disagreement(_Part):
    """One test sample that the float32 file and the one that ships answer differently."""

    index: int = Field(description="Index into the test split.")
    label: str = Field(description="The true class.")
    float_answer: str = Field(description="What the float32 file answers.")
    file_answer: str = Field(description="What the file that ships answers.")
    picture: str = Field(description="The sample as a PNG data URI; empty where samples are no pictures.")


class Disagreements(_Part):
    """Where compression changed the answer, on the test split."""

    samples: int = Field(description="Samples of the split.")
    lost: int = Field(description="Right before, wrong now.")
    gained: int = Field(description="Wrong before, right now.")
    both_wrong: int = Field(description="Wrong before and otherwise wrong now.")
    shown: list[Disagreement] = Field(description="At most 60 of them, what was lost first.")


class TensorCoverage(_Part):
    """One activation: the range that calibration gave it, and what validation samples made of it."""

    name: str = Field(description="The layer that gives it, or the graph's input.")
    low: float = Field(description="Lowest real value that it can hold.")
    high: float = Field(description="Highest real value that it can hold.")
    seen_low: float = Field(description="Lowest value of the float32 file's tensor over the samples.")
    seen_high: float = Field(description="Highest of them.")
    clipped_share: float = Field(description="Share of those values more than half a step beyond the range, 0 to 1.")


class CalibrationCoverage(_Part):
    """How well the representative dataset stands for what the file meets."""

    classes: dict[str, int] = Field(description="Calibration samples of each class; empty without classes.")
    samples: int = Field(description="Validation samples that were run.")
    tensors: list[TensorCoverage] = Field(description="Activations in order of execution.")


class FileBytes(_Part):
    """A piece of the file. All pieces add up to its size."""

    name: str = Field(description="Tensor, or what the piece is.")
    layer: str = Field(description="The layer that reads it; empty for the graph's own.")
    kind: BytesKind = Field(description="What it holds.")
    bytes: int = Field(description="Its bytes in the file.")


class GraphNode(_Part):
    """One operator of the graph that is invoked, or its input."""

    name: str = Field(description="Builtin name such as CONV_2D; INPUT for an input of the graph.")
    layer: str = Field(description="The Keras layer that it is best known by.")
    follows: list[int] = Field(description="Positions in the list of the nodes that it reads.")
    shape: tuple[int, ...] = Field(description="Shape of its first output, in elements.")
    dtypes: tuple[str, ...] = Field(description="Number formats of inputs and outputs, each named once.")
    weight_dtype: str | None = Field(description="Number format of its kernel; null without one.")
    computes_in_float: bool = Field(description="Whether it computes in float.")
    float_leftover: bool = Field(description="Whether it keeps the file from being full-integer.")


class Histogram(_Part):
    """The values of one tensor, and the grid that they are rounded to."""

    name: str = Field(description="The layer.")
    kind: Literal["weights", "activations"] = Field(description="What is counted.")
    edges: list[float] = Field(description="Edges of the bins, one more than counts, real values.")
    counts: list[int] = Field(
        description="Values in each bin: of weights the file's own, of activations the float32 file's where the two "
        "can be matched, else its own."
    )
    grid_low: float | None = Field(description="Lowest value of the quantization grid; null for a float tensor.")
    grid_high: float | None = Field(description="Highest value of the grid.")
    grid_step: float | None = Field(description="Distance of two values; of several scales, the largest.")


class LayerNoise(_Part):
    """The error that quantization puts into a layer's output, against the float32 file."""

    layer: str = Field(description="The layer.")
    operator: str = Field(description="Builtin name of the operator.")
    noise: float = Field(description="Share of the signal's power, from the input on.")
    own_noise: float = Field(description="The same, of what comes in at this layer.")
    sqnr_db: float | None = Field(description="Signal to noise in decibel; null where nothing differs.")


class Anatomy(_Part):
    """All parts of one build."""

    sha256: str = Field(description="SHA-256 of the file that ships.")
    curves: list[Curves] = Field([], description="Trainings in the order of the plan.")
    confusion: Confusion | None = Field(None, description="Null where samples have no class each, or very many.")
    disagreements: Disagreements | None = Field(None, description="Null where samples have no class each.")
    calibration: CalibrationCoverage | None = Field(None, description="Null without a representative dataset.")
    bytes: list[FileBytes] = Field([], description="Where the bytes are, the largest first.")
    graph: list[GraphNode] = Field([], description="The graph, in order of execution.")
    histograms: list[Histogram] = Field([], description="Weights and activations, layer by layer.")
    layer_noise: list[LayerNoise] = Field([], description="The worst first, by own noise.")
    operator_times: OperatorTimes | None = Field(None, description="Estimates; null where they were not asked for.")
    missing: dict[str, str] = Field({}, description="Parts that cannot be had, whole or in part, by field name: why.")
    notes: dict[str, str] = Field({}, description="What to know of a part that is there, by field name.")
