"""What is loaded: planning must answer at once, so the heavy libraries stay out of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRAINING = {"tensorflow", "tf_keras", "tensorflow_model_optimization"}
HEAVY = TRAINING | {"ai_edge_litert", "ai_edge_quantizer", "matplotlib"}
# Only the worker's steps and the interpreter's own process load these.
NEVER_PLANNED = {
    "pipeline.keras_legacy",
    "pipeline.steps._fit",
    "pipeline.steps._batches",
    "pipeline.steps._frozen",
    "pipeline.runners._host_child",
}

PLAN_ALL = f"""
import importlib, pkgutil
import pipeline
for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
    if module.name not in {NEVER_PLANNED!r}:
        importlib.import_module(module.name)
from pipeline.plan import make_plan
from pipeline.target import load_target
from pipeline.workload import load_workload
for target in ("mobile", "browser"):
    for workload in ("mnist", "mnist_dense"):
        assert make_plan(load_target(target), load_workload(workload), 0).stages[0].key
"""

LOAD_UNIT_TESTS = """
import importlib.util, pathlib
for path in sorted(pathlib.Path("tests/unit").glob("test_*.py")):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


def loaded_by(code: str) -> set[str]:
    """Return the names of all modules that a fresh Python holds after it ran `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_planning_loads_neither_training_library_nor_interpreter() -> None:
    loaded = loaded_by(PLAN_ALL)
    assert {"pipeline.tasks", "pipeline.build_target", "pipeline.runners.host", "pipeline.steps.quantize"} <= loaded
    assert not loaded & HEAVY


def test_unit_tests_load_no_training_library() -> None:
    loaded = loaded_by(LOAD_UNIT_TESTS)
    assert "pipeline.benchmark" in loaded
    assert not loaded & TRAINING


def test_listing_the_tasks_loads_neither_pydantic_nor_rich_nor_numpy() -> None:
    loaded = loaded_by("import pipeline.tasks")
    assert "invoke" in loaded
    assert not loaded & ({"pydantic", "rich", "numpy", "PIL", "filelock"} | HEAVY)
