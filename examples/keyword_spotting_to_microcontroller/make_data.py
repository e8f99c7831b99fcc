"""Synthesize an audio folder: calls/<class>/<number>.wav, one second, 16 kHz, 16 bits, mono.

Four calls of a machine instead of words: a tone that rises, one that falls, a steady one, and noise alone.
"""

import wave
from pathlib import Path

import numpy as np

COUNT = 80  # recordings of each class
RATE = 16_000  # samples a second
GLIDES = {"rising": 1.8, "falling": 1 / 1.8, "steady": 1.0, "noise": 0.0}  # last frequency over the first


def record(glide, random):
    """Return one second of int16: a tone of random pitch, place and loudness in noise."""
    time = np.arange(RATE) / RATE
    sound = random.normal(0, random.uniform(0.01, 0.05), RATE)
    if glide:
        start, length = random.uniform(0.05, 0.3), random.uniform(0.4, 0.6)
        share = np.clip((time - start) / length, 0, 1)
        frequency = random.uniform(400, 900) * glide**share
        inside = (time >= start) & (time < start + length)
        tone = np.sin(2 * np.pi * np.cumsum(frequency) / RATE) * np.sin(np.pi * share)
        sound += random.uniform(0.2, 0.6) * tone * inside
    return (np.clip(sound, -1, 1) * 32767).astype("<i2")


if __name__ == "__main__":
    random = np.random.default_rng(0)
    for name, glide in GLIDES.items():
        folder = Path("calls", name)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(COUNT):
            with wave.open(str(folder / f"{number:03}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes(record(glide, random).tobytes())
