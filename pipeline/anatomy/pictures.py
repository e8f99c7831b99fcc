"""Samples as small pictures that can stand in a document."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# 60 pictures of noise, which deflates to nothing smaller, are then below 0.6 MB as text.
SIDE_MAX = {1: 64, 3: 48}  # pixels, by the count of channels


def data_uri(sample: np.ndarray, value_range: tuple[float, float]) -> str:
    """Return a raw sample as a PNG data URI; "" where it is no picture.

    sample: [height, width] or [height, width, 1 or 3], uint8 or real values within `value_range`.
    """
    import numpy as np
    from PIL import Image

    if sample.ndim == 2:
        sample = sample[..., np.newaxis]
    if sample.ndim != 3 or sample.shape[-1] not in SIDE_MAX or 0 in sample.shape:
        return ""
    if sample.dtype != np.uint8:
        low, high = value_range
        sample = np.nan_to_num((sample.astype(np.float32) - low) * (255 / max(high - low, 1e-9)))
        sample = np.clip(np.rint(sample), 0, 255).astype(np.uint8)
    channels = sample.shape[-1]
    image = Image.fromarray(sample[..., 0] if channels == 1 else sample)
    image.thumbnail((SIDE_MAX[channels],) * 2)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
