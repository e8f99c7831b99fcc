"""Corrupted pictures: how a model does on what a camera or a hand really gives, at severities 1 to 5.

The eight kinds and the five severities follow Hendrycks, Dietterich 2019, "Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations" (arXiv:1903.12261), and MNIST-C (Mu,
Gilmer 2019, arXiv:1906.02337); occlusion is the square of Cutout (DeVries, Taylor 2017,
arXiv:1708.04552), here in mid-grey. The levels are this project's own, chosen by eye on MNIST:
1 is hardly noticed, 5 is hard but mostly readable by a person.

Each picture has its own draw (direction, noise, place of the square), which depends on the seed
and the picture's position and on nothing else: severities are compared on equal draws, and the
first 100 pictures are corrupted alike whether 100 or 10,000 follow.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.errors import DataError, RequestError, UnknownName

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SEVERITIES = (1, 2, 3, 4, 5)
# What each severity means. Where pictures lie is in shares of their height and width.
LEVELS: dict[str, tuple[float, ...]] = {
    "noise": (0.08, 0.14, 0.22, 0.32, 0.44),  # standard deviation of Gaussian noise; white is 1
    "blur": (0.6, 0.9, 1.3, 1.7, 2.2),  # standard deviation of the Gaussian, in pixels
    "shift": (0.04, 0.08, 0.12, 0.16, 0.20),  # how far, in a drawn direction
    "rotation": (8, 16, 25, 35, 45),  # degrees, to a drawn side
    "brightness": (0.1, 0.2, 0.35, 0.5, 0.65),  # added; white is 1
    "contrast": (0.7, 0.5, 0.35, 0.22, 0.12),  # what is left of the differences from the picture's mean
    "jpeg": (50, 25, 12, 6, 2),  # quality
    "occlusion": (0.15, 0.22, 0.29, 0.36, 0.43),  # side of a grey square in a drawn place
}
CORRUPTIONS = tuple(LEVELS)
JPEG_BLOCK = 8  # pixels
LEAST_SIDE = JPEG_BLOCK
GREY = 128
CHUNK_PIXELS = 2**18  # as many pictures at a time as have so many pixels: quick, and memory stays small


def corrupt(samples: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    """Return corrupted copies of pictures, in the shape and number format of `samples`.

    samples: [n, height, width, channels] of 1 or 3 channels and sides of at least 8 pixels; uint8
    of 0 to 255, or float32 or float64 of 0 to 1, which are brought to 8 bits first as a camera
    would. corruption: one of `CORRUPTIONS`; severity: 1 to 5; seed: 0 or more.

    Raises UnknownName for another corruption, RequestError for another severity, and DataError for
    samples of another shape, number format or range.
    """
    import numpy as np

    if corruption not in LEVELS:
        raise UnknownName("corruption", corruption, LEVELS)
    if severity not in SEVERITIES:
        raise RequestError(
            "there is no such severity",
            received=repr(severity),
            expected=f"one of {', '.join(map(str, SEVERITIES))}",
            fix="choose one of these; the samples themselves stand for no corruption",
        )
    _refuse_unusable(samples)
    pictures = samples if samples.dtype == np.uint8 else np.rint(samples * 255).astype(np.uint8)
    level = LEVELS[corruption][SEVERITIES.index(severity)]
    random = np.random.default_rng(seed)
    corrupted = np.empty(samples.shape, np.uint8)
    chunk = max(1, CHUNK_PIXELS // (samples.shape[1] * samples.shape[2]))
    for start in range(0, len(samples), chunk):
        part = slice(start, start + chunk)
        corrupted[part] = _FUNCTIONS[corruption](pictures[part], level, random)
    return corrupted if samples.dtype == np.uint8 else corrupted.astype(samples.dtype) / samples.dtype.type(255)


def _refuse_unusable(samples: np.ndarray) -> None:
    import numpy as np

    received = f"{samples.dtype} {list(samples.shape)}"
    usable = samples.dtype in (np.uint8, np.float32, np.float64) and samples.ndim == 4
    if usable and samples.shape[-1] in (1, 3) and min(samples.shape[1:3]) >= LEAST_SIDE:
        if samples.dtype == np.uint8 or not samples.size:
            return
        low, high = float(samples.min()), float(samples.max())
        if low >= 0 and high <= 1:  # false for what is no number, too
            return
        received = f"{received} with values from {low:g} to {high:g}"
    raise DataError(
        "these samples are no pictures that can be corrupted",
        received=received,
        expected=f"[n, height, width, 1 or 3] with sides of at least {LEAST_SIDE} pixels: "
        "uint8 of 0 to 255, or float32 or float64 of 0 to 1",
        fix="pass the workload's raw pictures, before preprocess(), or scale them to 0 to 1",
    )


# Each takes uint8 [n, height, width, channels], the level, and a generator from which it draws once,
# picture by picture; and gives the corrupted pictures, uint8 of the same shape.


def _noise(pictures: np.ndarray, level: float, random: np.random.Generator) -> np.ndarray:
    import numpy as np

    return _to_bytes(pictures + random.standard_normal(pictures.shape, np.float32) * np.float32(level * 255))


def _blur(pictures: np.ndarray, level: float, random: np.random.Generator) -> np.ndarray:
    from PIL import ImageFilter

    reach = 3 * math.ceil(level)  # Pillow's is three box filters, each narrower than this
    return _as_one_picture(pictures, reach, reach, lambda image: image.filter(ImageFilter.GaussianBlur(level)))


def _shift(pictures: np.ndarray, level: float, random: np.random.Generator) -> np.ndarray:
    import numpy as np

    height, width = pictures.shape[1:3]
    angle = 2 * np.pi * random.random((len(pictures), 1, 1))
    rows = np.arange(height)[:, np.newaxis] - level * height * np.sin(angle)
    columns = np.arange(width) - level * width * np.cos(angle)
    return _resample(pictures, rows, columns)


def _rotation(pictures: np.ndarray, level: float, random: np.random.Generator) -> np.ndarray:
    import numpy as np

    height, width = pictures.shape[1:3]
    middle = (height - 1) / 2, (width - 1) / 2
    down, right = np.arange(height)[:, np.newaxis] - middle[0], np.arange(width) - middle[1]
    cos, sin = math.cos(math.radians(level)), math.sin(math.radians(level))
    side = np.where(random.random((len(pictures), 1, 1)) < 0.5, -1, 1)
    rows = middle[0] + cos * down - side * (sin * right)
    columns = middle[1] + side * (sin * down) + cos * right
    return _resample(pictures, rows, columns)


def _brightness(pictures: np.ndarray, level: float, random: np.random.Generator) -> np.ndarray:
    import numpy as np

    return _to_bytes(pictures + np.float32(level * 255))


def _contrast(pictures: np.ndarray, level: float, random: np.random.Generator) -> np.ndarray:
    import numpy as np

    mean = pictures.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
    return _to_bytes(mean + (pictures - mean) * level)


def _jpeg(pictures: np.ndarray, level: float, random: np.random.Generator) -> np.ndarray:
    from PIL import Image

    def compressed(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(level), subsampling=0)  # else colours reach beyond their block
        return Image.open(stream)

    return _as_one_picture(pictures, 0, 0, compressed)


def _occlusion(pictures: np.ndarray, level: float, random: np.random.Generator) -> np.ndarray:
    import numpy as np

    height, width = pictures.shape[1:3]
    side = max(1, round(level * min(height, width)))
    # The whole square lies in the picture.
    top, left = (random.random((len(pictures), 2)) * (height - side + 1, width - side + 1)).astype(int).T
    row, column = np.arange(height) - top[:, np.newaxis], np.arange(width) - left[:, np.newaxis]
    covered = ((row >= 0) & (row < side))[:, :, np.newaxis] & ((column >= 0) & (column < side))[:, np.newaxis]
    return np.where(covered[..., np.newaxis], np.uint8(GREY), pictures)


_FUNCTIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "blur": _blur,
    "shift": _shift,
    "rotation": _rotation,
    "brightness": _brightness,
    "contrast": _contrast,
    "jpeg": _jpeg,
    "occlusion": _occlusion,
}


def _to_bytes(values: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.rint(values).clip(0, 255).astype(np.uint8)


def _as_one_picture(
    pictures: np.ndarray, above: int, below: int, function: Callable[[Image.Image], Image.Image]
) -> np.ndarray:
    """Return what Pillow makes of the pictures, laid under each other: one call costs what one small picture does.

    `above` and `below` are rows of margin, edges repeated, so that no picture touches another one's;
    sides are made whole blocks of JPEG, as its encoder would.
    """
    import numpy as np
    from PIL import Image

    count, height, width, channels = pictures.shape
    below += -(above + height + below) % JPEG_BLOCK
    padded = np.pad(pictures, ((0, 0), (above, below), (0, -width % JPEG_BLOCK), (0, 0)), "edge")
    rows, columns = padded.shape[1:3]
    stack = padded.reshape(count * rows, columns, *([] if channels == 1 else [3]))
    made = np.asarray(function(Image.fromarray(stack))).reshape(padded.shape)
    return made[:, above : above + height, :width]


def _resample(pictures: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return each picture read at other places, between pixels bilinear, outside as at the edge.

    rows, columns: float, [n, height, width] or what broadcasts to it, in pixels.
    """
    import numpy as np

    count, height, width, channels = pictures.shape
    rows, columns = rows.astype(np.float32).clip(0, height - 1), columns.astype(np.float32).clip(0, width - 1)
    above, before = rows.astype(np.int32), columns.astype(np.int32)
    down = (rows - above)[..., np.newaxis].astype(np.float32)
    right = (columns - before)[..., np.newaxis].astype(np.float32)
    # A row and a column more, which weigh nothing: the last pixel has neighbours, too.
    flat = np.pad(pictures, ((0, 0), (0, 1), (0, 1), (0, 0))).reshape(-1, channels)
    place = (np.arange(count)[:, np.newaxis, np.newaxis] * (height + 1) + above) * (width + 1) + before
    corners = (0, 1, width + 1, width + 2)
    one, two, three, four = (flat.take(place + corner, axis=0).astype(np.float32) for corner in corners)
    upper, lower = one + (two - one) * right, three + (four - three) * right
    return _to_bytes(upper + (lower - upper) * down)
