"""What labels mean: the task that they are for, the names of the outputs, and what cannot be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.settings import DataSettings
from pipeline.errors import DataError

if TYPE_CHECKING:
    import numpy as np

ANOMALY_NAMES = ("normal", "anomalous")
BINARY_NAMES = ("negative", "positive")


def understand(
    parts: dict[str, np.ndarray], settings: DataSettings, path: Path, first_label: int = 0
) -> tuple[str, tuple[str, ...], dict[str, np.ndarray]]:
    """Return (task, names of the outputs, labels by split as the task wants them).

    `parts` holds labels by split as they were found: numbers or texts [n], or numbers [n, k]; always with "train".
    Raises DataError for labels that do not fit the task, a number or text that is no class, an empty class (in
    "train"), a single class, and names that differ by nothing but case.
    """
    import numpy as np

    task = settings.task or _told_from(parts["train"])
    if task == "regression":
        names = _value_names(parts["train"], settings, path, "value")
        return task, names, {split: _values(part, names, path, split) for split, part in parts.items()}
    if task == "multi_label":
        names = _value_names(parts["train"], settings, path, "label")
        return task, names, {split: _marks(part, names, path, split) for split, part in parts.items()}
    flat = {split: _one_each(part, path, split) for split, part in parts.items()}
    if flat["train"].dtype.kind in "US":
        names = settings.labels or _text_names(flat, task, path)
        found = {split: _places(part.astype(str), names, path, split) for split, part in flat.items()}
    else:
        found = {split: _whole(part, path, split) - first_label for split, part in flat.items()}
        names = settings.labels or _number_names(found["train"], task, path, first_label)
        for split, part in found.items():
            _refuse_out_of_range(part, names, path, split, first_label)
    _refuse_names(names, task, path)
    if task != "anomaly":
        refuse_empty_class(found["train"], names, path)
    return task, names, {split: part.astype(np.int64) for split, part in found.items()}


def refuse_empty_class(labels: np.ndarray, names: Sequence[str], path: Path, split: str = "") -> None:
    """Raise DataError when one of the classes has no sample in labels int [n]."""
    present = set(labels.tolist())
    empty = [name for number, name in enumerate(names) if number not in present]
    if empty:
        raise DataError(
            f"{path}: an empty class: {', '.join(map(repr, empty[:10]))}",
            received=f"no sample of {len(empty)} of {len(names)} classes" + (f" in the {split} split" if split else ""),
            expected="samples of every class to learn from; classes that are numbers count from 0 without a gap",
            fix="add samples of it, or take the class out; where numbers start elsewhere, first_label says so",
        )


def refuse_names(names: Sequence[str], path: Path) -> None:
    """Raise DataError for names of classes that are equal, or differ by nothing but case."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            raise DataError(
                f"{path}: two classes with the same name but for case",
                received=f"{other!r} and {name!r}",
                expected="names that differ by more than case",
                fix="rename one, or put the samples of both into one class",
            )


def _refuse_names(names: Sequence[str], task: str, path: Path) -> None:
    refuse_names(names, path)
    if len(names) < 2:
        raise DataError(
            f"{path}: one class only",
            received=f"every sample is {names[0]!r}" if names else "no class",
            expected="samples of two classes at least",
            fix='add another class, or say task = "regression" in the settings if labels are values',
        )
    if task in ("binary", "anomaly") and len(names) != 2:
        raise DataError(
            f"{path}: {task} labels have two classes",
            received=f"{len(names)} classes: {', '.join(names[:10])}",
            expected="two classes",
            fix='task = "classification" in the settings, or data of two classes',
        )


def _told_from(labels: np.ndarray) -> str:
    """Floats with fractions are values; several 0/1 columns are multi-label; all else is one class a sample."""
    if labels.dtype.kind == "f" and (labels % 1 != 0).any():
        return "regression"
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind not in "US":
        if not ((labels == 0) | (labels == 1)).all():
            return "regression"
        return "classification" if (labels.sum(axis=1) == 1).all() else "multi_label"  # one-hot is one class
    return "classification"


def _one_each(labels: np.ndarray, path: Path, split: str) -> np.ndarray:
    if labels.ndim == 1:
        return labels
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    one_hot = labels.ndim == 2 and labels.dtype.kind not in "US" and ((labels == 0) | (labels == 1)).all()
    if one_hot and (labels.sum(axis=1) == 1).all():
        return labels.argmax(axis=1)
    raise DataError(
        f"{path}: labels of the {split} split are not one class a sample",
        received=f"an array {list(labels.shape)}",
        expected="labels [samples], or one-hot [samples, classes]",
        fix='task = "multi_label" or "regression" in the settings',
    )


