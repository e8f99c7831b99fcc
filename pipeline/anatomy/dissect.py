"""The parts of a build that come from its files alone, some of them by running samples through interpreters.

Runs in the child process of `untrusted.py`, with limits. A part that cannot be had is left out with the reason;
the others do not suffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict

from pipeline.anatomy.document import FileBytes, GraphNode, Histogram, LayerNoise, TensorCoverage
from pipeline.anatomy.grids import Grid, grid_of
from pipeline.errors import PipelineError, StepFailed
from pipeline.flatbuffer import read_model
from pipeline.layer_errors import matched_operators
from pipeline.steps._operators import CONVERSIONS, NamedOperator

if TYPE_CHECKING:
    import numpy as np

SAMPLES_FILE, FLOAT_FILE, EARLIER_FILES = "samples.npy", "float32.tflite", "earlier_*.tflite"
HISTOGRAMS_MAX = 64  # of each kind
ROWS_MAX = 256  # of coverage and of noise
NODES_MAX = 1000
_RENAMES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")  # what they give is what they get
# Interpreters raise these for a file that they cannot run, numpy for shapes that do not fit, pydantic for nan.
_FAILURES = (PipelineError, ValueError, RuntimeError, TypeError, LookupError, ArithmeticError)
Pairs = list[tuple[NamedOperator, NamedOperator]]  # of the float32 file, of the file that ships
Row = TypeVar("Row")
Found = TypeVar("Found")
REASON_MAX = 500  # characters


class Dissection(BaseModel):
    """What the child answers: fields of Anatomy, and the rows of its `calibration`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    bytes: list[FileBytes] = []
    graph: list[GraphNode] = []
    calibration: list[TensorCoverage] = []
    histograms: list[Histogram] = []
    layer_noise: list[LayerNoise] = []
    missing: dict[str, str] = {}


@dataclass(frozen=True)
class _Activations:
    """Tensors whose values are looked at: layer and the grid of the file that ships, by index in the file at `path`."""

    path: Path
    names: dict[int, str]
    grids: dict[int, Grid | None]


def dissect(model: Path, folder: Path) -> Dissection:
    """Return the parts of the file `model`.

    folder: where the float32 file, validation samples (float32 [n, *input_shape]) and earlier files of the recipe
    lie, those that could be had.
    """
    import numpy as np

    from pipeline.anatomy.file_bytes import file_bytes
    from pipeline.anatomy.graph import graph_of
    from pipeline.anatomy.histograms import weight_histograms
    from pipeline.anatomy.layer_names import with_layers

    parts = Dissection()
    missing = parts.missing
    operators = _tried(missing, "graph", lambda: with_layers(model, sorted(folder.glob(EARLIER_FILES)))) or []
    parts.bytes = _tried(missing, "bytes", lambda: file_bytes(model, operators)) or []
    nodes = _tried(missing, "graph", lambda: graph_of(model, operators))
    parts.graph = _first(nodes, NODES_MAX, missing, "graph", "nodes")
    kernels = _tried(missing, "histograms", lambda: list(weight_histograms(model, operators)))
    parts.histograms = _first(
        sorted(kernels or [], key=lambda one: -sum(one.counts)), HISTOGRAMS_MAX, missing, "histograms", "kernels"
    )
    if (folder / SAMPLES_FILE).is_file():
        samples = np.load(folder / SAMPLES_FILE)
        float_file = folder / FLOAT_FILE
        _measure(parts, model, float_file if float_file.is_file() else None, operators, samples)
    order = {operator.layer: place for place, operator in reversed(list(enumerate(operators)))}
    parts.histograms.sort(key=lambda one: (order.get(one.name, -1), one.kind == "activations"))
    return parts


