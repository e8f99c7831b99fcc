"""Samples that are not held in memory, taken in chunks of bounded size. Arrays stay whole, which is quicker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.source import DataSource
    from pipeline.runner import Settings
    from pipeline.workload import Workload

CHUNK_BYTES = 64 * 2**20  # of preprocessed samples


def is_lazy(samples: Any) -> bool:
    """Whether samples are read as they are asked for."""
    import numpy as np

    return not isinstance(samples, np.ndarray)


def chunks(samples: Any, workload: Workload | DataSource) -> Iterator[slice]:
    """Yield slices that cover the samples: one for an array, else of CHUNK_BYTES each behind preprocess()."""
    import numpy as np

    size = max(1, CHUNK_BYTES // (4 * int(np.prod(workload.input_shape)))) if is_lazy(samples) else len(samples)
    for start in range(0, len(samples), max(1, size)):
        yield slice(start, start + size)


def answers_of(
    runner: ModuleType, files: Mapping[str, Path], samples: Any, workload: Workload, settings: Settings
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {name: (outputs [n, …], the task's evidence)} of raw samples; limits of time hold for each chunk."""
    import numpy as np

    outputs: dict[str, list[np.ndarray]] = {name: [] for name in files}
    evidence: dict[str, list[np.ndarray]] = {name: [] for name in files}
    for part in chunks(samples, workload):
        prepared = workload.preprocess(samples[part])
        models = runner.run(files, prepared, settings).models
        for name in files:
            outputs[name].append(models[name].outputs)
            evidence[name].append(workload.task.evidence(models[name].outputs, prepared))
    return {name: (np.concatenate(outputs[name]), np.concatenate(evidence[name])) for name in files}
