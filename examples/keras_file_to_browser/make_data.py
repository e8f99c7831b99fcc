"""Draw marks.npz: 24×24 grey pictures of a cross, a ring or a bar, by split."""

import numpy as np

SIDE = 24
CLASSES = ("bar", "cross", "ring")
COUNTS = {"train": 900, "val": 200, "test": 300}


def draw(label, random):
    """Return one picture, uint8 [24, 24]."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - random.uniform(9, 14, (2, 1, 1))
    angle, size = random.uniform(0, np.pi), random.uniform(5, 9)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    across = np.cos(angle) * rows - np.sin(angle) * columns
    bar = (abs(across) < 1.5) & (abs(along) < size)
    cross = bar | ((abs(along) < 1.5) & (abs(across) < size))
    ring = abs(np.hypot(rows, columns) - size) < 1.5
    mark = (bar, cross, ring)[label]
    return np.clip(mark * random.uniform(120, 220) + random.normal(20, 12, (SIDE, SIDE)), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in COUNTS.items():
        labels = np.arange(count) % len(CLASSES)
        arrays[f"x_{split}"] = np.stack([draw(label, random) for label in labels])
        arrays[f"y_{split}"] = np.array(CLASSES)[labels]
    np.savez("marks.npz", **arrays)