def _measure(
    parts: Dissection,
    model: Path,
    float_file: Path | None,
    operators: Sequence[NamedOperator],
    samples: np.ndarray,
) -> None:
    """Add the parts for which samples run through the files."""
    from pipeline.anatomy.calibration_coverage import coverage, seen_values
    from pipeline.anatomy.histograms import activation_histograms
    from pipeline.anatomy.layer_noise import layer_noise

    missing = parts.missing
    inputs = len(read_model(model).subgraphs[0].inputs)
    if inputs != 1:
        reason = f"the graph has {inputs} inputs, and a sample of the workload is one"
        missing.update({"calibration": reason, "layer_noise": reason, "histograms": f"activations: {reason}"})
        return
    layers = {operator.position: operator.layer for operator in operators}
    pairs: Pairs = []
    if float_file:
        pairs = _tried(missing, "layer_noise", lambda: _matched(float_file, model)) or []
        if pairs:
            noise = _tried(missing, "layer_noise", lambda: layer_noise(float_file, model, samples, layers))
            parts.layer_noise = _first(noise, ROWS_MAX, missing, "layer_noise", "operators")
        else:
            missing["calibration"] = f"activations: {missing['layer_noise']}"
    found = _of_pairs(float_file, model, pairs, layers) if float_file and pairs else _of_model(model, operators)
    seen = _tried(missing, "histograms", lambda: seen_values(found.path, samples, found.grids)) or {}
    if not seen:
        return
    if pairs:
        rows = _tried(missing, "calibration", lambda: coverage(found.names, found.grids, seen))
        parts.calibration = _first(rows, ROWS_MAX, missing, "calibration", "activations")
    # The noisiest are shown where there are too many; the graph's input, which has no noise of its own, always is.
    ranks = {row.layer: place for place, row in enumerate(parts.layer_noise, start=1)}
    ranked = sorted(found.names.items(), key=lambda item: ranks.get(item[1], 0 if not ranks else len(ranks) + 1))
    shown = dict(_first(ranked, HISTOGRAMS_MAX, missing, "histograms", "activations"))
    spread = _tried(
        missing, "histograms", lambda: list(activation_histograms(found.path, samples, shown, seen, found.grids))
    )
    parts.histograms += spread or []


def _matched(float_file: Path, model: Path) -> Pairs:
    """Return the operators of both files that stand for each other. Raises StepFailed where they do not."""
    pairs = matched_operators(float_file, model)
    ours, theirs = (read_model(path).subgraphs[0].tensors for path in (float_file, model))
    if any(ours[one.output].elements != theirs[other.output].elements for one, other in pairs):
        raise StepFailed("the layers of the float32 file have other sizes than this one's")
    return pairs


def _of_pairs(float_file: Path, model: Path, pairs: Pairs, layers: dict[int, str]) -> _Activations:
    """Return the float32 file's activations with the grids that they have in the file that ships."""
    ours, theirs = (read_model(path).subgraphs[0] for path in (float_file, model))
    names, grids = {ours.inputs[0]: "input"}, {ours.inputs[0]: grid_of(theirs.tensors[theirs.inputs[0]])}
    for one, other in pairs:
        if one.kind not in _RENAMES:
            names[one.output] = layers[other.position]
            grids[one.output] = grid_of(theirs.tensors[other.output])
    return _Activations(float_file, names, grids)


def _of_model(model: Path, operators: Sequence[NamedOperator]) -> _Activations:
    """Return the file's own activations, which lie on its grids."""
    graph = read_model(model).subgraphs[0]
    names = {graph.inputs[0]: "input"} | {
        operator.output: operator.layer for operator in operators if operator.kind not in (*CONVERSIONS, *_RENAMES)
    }
    return _Activations(model, names, {index: grid_of(graph.tensors[index]) for index in names})


def _tried(missing: dict[str, str], part: str, make: Callable[[], Found]) -> Found | None:
    """Return what `make` returns; None where it fails, and the reason goes into `missing`."""
    try:
        return make()
    except _FAILURES as error:
        text = error.message if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
        missing[part] = text.strip()[:REASON_MAX]
        return None


def _first(rows: Sequence[Row] | None, count: int, missing: dict[str, str], part: str, what: str) -> list[Row]:
    """Return so many of the rows, and say what is left out; none where they could not be had."""
    rows = rows or []
    if len(rows) > count:
        cut = f"{len(rows) - count} of {len(rows)} {what} are left out"
        missing[part] = "; ".join(filter(None, [missing.get(part), cut]))
    return list(rows[:count])
