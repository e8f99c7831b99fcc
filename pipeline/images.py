"""A picture of any size and mode to one raw sample: the default of a workload's `decode_image`.

The picture is turned upright (EXIF), laid over black where it is transparent, so that a transparent
border is background as in MNIST, brought to 0..255, and resized to fit inside the sample with its
proportions kept, so that a digit keeps its shape; what is left over on two sides is black.
Nothing is inverted silently: `looks_inverted` gives a hint, `invert` does it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import BadImage

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def open_image(path: Path) -> Image.Image:
    """Return the picture in `path`, decoded; of an animation the first frame.

    Raises BadImage when there is no such file, when it is a folder, no picture, cut off or damaged,
    or a decompression bomb: more pixels than Pillow's error limit, about 179 million.
    """
    from PIL import Image

    with _refusing(f"{path} cannot be used as a picture"):
        # Asked first: a pipe or a device could be read for ever.
        if not path.is_file():
            raise OSError("a folder or device" if path.exists() else "no such file")
        with warnings.catch_warnings(), path.open("rb") as file:
            # Pillow warns from half its error limit on, but a large scan is no attack.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file)
            image.load()
            return image


def decode_image(image: Image.Image, input_shape: tuple[int, ...]) -> np.ndarray:
    """Return uint8 [height, width, channels] of 0..255 as `input_shape` says, channels 1 or 3.

    Colours become grey by ITU-R 601 luma where one channel is asked for. Raises BadImage when the
    picture cannot be converted, or when `input_shape` is not that of a picture.
    """
    import numpy as np
    from PIL import Image

    if len(input_shape) != 3 or input_shape[-1] not in (1, 3):
        raise BadImage(
            "the workload's input is no picture",
            received=f"INPUT_SHAPE {list(input_shape)}",
            expected="[height, width, channels] with 1 or 3 channels",
            fix="give the workload its own decode_image()",
        )
    height, width, channels = input_shape
    with _refusing("the picture cannot be converted"):
        image = upright(image)
        scale = min(width / image.width, height / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        # The triangle filter counts every source pixel and draws no halos; a far larger picture is
        # averaged in whole blocks first, which is quick.
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        canvas = Image.new("RGB", (width, height))
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        canvas.paste(image.convert("RGB"), ((width - size[0]) // 2, (height - size[1]) // 2), alpha)
        return np.array(canvas.convert("L" if channels == 1 else "RGB")).reshape(input_shape)


def upright(image: Image.Image) -> Image.Image:
    """Return the picture turned as EXIF says, in mode L, RGB or, where it has transparency, RGBA."""
    from PIL import ImageOps

    return _to_plain_mode(ImageOps.exif_transpose(image) if orientation(image) != 1 else image)


def orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8: upright is 1, from 5 on height and width change places."""
    from PIL import ExifTags

    return image.getexif().get(ExifTags.Base.Orientation, 1)


def looks_inverted(sample: np.ndarray) -> bool:
    """Return whether the border of a sample [height, width, channels] is brighter than its middle.

    So it is with a dark digit on white paper, where MNIST has light digits on black. False for
    what is no picture of at least 3×3.
    """
    picture = sample[_without_bars(sample)] if sample.ndim == 3 else sample
    if picture.ndim != 3 or min(picture.shape[:2]) < 3:
        return False
    middle = picture[1:-1, 1:-1]
    border_size = picture.size - middle.size
    border_mean = (picture.sum(dtype="int64") - middle.sum(dtype="int64")) / border_size
    return bool(border_mean > middle.mean())


def invert(sample: np.ndarray) -> np.ndarray:
    """Return uint8 [height, width, channels] with dark and light swapped, black bars left black."""
    inverted = sample.copy()
    picture = _without_bars(sample)
    inverted[picture] = 255 - sample[picture]
    return inverted


def _without_bars(sample: np.ndarray) -> tuple[slice, slice]:
    """Return the part of a sample that the picture covers, without the black bars on two sides.

    A picture with black on all four sides has no bars: it is a light digit on black.
    """
    import numpy as np

    rows, columns = np.flatnonzero(sample.any(axis=(1, 2))), np.flatnonzero(sample.any(axis=(0, 2)))
    height, width = sample.shape[:2]
    if len(rows) == height and len(columns):
        return slice(None), slice(columns[0], columns[-1] + 1)
    if len(columns) == width and len(rows):
        return slice(rows[0], rows[-1] + 1), slice(None)
    return slice(None), slice(None)


def _to_plain_mode(image: Image.Image) -> Image.Image:
    """Return the picture in mode L, RGB or, where it has transparency, RGBA."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(image))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _to_eight_bits(image: Image.Image) -> np.ndarray:
    """Return uint8 [height, width] from a picture of 16 bits, of 32-bit integers or of floats.

    White is 65535 in 16 bits. The other two do not say what their white is: it is the first of 1
    (floats alone), 255 and 65535 that no value exceeds, else the highest value. Negative values
    and those that are no number become black.
    """
    import numpy as np

    if image.mode.startswith("I;16"):
        return (np.asarray(image) >> 8).astype(np.uint8)
    values = np.nan_to_num(np.asarray(image, np.float32), nan=0, posinf=0, neginf=0)
    highest = float(values.max())
    whites = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    white = next((white for white in whites if highest <= white), highest)
    return np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8)


@contextmanager
def _refusing(message: str) -> Iterator[None]:
    """Turn whatever Pillow's decoders raise, and they raise many kinds, into BadImage."""
    try:
        yield
    except Exception as error:
        raise BadImage(
            message,
            received=str(error) or type(error).__name__,
            expected="a whole PNG, JPEG or other picture that Pillow reads, below its size limit",
            fix="check the path, or save the picture anew as PNG",
        ) from error
