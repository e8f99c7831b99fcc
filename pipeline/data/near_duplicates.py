"""Pictures that show nearly the same: one saved anew, resized, or a shade brighter.

A difference hash (Krawetz 2013, "Kind of Like That"), 64 bits of whether each of 8×8 places is brighter than
its right neighbour, finds candidates; what decides is the difference of their 16×16 thumbnails, since
pictures of simple shapes share hashes without sharing a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

THUMBNAIL = 16  # pixels a side
BITS_MAX = 3  # that two hashes may differ by: of 4 parts of a hash one is then equal
DIFFERENCE_MAX = 3.0  # root mean square over two thumbnails without their means, in levels of 0..255
WINDOW = 256  # where more hashes share a part, each is compared with so many that follow it in their order


def features(image: Image.Image) -> tuple[int, bytes]:
    """Return the difference hash, 64 bits, and the thumbnail, 256 grey bytes, of a picture of mode L or RGB."""
    import numpy as np
    from PIL import Image

    grey = image.convert("L")
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = np.packbits(small[:, :-1] > small[:, 1:])
    return int.from_bytes(bits.tobytes(), "big"), grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).tobytes()


def groups(hashes: np.ndarray, thumbnails: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return int64 [n], the lowest index of the pictures that each is nearly equal to, its own where there is none.

    hashes: uint64 [n]; thumbnails: gets indices [m] and returns uint8 [m, 256]. Two that a third is
    nearly equal to are of one group.
    """
    import numpy as np

    parent = np.arange(len(hashes))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for part in range(4):
        keys = (hashes >> np.uint64(16 * part)) & np.uint64(0xFFFF)
        order = np.lexsort((hashes, keys))
        for distance in range(1, WINDOW):
            first, second = order[:-distance], order[distance:]
            together = keys[first] == keys[second]
            if not together.any():
                break
            first, second = first[together], second[together]
            near = np.bitwise_count(hashes[first] ^ hashes[second]) <= BITS_MAX
            first, second = first[near], second[near]
            for start in range(0, len(first), 4096):
                pair = slice(start, start + 4096)
                ones, others = first[pair], second[pair]
                alike = _difference(thumbnails(ones), thumbnails(others)) <= DIFFERENCE_MAX
                for one, other in zip(ones[alike], others[alike], strict=True):
                    low, high = sorted((root(int(one)), root(int(other))))
                    parent[high] = low
    return np.array([root(index) for index in range(len(parent))], np.int64)


def _difference(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    difference = ones.astype("float32") - others
    return difference.std(axis=1)
