"""A picture's file to the pixels of one sample, in processes of their own where there are many."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from pipeline.data.decoded_cache import Decoded
from pipeline.data.near_duplicates import features
from pipeline.errors import DataError
from pipeline.images import orientation, upright

if TYPE_CHECKING:
    from PIL import Image

Resize = Literal["crop", "pad", "fit"]
FEW = 64  # that are decoded here: processes take longer to start


class Decoding(BaseModel):
    """All that decides a sample's pixels."""

    model_config = ConfigDict(frozen=True)

    height: int
    width: int
    channels: int
    resize: Resize
    pixels_max: int


class Header(NamedTuple):
    """What a picture's file says of it before it is decoded."""

    size: tuple[int, int]  # height and width, upright
    grey: bool


def headers(files: Iterable[Path]) -> list[Header]:
    """Return the headers of those files that are pictures."""
    from PIL import Image

    found = []
    for file in files:
        try:
            with Image.open(file) as image:
                width, height = upright_size(image)
                found.append(Header((height, width), image.mode in ("1", "L", "LA", "I", "I;16", "F")))
        except Exception:  # Pillow raises many kinds for a broken file; decoding says which
            continue
    return found


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of the picture as it is shown."""
    width, height = image.size
    return (height, width) if orientation(image) >= 5 else (width, height)


def sample_of(image: Image.Image, how: Decoding) -> Image.Image:
    """Return the picture upright (EXIF), over black where it is transparent, in the sample's size and mode.

    crop: scaled until it covers the sample, what juts out cut off evenly; pad: scaled until it fits in, black beside
    it; fit: both sides scaled, each by its own factor.
    """
    from PIL import Image, ImageOps

    image = upright(image)
    if image.mode == "RGBA":
        below = Image.new("RGB", image.size)
        below.paste(image.convert("RGB"), (0, 0), image.getchannel("A"))
        image = below
    size = (how.width, how.height)
    bilinear = Image.Resampling.BILINEAR
    if how.resize == "crop":
        image = ImageOps.fit(image, size, bilinear)
    elif how.resize == "pad":
        image = ImageOps.pad(image, size, bilinear, color=0)
    elif image.size != size:
        image = image.resize(size, bilinear, reducing_gap=3.0)
    return image.convert("L" if how.channels == 1 else "RGB")


def decode(file: tuple[str, str], how: Decoding) -> Decoded:
    """Decode one file, (path, its SHA-256). What Pillow cannot decode comes back as `broken`, with the reason.

    Raises DataError for a file that changed since it was hashed, which says nothing of its content.
    """
    from PIL import Image

    path, sha256 = file
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise _changed(path, error.strerror or str(error)) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _changed(path, "another content than a moment ago")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content))
            if image.width * image.height > how.pixels_max:
                return Decoded(
                    sha256, broken=f"{image.width}×{image.height} pixels, more than pixels_max = {how.pixels_max}"
                )
            width, height = upright_size(image)
            side = 2 * max(how.width, how.height)
            image.draft(None, (side, side))  # a JPEG is decoded at a half, a quarter or an eighth of its size
            sample = sample_of(image, how)
            fingerprint, thumbnail = features(sample)
    except MemoryError:  # which says nothing of the picture
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        return Decoded(sha256, broken=str(error)[:200] or type(error).__name__)
    return Decoded(sha256, width, height, fingerprint, sample.tobytes(), thumbnail)


def decode_all(files: Iterable[tuple[Path, str]], how: Decoding) -> Iterator[Decoded]:
    """Decode files, (path, SHA-256), in the order in which they come."""
    waiting = [(str(path), sha256) for path, sha256 in files]
    done = 0
    if len(waiting) > FEW:
        context = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
        pool = ProcessPoolExecutor(os.cpu_count(), context, initializer=_leave_interrupts_to_the_parent)
        try:
            for decoded in pool.map(partial(decode, how=how), waiting, chunksize=32):
                yield decoded
                done += 1
            pool.shutdown()
        except BrokenProcessPool:  # a picture that ends its process, or a script that cannot be imported by another
            pool.shutdown(wait=False, cancel_futures=True)
        except BaseException:  # an interrupt: to wait for the pool's own threads could take for ever
            _end(pool)
            raise
    yield from (decode(file, how) for file in waiting[done:])


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(pool: ProcessPoolExecutor) -> None:
    """End the pool's processes at once; what they were at is decoded the next time."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _changed(path: str, received: str) -> DataError:
    return DataError(
        f"{path} changed while the folder was read",
        received=received,
        expected="the file as it was when the folder was listed",
        fix="run the command again once nothing writes into the folder",
    )
