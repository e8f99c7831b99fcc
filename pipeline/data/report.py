"""The data report: balance, duplicates, leakage between splits, mean and deviation, and a contact sheet.

It reads samples as training does, in parts, so it tells what the network will see. Near-duplicates, sizes and
skipped files are told by the readers that know of them.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.document import DataReport, SplitReport
from pipeline.data.kinds import kind_of, open_any
from pipeline.data.source import DataSource
from pipeline.data.streaming import chunks
from pipeline.learning_task import find_task
from pipeline.workload import SPLITS

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

IMBALANCE_MAX = 10.0
CLASSES_SHOWN, SAMPLES_SHOWN, CELL = 20, 10, 64
SEPARATE_VALUES = 16  # on the last axis, beyond which mean and deviation are no channels


def report_on(path: Path, root: Path) -> DataReport:
    """Return the report on the data at `path`; writes `artifacts/data/<name>/contact_sheet.png`. Raises DataError."""
    import numpy as np

    kind = kind_of(path)
    source = open_any(path, kind)
    counts: dict[str, SplitReport] = {}
    contents: dict[str, set[bytes]] = {}
    number, sums, squares = 0, np.zeros(1), np.zeros(1)
    for split in SPLITS:
        samples, labels = source.load(split)
        found = contents[split] = set()
        for part in chunks(samples, source):
            raw = np.asarray(samples[part])
            found.update(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in raw)
            if split == "train":
                values = source.preprocess(raw).astype(np.float64)
                values = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
                number += len(values)
                sums = sums + values.sum(axis=0)
                squares = squares + (values**2).sum(axis=0)
        counts[split] = SplitReport(
            samples=len(labels), classes=_by_class(source, labels), exact_duplicates=len(labels) - len(found)
        )
    mean = sums / number
    deviation = np.sqrt(np.maximum(0, squares / number - mean**2))
    separate = len(mean) <= SEPARATE_VALUES
    leakage = {
        f"{one}-{other}": len(contents[one] & contents[other]) for one, other in itertools.combinations(SPLITS, 2)
    }
    train = [count for count in counts["train"].classes.values() if count]
    details = source.report()
    sheet = _contact_sheet(source)
    place = root / "artifacts" / "data" / path.resolve().name / "contact_sheet.png"
    if sheet:
        _write(sheet, place)
    return DataReport(
        path=str(path),
        kind=kind,
        task=source.task,
        labels=list(source.labels),
        input_shape=list(source.input_shape),
        input_range=list(source.input_range),
        splits=counts,
        imbalance=round(max(train) / min(train), 3) if len(train) > 1 else None,
        leakage=leakage,
        mean=[round(float(value), 6) for value in mean] if separate else [],
        deviation=[round(float(value), 6) for value in deviation] if separate else [],
        contact_sheet=place.relative_to(root).as_posix() if sheet else None,
        details=details,
        warnings=_warnings(source, counts, leakage, details),
    )


def _by_class(source: DataSource, labels: np.ndarray) -> dict[str, int]:
    import numpy as np

    if source.task == "multi_label":
        return {name: int(count) for name, count in zip(source.labels, labels.sum(axis=0), strict=True)}
    if not find_task(source.task, "").HAS_CLASSES:
        return {}
    found = np.bincount(labels, minlength=len(source.labels))
    return {name: int(count) for name, count in zip(source.labels, found, strict=True)}


def _warnings(
    source: DataSource, counts: dict[str, SplitReport], leakage: dict[str, int], details: dict[str, Any]
) -> list[str]:
    found = []
    for pair, number in leakage.items():
        if number:
            one, other = pair.split("-")
            found.append(f"{number} samples of {other} are in {one} as well: scores on {other} are too good")
    if details.get("leaks"):
        places = ", ".join(details["leaking"][0])
        found.append(f"{details['leaks']} groups of equal or nearly equal pictures lie in several splits, as {places}")
    if details.get("of_two_classes"):
        number, places = len(details["of_two_classes"]), ", ".join(details["of_two_classes"][0])
        found.append(f"{number} groups of equal or nearly equal pictures are of several classes, as {places}")
    if details.get("skipped"):
        found.append(f"{len(details['skipped'])} files are left out: they cannot be read")
    train = counts["train"].classes
    present = {name: count for name, count in train.items() if count}
    if source.task != "anomaly" and present and max(present.values()) > IMBALANCE_MAX * min(present.values()):
        most, least = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
        found.append(f"{most!r} has {present[most]} samples in train, {least!r} has {present[least]}")
    for split, report in counts.items():
        missing = [name for name, count in report.classes.items() if not count]
        if missing and not (source.task == "anomaly" and split == "train"):
            found.append(f"{split} has no sample of {', '.join(map(repr, missing[:5]))}")
    return found


def _contact_sheet(source: DataSource) -> Image.Image | None:
    """Return some samples of train, a row a class; None where samples are no pictures."""
    import numpy as np
    from PIL import Image, ImageDraw

    shape = source.input_shape
    if len(shape) != 3 or shape[-1] not in (1, 3) or min(shape[:2]) < 4:
        return None
    samples, labels = source.load("train")
    grouped = find_task(source.task, "").HAS_CLASSES
    rows = (
        [(name, np.flatnonzero(labels == number)) for number, name in enumerate(source.labels[:CLASSES_SHOWN])]
        if grouped
        else [("train" if row == 0 else "", np.arange(len(samples))[row * SAMPLES_SHOWN :]) for row in range(4)]
    )
    rows = [(name, chosen[:SAMPLES_SHOWN]) for name, chosen in rows if len(chosen)]
    scale = CELL / max(shape[:2])
    width, height = (max(1, math.floor(side * scale)) for side in (shape[1], shape[0]))
    left, gap = 120, 4
    size = (left + SAMPLES_SHOWN * (width + gap), gap + len(rows) * (height + gap))
    sheet = Image.new("RGB", size, (40, 40, 40))
    draw = ImageDraw.Draw(sheet)
    low, high = source.input_range
    for row, (name, chosen) in enumerate(rows):
        top = gap + row * (height + gap)
        _write_name(draw, name, top + height // 2 - 6)
        prepared = source.preprocess(np.asarray(samples[chosen]))
        levels = ((prepared - low) / max(high - low, 1e-12) * 255).clip(0, 255).astype(np.uint8)
        for column, picture in enumerate(levels):
            cell = Image.fromarray(picture[..., 0] if shape[-1] == 1 else picture).convert("RGB")
            sheet.paste(cell.resize((width, height), Image.Resampling.BILINEAR), (left + column * (width + gap), top))
    return sheet


def _write_name(draw: Any, name: str, top: int) -> None:
    short = name if len(name) <= 18 else f"{name[:17]}…"
    try:
        draw.text((6, top), short, fill=(230, 230, 230))
    except (UnicodeEncodeError, OSError):  # a font without these letters
        draw.text((6, top), short.encode("ascii", "replace").decode(), fill=(230, 230, 230))


def _write(sheet: Image.Image, place: Path) -> None:
    import io

    from pipeline.files import write_whole

    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    write_whole(place, stream.getvalue())
