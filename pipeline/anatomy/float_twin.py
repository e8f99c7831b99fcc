"""The float32 file of the very model that was quantized: what quantization alone did shows against it.

The build's own float32 file, its baseline, is of the model as it was first trained. Where a recipe prunes or
distills that, another network is quantized, and the two differ for other reasons than their number formats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.execute import Worker
from pipeline.lookup import PACKAGE
from pipeline.machine_lock import training
from pipeline.plan import BASELINE
from pipeline.project import FLOAT_TWIN, Project
from pipeline.source import source_hashes
from pipeline.store import key_of
from pipeline.watch import Watch

if TYPE_CHECKING:
    from pipeline.documents import StageRecord
    from pipeline.workload import Workload

CONVERTER = PACKAGE / "steps" / "quantize.py"
_CONFIG = {"scheme": "float32", "input_dtype": "float32", "output_dtype": "float32", "agreement_min": 0.0}
_QUANTIZERS = ("quantize", "quantize_edge", "quantize_aware")  # whose source is a Keras model


def float_stage(recipe: Sequence[StageRecord]) -> str:
    """Return the stage whose model the float32 file is made of: the baseline's own where nothing changed it since.

    recipe: the stages of a build that lead to its file.
    """
    first_file = next((place for place, stage in enumerate(recipe) if "file" in stage.facts), len(recipe))
    # The first model of these labels, which the baseline is made of: a transfer learns them anew.
    learned = max((place for place, stage in enumerate(recipe[:first_file]) if "phases" in stage.facts), default=0)
    if first_file - 1 <= learned or _step(recipe[first_file]) not in _QUANTIZERS:
        return BASELINE
    return recipe[first_file - 1].name


def trained_since(recipe: Sequence[StageRecord], stage: str) -> list[str]:
    """Return the stages that trained behind the one that the float32 file is made of."""
    names = [one.name for one in recipe]
    first = names.index(stage) if stage in names else 0
    return [one.name for one in recipe[first + 1 :] if "history" in one.facts]


def make_twin(key: str, workload: Workload, project: Project, watch: Watch) -> Path:
    """Return the folder of the stage `key`'s model as a float32 file: kept in the store, or converted now.

    Converting loads TensorFlow. Raises StepFailed when the model cannot be converted.
    """
    record = {
        "format": 1,
        "step": FLOAT_TWIN,
        "workload": workload.name,
        "follows": [key],
        "config": _CONFIG,
        "source": source_hashes(CONVERTER, PACKAGE / "verify.py"),
    }
    twin, store = key_of(record), project.store
    if entry := store.get(twin):
        return entry.folder
    log = project.artifacts / "logs" / f"{workload.name}-{FLOAT_TWIN}.log"
    worker = Worker(project.root, log)
    with store.making(twin), store.working_folder(twin) as out, training(watch.note), worker:
        request = {
            "step": str(CONVERTER),
            "workload": str(workload.source),
            "source": str(store.root / "entries" / key),
            "config": _CONFIG,
            "promises": {},
            "runner": {"runner": "host"},
            "out": str(out),
        }
        answer = worker.run(request, watch)
        return store.put(twin, record, out, answer["facts"], answer["seconds"]).folder


def _step(stage: StageRecord) -> str:
    return re.sub(r"_\d+$", "", stage.name)
