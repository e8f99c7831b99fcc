"""The Workload contract, and finding one by name or path.

A workload says what is learned. It is a Python module, one of `pipeline/workloads/`,
one of the project's own `workloads/`, or any file given as `--workload=path/to/mine.py`.
It defines:

    DESCRIPTION: str                one line for tables and model cards
    LABELS: tuple[str, ...]         class names, in the order of the outputs
    INPUT_SHAPE: tuple[int, ...]    one preprocessed sample, without the batch
    INPUT_RANGE: tuple[float, float]   lowest and highest preprocessed value
    TRAINING: Training              epochs, batch size, learning rate
    load(split) -> (samples, labels)   "train", "validation" or "test"; raw samples [n, …], labels as the
                                    task wants them: integers [n] for a classification. Samples are an array,
                                    or whatever has `len`, `shape` and `dtype` and gives arrays for an index,
                                    a slice or an array of indices: it is read in batches, never as a whole
    preprocess(samples) -> float32  [n, *INPUT_SHAPE]; the one path from a raw sample to the
                                    network, used in training, calibration, evaluation, predict
    build_model()                   the untrained tf_keras model, logits out

and may define:

    TASK: str                       a module of `pipeline/learning_tasks/`; "classification" where it is left
                                    out. It says what labels are, how the network learns and how it is scored
    METRIC: str                     one of the task's METRICS; left out: the task's first
    THRESHOLD: float                probability from which a binary task answers yes, 0 to 1; left out: 0.5
    DATA_FILES: tuple[Path, ...]    absolute paths of all files that the data comes from: their bytes
                                    enter the keys, and a file left out here makes stale results
    data_hashes() -> {name: SHA-256}   the same for data of more files than can be hashed at every plan
    augment(samples, seed)          TensorFlow function on one preprocessed float32 batch;
                                    seed is an int32 tensor [2] that fixes the draw
    custom_objects() -> {name: class or function}   code of the model's own layers, for the load step
    decode_image(image) -> sample   one raw sample from a Pillow image (default: `images.py`),
                                    for `invoke predict`

TensorFlow is imported inside `build_model` and `augment`, never at the top.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import BadWorkload, UnknownName
from pipeline.learning_task import find_task
from pipeline.lookup import PACKAGE, find_file, find_module, load_module

if TYPE_CHECKING:
    import numpy as np

REQUIRED = (
    "DESCRIPTION",
    "LABELS",
    "INPUT_SHAPE",
    "INPUT_RANGE",
    "TRAINING",
    "load",
    "preprocess",
    "build_model",
)
SPLITS = ("train", "validation", "test")


class Training(BaseModel):
    """How a workload's float model is trained; a recipe's train step may override each field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(gt=0, description="Passes over the training split.")
    batch_size: int = Field(128, gt=0, description="Samples a step.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's learning rate, the first and highest.")
    learning_rate_schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="Constant, or cosine decay to zero over the whole run."
    )


