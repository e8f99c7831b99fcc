"""Samples that are not held in memory, taken in chunks of bounded size. Arrays stay whole, which is quicker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from pipeline.runner import Settings
    from pipeline.workload import Workload

CHUNK_BYTES = 64 * 2**20  # of preprocessed samples


def is_lazy(samples: Any) -> bool:
    """Whether samples are read as they are asked for."""
    import numpy as np

    return not isinstance(samples, np.ndarray)


def chunks(samples: Any, workload: Workload) -> Iterator[slice]:
    """Yield slices that cover the samples: one for an array, else of CHUNK_BYTES each behind preprocess()."""
    import numpy as np

    size = max(1, CHUNK_BYTES // (4 * int(np.prod(workload.input_shape)))) if is_lazy(samples) else len(samples)
    for start in range(0, len(samples), max(1, size)):
        yield slice(start, start + size)


def run_all(
    runner: ModuleType, files: Mapping[str, Path], samples: Any, workload: Workload, settings: Settings
) -> dict[str, np.ndarray]:
    """Return {name: outputs [n, …]} of raw samples; limits of time hold for each chunk."""
    import numpy as np

    parts: dict[str, list[np.ndarray]] = {name: [] for name in files}
    for part in chunks(samples, workload):
        models = runner.run(files, workload.preprocess(samples[part]), settings).models
        for name in files:
            parts[name].append(models[name].outputs)
    return {name: found[0] if len(found) == 1 else np.concatenate(found) for name, found in parts.items()}


def evidence_of(runner: ModuleType, model: Path, samples: Any, workload: Workload, settings: Settings) -> np.ndarray:
    """Return the task's evidence [n, …] of a file's answers to raw samples."""
    import numpy as np

    found = []
    for part in chunks(samples, workload):
        prepared = workload.preprocess(samples[part])
        outputs = runner.run({"model": model}, prepared, settings).models["model"].outputs
        found.append(workload.task.evidence(outputs, prepared))
    return found[0] if len(found) == 1 else np.concatenate(found)
