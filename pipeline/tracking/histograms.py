"""Weights and activations before and after quantization, as bins: [low edge, high edge, count]."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.project import Project
from pipeline.tracking.facts import BuildFacts

if TYPE_CHECKING:
    import numpy as np

    from pipeline.anatomy.document import Histogram
    from pipeline.documents import BuildDocument

BEFORE, AFTER = 0, 1
_BINS = 64
_KERAS_FILE = "model.h5"
Bins = list[list[float]]


def bins_of(facts: BuildFacts, project: Project) -> Iterator[tuple[str, int, Bins]]:
    """Yield ("weights/conv1", BEFORE or AFTER, bins), layer by layer.

    Weights before are those of the last model that is not a file yet, where the store still has it; a layer whose
    name occurs there only once is found. Activations after are the counted ones, each bin moved to the value of the
    grid that it is rounded to.
    """
    import numpy as np

    before = _last_kernels(facts.document, project)
    for found in facts.anatomy.histograms:
        tag = f"{found.kind}/{found.name}"
        counted = _rows(np.array(found.edges), np.array(found.counts))
        if found.kind == "activations":
            yield tag, BEFORE, counted
            if found.grid_step:
                yield tag, AFTER, _on_grid(found)
            continue
        if found.name in before:
            counts, edges = np.histogram(before[found.name], _BINS)
            yield tag, BEFORE, _rows(edges, counts)
        yield tag, AFTER, counted


def _rows(edges: np.ndarray, counts: np.ndarray) -> Bins:
    return [[float(low), float(high), float(n)] for low, high, n in zip(edges, edges[1:], counts, strict=False)]


def _on_grid(found: Histogram) -> Bins:
    import numpy as np

    low, high, step = (float(value or 0.0) for value in (found.grid_low, found.grid_high, found.grid_step))
    edges = np.array(found.edges)
    centres = (edges[:-1] + edges[1:]) / 2
    rounded = low + np.round((np.clip(centres, low, high) - low) / step) * step
    span = np.linspace(min(edges[0], rounded.min()), max(edges[-1], rounded.max()), len(edges))
    return _rows(span, np.histogram(rounded, span, weights=np.array(found.counts))[0])


def _last_kernels(document: BuildDocument, project: Project) -> dict[str, np.ndarray]:
    """Return the kernels of the last Keras model among the stages, by the layer's name."""
    for stage in reversed(document.stages):
        if project.store.peek(stage.key) is None:
            continue
        entry = project.store.get(stage.key)
        if entry is not None and (entry.folder / _KERAS_FILE).is_file():
            return _kernels(entry.folder / _KERAS_FILE)
    return {}


def _kernels(path: Path) -> dict[str, np.ndarray]:
    import h5py
    import numpy as np

    found: dict[str, list[np.ndarray]] = {}

    def visit(name: str, node: object) -> None:
        parts = name.split("/")
        if isinstance(node, h5py.Dataset) and len(parts) > 1 and parts[-1].split(":")[0].endswith("kernel"):
            found.setdefault(parts[-2], []).append(np.asarray(node, np.float32).reshape(-1))

    with h5py.File(path, "r") as file:
        weights = file.get("model_weights")
        if isinstance(weights, h5py.Group):
            weights.visititems(visit)
    return {name: kernels[0] for name, kernels in found.items() if len(kernels) == 1}