@dataclass(frozen=True)
class Workload:
    """A workload's module behind its name: read its parts through the attributes below."""

    name: str
    module: ModuleType
    given_by_path: bool = False

    @property
    def source(self) -> Path:
        return Path(str(self.module.__file__))

    @property
    def description(self) -> str:
        return self.module.DESCRIPTION

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.module.LABELS)

    @property
    def task(self) -> ModuleType:
        return find_task(self.task_name, str(getattr(self.module, "__file__", self.name)))

    @property
    def task_name(self) -> str:
        return getattr(self.module, "TASK", "classification")

    @property
    def metric(self) -> str:
        """The name of the metric that the workload is scored by."""
        name = getattr(self.module, "METRIC", self.task.METRICS[0])
        if name not in self.task.METRICS:
            raise UnknownName("METRIC", name, list(self.task.METRICS), where=str(self.source))
        return name

    @property
    def threshold(self) -> float:
        """The probability from which a binary or multi-label task answers yes."""
        value = getattr(self.module, "THRESHOLD", 0.5)
        if not isinstance(value, float) or not 0 < value < 1:
            raise BadWorkload(
                f"{self.source}: THRESHOLD is no probability",
                received=repr(value),
                expected="a number between 0 and 1, both excluded",
                fix="THRESHOLD = 0.5",
            )
        return value

    @property
    def output_shape(self) -> tuple[int, ...]:
        """What the network gives for one sample."""
        return self.task.output_shape(self.labels, self.input_shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.module.INPUT_SHAPE)

    @property
    def input_range(self) -> tuple[float, float]:
        low, high = self.module.INPUT_RANGE
        return float(low), float(high)

    @property
    def training(self) -> Training:
        return self.module.TRAINING

    @property
    def data_files(self) -> tuple[Path, ...]:
        files = tuple(Path(path) for path in getattr(self.module, "DATA_FILES", ()))
        relative = [str(path) for path in files if not path.is_absolute()]
        if relative:
            raise BadWorkload(
                f"{self.source}: DATA_FILES depends on the folder that a command is called in",
                received=", ".join(relative),
                expected="absolute paths",
                fix="Path(__file__).parent / … in the workload",
            )
        return files

    def data_hashes(self) -> dict[str, str]:
        """Return {name: SHA-256} of data that is no plain list of files; empty where there is none."""
        given = getattr(self.module, "data_hashes", None)
        return dict(given()) if given else {}

    @property
    def augment(self) -> Any:
        return getattr(self.module, "augment", None)

    def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (raw samples [n, …], labels [n, …] as the task has them) of "train", "validation" or "test"."""
        samples, labels = self.module.load(split)
        if len(samples) != len(labels):
            raise BadWorkload(
                f"{self.source}: load({split!r}) does not return as many samples as labels",
                received=f"{len(samples)} samples, {len(labels)} labels",
                expected="equal counts",
                fix="correct the workload's load()",
            )
        is_array = hasattr(labels, "dtype") and labels.ndim > 0 and len(labels) > 0
        expected = "an array of labels, one for each sample"
        if is_array and not (expected := self.task.labels_expected(labels, self.labels, split)):
            return samples, labels
        received = f"{getattr(labels, 'dtype', type(labels).__name__)} {list(getattr(labels, 'shape', ()))}"
        if is_array and labels.dtype.kind in "iuf":
            received += f", values from {labels.min()} to {labels.max()}"
        raise BadWorkload(
            f"{self.source}: load({split!r}) returns unusable labels",
            received=received,
            expected=expected,
            fix="correct the workload's load() or LABELS",
        )

    def preprocess(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 [n, *input_shape] from raw samples [n, …]."""
        prepared = self.module.preprocess(samples)
        if prepared.shape != (len(samples), *self.input_shape) or prepared.dtype != "float32":
            raise BadWorkload(
                f"{self.source}: preprocess() does not return what INPUT_SHAPE promises",
                received=f"{prepared.dtype} {list(prepared.shape)}",
                expected=f"float32 {[len(samples), *self.input_shape]}",
                fix="correct preprocess() or INPUT_SHAPE",
            )
        return prepared

    def build_model(self) -> Any:
        return self.module.build_model()


def load_workload(workload: str | Path | Workload, root: Path | None = None) -> Workload:
    """Find a workload by name or by the path of a `.py` file, and check it against the contract.

    A Workload is returned as it is. Raises UnknownName when there is none, BadWorkload when the module
    breaks the contract, RequestError when it cannot be imported.
    """
    if isinstance(workload, Workload):
        return workload
    name = str(workload)
    given_by_path = isinstance(workload, Path) or name.endswith(".py")
    if given_by_path:
        path = Path(name).expanduser()
        if not path.is_file() or path.suffix != ".py":
            raise BadWorkload(
                f"no workload file {name}",
                received=name,
                expected="the path of a Python file, or a workload's name",
                fix="check the path; `invoke targets` lists the names that ship",
            )
        _let_import_neighbours(path.resolve())
        module = load_module(path.resolve(), "workload")
        name = path.stem
    else:
        found = find_file("workloads", name, ".py", root)
        if found and not found.is_relative_to(PACKAGE):
            _let_import_neighbours(found)
        module = find_module("workloads", name, root, kind="workload", marker="build_model")
    missing = [part for part in REQUIRED if not hasattr(module, part)]
    if missing:
        raise BadWorkload(
            f"the workload {module.__file__} is incomplete",
            received=f"a module without {', '.join(missing)}",
            expected=f"a module that defines {', '.join(REQUIRED)}",
            fix="define the missing names; the contract is in pipeline/workload.py",
        )
    if not isinstance(module.TRAINING, Training):
        raise BadWorkload(
            f"the workload {module.__file__} has an unusable TRAINING",
            received=type(module.TRAINING).__name__,
            expected="pipeline.workload.Training",
            fix="TRAINING = Training(epochs=…, batch_size=…, learning_rate=…)",
        )
    return Workload(name, module, given_by_path)


def _let_import_neighbours(path: Path) -> None:
    """A user's file may import what lies beside it, also later and inside functions."""
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
