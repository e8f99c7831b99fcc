"""MNIST itself: the four original IDX files, embedded, checked and read without a network.

60,000 training and 10,000 test images of 28×28 grey pixels (LeCun, Cortes, Burges:
The MNIST database of handwritten digits). The last tenth of the training file is the
validation split; training and calibration never see it.
"""

from __future__ import annotations

import hashlib
import io
import lzma
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data._idx_format import read_idx
from pipeline.errors import DataError

if TYPE_CHECKING:
    import numpy as np

LABELS = tuple("0123456789")
INPUT_SHAPE = (28, 28, 1)
INPUT_RANGE = (0.0, 1.0)
VALIDATION_SAMPLES = 6_000

_DATA = Path(__file__).parent / "data"
# SHA-256 of the files as they were first published, uncompressed.
_RAW_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
DATA_FILES = tuple(_DATA / f"{name}.xz" for name in _RAW_SHA256)


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one split as (uint8 images [n, 28, 28, 1] of 0–255, int64 labels [n] of 0–9).

    `split` is "train" (54,000), "validation" (6,000) or "test" (10,000). Raises
    DataError when a file is missing, truncated, or not the published one.
    """
    if split == "test":
        return _images_and_labels("t10k")
    images, labels = _images_and_labels("train")
    cut = len(images) - VALIDATION_SAMPLES
    part = {"train": slice(None, cut), "validation": slice(cut, None)}[split]
    return images[part], labels[part]


def preprocess(images: np.ndarray) -> np.ndarray:
    """Scale uint8 images [n, 28, 28, 1] of 0–255 to float32 of 0–1."""
    import numpy as np

    return images.astype(np.float32) / np.float32(255)


@lru_cache(maxsize=2)
def _images_and_labels(prefix: str) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    images = _read_idx(_DATA / f"{prefix}-images-idx3-ubyte.xz")[..., np.newaxis]
    labels = _read_idx(_DATA / f"{prefix}-labels-idx1-ubyte.xz").astype(np.int64)
    return images, labels


def _read_idx(path: Path) -> np.ndarray:
    """Read one IDX file that must be, uncompressed, the published one."""
    expected = _RAW_SHA256[path.stem]
    try:
        raw = lzma.decompress(path.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise DataError(
            f"the data file {path} cannot be read: {error}",
            received=str(error),
            expected="the xz-compressed MNIST file that ships with this package",
            fix=f"restore {path.name}: reinstall the package, or `git checkout` the file",
        ) from error
    received = hashlib.sha256(raw).hexdigest()
    if received != expected:
        raise DataError(
            f"the data file {path} is not the published MNIST file",
            received=f"SHA-256 {received} ({len(raw)} bytes)",
            expected=f"SHA-256 {expected}",
            fix=f"restore {path.name}: reinstall the package, or `git checkout` the file",
        )
    return read_idx(io.BytesIO(raw), path.name)
