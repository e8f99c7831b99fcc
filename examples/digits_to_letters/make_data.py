"""Draw letters.npz: few 28×28 pictures of six letters in strokes, white on black as MNIST's digits are."""

import numpy as np
from PIL import Image, ImageDraw

# Strokes of each letter on a square from (0, 0) to (1, 1).
STROKES = {
    "A": [(0, 1, 0.5, 0), (0.5, 0, 1, 1), (0.2, 0.6, 0.8, 0.6)],
    "H": [(0, 0, 0, 1), (1, 0, 1, 1), (0, 0.5, 1, 0.5)],
    "L": [(0, 0, 0, 1), (0, 1, 1, 1)],
    "T": [(0, 0, 1, 0), (0.5, 0, 0.5, 1)],
    "X": [(0, 0, 1, 1), (0, 1, 1, 0)],
    "Z": [(0, 0, 1, 0), (1, 0, 0, 1), (0, 1, 1, 1)],
}
COUNTS = {"train": 20, "val": 20, "test": 50}  # of each letter


def draw(letter, random):
    """Return one picture, uint8 [28, 28], tilted, stretched and shifted a little."""
    angle, size = random.uniform(-0.25, 0.25), random.uniform(14, 19, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    picture = Image.new("L", (112, 112))
    for stroke in STROKES[letter]:
        ends = (np.array(stroke).reshape(2, 2) - 0.5) * size @ turn + 14 + random.uniform(-1, 1, (2, 2))
        ImageDraw.Draw(picture).line([float(4 * value) for value in ends.ravel()], 255, int(random.integers(8, 14)))
    return np.asarray(picture.resize((28, 28), Image.Resampling.BOX))


if __name__ == "__main__":
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in COUNTS.items():
        labels = [letter for letter in STROKES for _ in range(count)]
        arrays[f"x_{split}"] = np.stack([draw(letter, random) for letter in labels])
        arrays[f"y_{split}"] = np.array(labels)
    np.savez("letters.npz", **arrays)