def _text_names(flat: dict[str, np.ndarray], task: str, path: Path) -> tuple[str, ...]:
    """Return the texts found in any split: in the order of numbers where all are whole numbers, else of characters."""
    names = sorted({str(name) for part in flat.values() for name in part})
    if all(name.removeprefix("-").isdecimal() for name in names):
        names.sort(key=int)
    if task == "anomaly":
        if "normal" not in names:
            raise DataError(
                f"{path}: which class is the normal one is not known",
                received=", ".join(names[:10]),
                expected="a class 'normal', or its name first in the settings' labels",
                fix='labels = ["<normal>", "<anomalous>"]',
            )
        names.sort(key=lambda name: name != "normal")
    return tuple(names)


def _number_names(labels: np.ndarray, task: str, path: Path, first_label: int) -> tuple[str, ...]:
    if task in ("binary", "anomaly"):
        return ANOMALY_NAMES if task == "anomaly" else BINARY_NAMES
    count = int(labels.max()) + 1
    if count > len(labels):  # before a list of a billion names is made
        raise DataError(
            f"{path}: more classes than samples",
            received=f"a label {count - 1} among {len(labels)} samples",
            expected="classes numbered from 0 without a gap, each with samples",
            fix='number the classes anew, or say task = "regression" if labels are values',
        )
    return tuple(str(first_label + number) for number in range(count))


def _places(labels: np.ndarray, names: Sequence[str], path: Path, split: str) -> np.ndarray:
    import numpy as np

    place = {name: number for number, name in enumerate(names)}
    found = np.array([place.get(str(label), -1) for label in labels], np.int64)
    unknown = np.flatnonzero(found < 0)
    if len(unknown):
        raise DataError(
            f"{path}: a label that is no class: {split} sample {unknown[0]}",
            received=f"{str(labels[unknown[0]])!r}",
            expected=f"one of {', '.join(names)}",
            fix="correct the label, or add it to labels in the settings",
        )
    return found


def _whole(labels: np.ndarray, path: Path, split: str) -> np.ndarray:
    import numpy as np

    fractions = ~np.isfinite(labels) | (labels % 1 != 0) if labels.dtype.kind == "f" else np.zeros(len(labels), bool)
    bad = np.flatnonzero(fractions)
    if len(bad) or labels.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: labels of the {split} split are no whole numbers" + (f": sample {bad[0]}" if len(bad) else ""),
            received=repr(labels[bad[0]].item()) if len(bad) else f"dtype {labels.dtype}",
            expected="whole numbers from 0",
            fix='task = "regression" in the settings if labels are values',
        )
    return labels.astype(np.int64)


def _refuse_out_of_range(labels: np.ndarray, names: Sequence[str], path: Path, split: str, first_label: int) -> None:
    import numpy as np

    bad = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(bad):
        raise DataError(
            f"{path}: a label out of range: {split} sample {bad[0]}",
            received=int(labels[bad[0]]) + first_label,
            expected=f"{first_label} to {first_label + len(names) - 1}, for {len(names)} classes",
            fix="correct the label, or the settings' labels and first_label",
        )


def _value_names(labels: np.ndarray, settings: DataSettings, path: Path, word: str) -> tuple[str, ...]:
    columns = 1 if labels.ndim == 1 else labels.shape[-1]
    names = settings.labels or ((word,) if columns == 1 else tuple(f"{word}_{number}" for number in range(columns)))
    if labels.dtype.kind not in "fiub" or labels.ndim > 2 or len(names) != columns:
        raise DataError(
            f"{path}: labels do not fit the task {settings.task or word!r}",
            received=f"labels {list(labels.shape)} of {labels.dtype}" + (f", {len(names)} names" if names else ""),
            expected="numbers [samples] or [samples, outputs], and as many names in the settings' labels as outputs",
            fix="correct task or labels in the settings",
        )
    refuse_names(names, path)
    return names


def _values(labels: np.ndarray, names: Sequence[str], path: Path, split: str) -> np.ndarray:
    import numpy as np

    _refuse_other_width(labels, names, path, split)
    values = labels.reshape(len(labels), len(names)).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: a label is no finite number: {split} sample {bad[0]}",
            received=labels[bad[0]].tolist(),
            expected="finite numbers",
            fix="correct or remove the sample",
        )
    return values


def _marks(labels: np.ndarray, names: Sequence[str], path: Path, split: str) -> np.ndarray:
    import numpy as np

    _refuse_other_width(labels, names, path, split)
    marks = labels.reshape(len(labels), len(names))
    bad = np.flatnonzero(~((marks == 0) | (marks == 1)).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: a label out of range: {split} sample {bad[0]}",
            received=marks[bad[0]].tolist(),
            expected="0 or 1 for each label",
            fix='correct the sample, or say task = "regression" if these are values',
        )
    return marks.astype(np.int64)


def _refuse_other_width(labels: np.ndarray, names: Sequence[str], path: Path, split: str) -> None:
    columns = 1 if labels.ndim == 1 else labels.shape[-1]
    if columns != len(names) or labels.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: labels of the {split} split are unlike those of train",
            received=f"{list(labels.shape)} of {labels.dtype}",
            expected=f"[samples, {len(names)}] numbers",
            fix="give every split the same labels",
        )
