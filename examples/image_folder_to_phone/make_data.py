"""Draw an image folder: shapes/<class>/<number>.png, 32×32, in colours, sizes and places of their own."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COUNT = 150  # pictures of each class
SIDE = 32


def draw(kind, random):
    """Return a picture of one shape on a noisy ground."""
    ground = random.integers(0, 90, 3)
    picture = Image.new("RGB", (SIDE, SIDE), tuple(int(value) for value in ground))
    x, y, radius = random.uniform(12, 20), random.uniform(12, 20), random.uniform(6, 11)
    colour = tuple(int(value) for value in random.integers(130, 256, 3))
    pen = ImageDraw.Draw(picture)
    if kind == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    else:
        corners = {"square": 4, "triangle": 3}[kind]
        pen.regular_polygon((x, y, radius), corners, rotation=int(random.integers(-15, 16)), fill=colour)
    noisy = np.asarray(picture) + random.normal(0, 8, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    random = np.random.default_rng(0)
    for kind in ("circle", "square", "triangle"):
        folder = Path("shapes", kind)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(COUNT):
            draw(kind, random).save(folder / f"{number:03}.png")
