"""Log-mel spectrograms with numpy alone, of fixed range and without any statistic of the data.

Each frame: a Hann window; the power spectrum over the square of the window's sum, so that a constant at full scale
has 1; its mean by triangular mel bands (O'Shaughnessy 1987: mel = 2595 log10(1 + Hz / 700)); decibels; a floor.
Since a band is a mean of powers that are at most 1, values lie between the floor and 0 dB for sound within -1..1.
Features for keyword spotting as in Zhang et al. 2017, Hello Edge (arXiv:1711.07128), without their cosine transform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def frame_count(samples: int, window: int, hop: int) -> int:
    """Return how many whole windows lie in a clip; all lengths in samples."""
    return 1 + (samples - window) // hop


def log_mel(clip: np.ndarray, window: int, hop: int, bands: np.ndarray, floor: float) -> np.ndarray:
    """Return float32 [frames, mels] in decibels, `floor` to 0, of a clip float32 [samples] within -1..1.

    `bands` is [mels, bins] as `mel_bands` gives it, for the same window.
    """
    import numpy as np

    hann = np.hanning(window + 1)[:-1]
    size = 2 * (bands.shape[1] - 1)
    frames = np.lib.stride_tricks.sliding_window_view(clip.astype(np.float64), window)[::hop] * hann
    power = np.abs(np.fft.rfft(frames, size)) ** 2 / hann.sum() ** 2
    decibels = 10 * np.log10(np.maximum(power @ bands.T, 1e-30))
    return np.clip(decibels, floor, 0).astype(np.float32)


def mel_bands(mels: int, window: int, rate: int, low: float, high: float) -> np.ndarray:
    """Return float64 [mels, bins], each row a triangle over the spectrum's bins that sums to 1.

    `low` and `high` are in Hz, `rate` in samples a second. Raises ValueError where a band has no bin of its own.
    """
    import numpy as np

    size = 1 << (window - 1).bit_length()
    hertz = np.arange(size // 2 + 1) * rate / size
    edges = np.linspace(2595 * np.log10(1 + low / 700), 2595 * np.log10(1 + high / 700), mels + 2)
    edges = 700 * (10 ** (edges / 2595) - 1)
    rising = (hertz - edges[:-2, np.newaxis]) / (edges[1:-1] - edges[:-2])[:, np.newaxis]
    falling = (edges[2:, np.newaxis] - hertz) / (edges[2:] - edges[1:-1])[:, np.newaxis]
    bands = np.maximum(0, np.minimum(rising, falling))
    sums = bands.sum(axis=1, keepdims=True)
    if (sums == 0).any():
        raise ValueError(f"{int((sums == 0).sum())} of {mels} mel bands are narrower than the spectrum's bins")
    return bands / sums
