"""Pictures of every mode and size to samples, and files that are no pictures."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from pipeline.errors import BadImage
from pipeline.images import decode_image, invert, looks_inverted, open_image
from pipeline.workloads.mnist_data import load

# Each mode with its white and its black.
MODES = {
    "1": (1, 0),
    "L": (255, 0),
    "LA": ((255, 255), (0, 255)),
    "P": (1, 0),
    "PA": ((1, 255), (0, 255)),
    "RGB": ((255, 255, 255), (0, 0, 0)),
    "RGBA": ((255, 255, 255, 255), (0, 0, 0, 255)),
    "RGBX": ((255, 255, 255, 255), (0, 0, 0, 255)),
    "CMYK": ((0, 0, 0, 0), (255, 255, 255, 255)),
    "YCbCr": ((255, 128, 128), (0, 128, 128)),
    "HSV": ((0, 0, 255), (0, 0, 0)),
    "LAB": ((255, 128, 128), (0, 128, 128)),
    "I;16": (65535, 0),
    "I;16B": (65535, 0),
    "I": (65535, 0),
    "F": (1.0, 0.0),
}


def picture(mode: str, size: tuple[int, int], white: bool) -> Image.Image:
    image = Image.new(mode, size, MODES[mode][0 if white else 1])
    if mode in ("P", "PA"):
        image.putpalette([0, 0, 0, 255, 255, 255])
    return image


@given(
    st.sampled_from(sorted(MODES)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
    st.booleans(),
)
@settings(max_examples=300, deadline=1000)
def test_every_mode_and_size(mode: str, size: tuple[int, int], shape: tuple[int, int, int], white: bool) -> None:
    sample = decode_image(picture(mode, size, white), shape)
    assert (sample.dtype, sample.shape) == (np.uint8, shape)
    # The colour profile of LAB is off by one.
    if not white:
        assert sample.max() <= 1
        return
    # White fills one side, keeps its proportions to a pixel on the other, and lies in the middle.
    rows, columns = np.flatnonzero(sample.any(axis=(1, 2))), np.flatnonzero(sample.any(axis=(0, 2)))
    assert (sample[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] >= 254).all()
    scale = min(shape[0] / size[1], shape[1] / size[0])
    assert abs(len(rows) - size[1] * scale) <= 1
    assert abs(len(columns) - size[0] * scale) <= 1
    assert abs(rows[0] - (shape[0] - 1 - rows[-1])) <= 1
    assert abs(columns[0] - (shape[1] - 1 - columns[-1])) <= 1


@given(st.binary(min_size=12 * 9, max_size=12 * 9))
def test_a_picture_of_the_right_size_is_kept_bit_for_bit(content: bytes) -> None:
    grey = np.frombuffer(content, np.uint8).reshape(12, 9, 1)
    assert (decode_image(Image.fromarray(grey[..., 0]), (12, 9, 1)) == grey).all()
    colour = np.frombuffer(content, np.uint8).reshape(4, 9, 3)
    assert (decode_image(Image.fromarray(colour), (4, 9, 3)) == colour).all()


def test_channels() -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    assert (decode_image(red, (4, 4, 3)) == [255, 0, 0]).all()
    assert (decode_image(red, (4, 4, 1)) == 76).all()  # 0.299 of 255
    assert (decode_image(Image.new("L", (4, 4), 9), (4, 4, 3)) == 9).all()
    for shape in ((28, 28), (28, 28, 2), (784,), (1, 28, 28, 1)):
        with pytest.raises(BadImage, match="decode_image"):
            decode_image(red, shape)


def test_shrinking_averages() -> None:
    board = np.indices((280, 280)).sum(axis=0) % 2 * np.uint8(255)
    for image in (Image.fromarray(board.astype(np.uint8)), Image.fromarray(board > 0)):
        sample = decode_image(image, (28, 28, 1))
        assert abs(sample.astype(int) - 127).max() <= 3
    assert (decode_image(Image.new("L", (1, 1), 77), (28, 28, 1)) == 77).all()


def test_transparent_is_black() -> None:
    pictures = {
        "RGBA": Image.new("RGBA", (4, 4), (255, 255, 255, 0)),
        "LA": Image.new("LA", (4, 4), (255, 0)),
        "PA": Image.new("PA", (4, 4), (1, 0)),
        "P": picture("P", (4, 4), white=True),
        "L": Image.new("L", (4, 4), 255),
        "1": Image.new("1", (4, 4), 1),
        "RGB": Image.new("RGB", (4, 4), (255, 255, 255)),
    }
    pictures["P"].info["transparency"] = 1
    pictures["L"].info["transparency"] = 255
    pictures["1"].info["transparency"] = 255
    pictures["RGB"].info["transparency"] = (255, 255, 255)
    for mode, image in pictures.items():
        for channels in (1, 3):
            assert not decode_image(image, (4, 4, channels)).any(), mode
    half = decode_image(Image.new("RGBA", (4, 4), (255, 255, 255, 128)), (4, 4, 1))
    assert (half == 128).all()
    # What lies hidden under transparent pixels does not bleed in when the picture shrinks.
    hidden = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    hidden.paste((0, 255, 0, 255), (0, 0, 20, 40))
    assert decode_image(hidden, (4, 4, 3))[..., 0].max() == 0


def test_more_than_eight_bits() -> None:
    def decoded(values: list, dtype: str) -> list[int]:
        return decode_image(Image.fromarray(np.array([values], dtype)), (1, len(values), 1)).ravel().tolist()

    assert decoded([0, 255, 256, 32768, 65535], "<u2") == [0, 0, 1, 128, 255]
    assert decoded([0, 256, 65535], ">u2") == [0, 1, 255]
    assert decoded([-5, 0, 7, 255], "i4") == [0, 0, 7, 255]
    assert decoded([0, 257, 65535], "i4") == [0, 1, 255]
    assert decoded([0, 2**30, 2**31 - 1], "i4") == [0, 128, 255]
    assert decoded([0, 1], "i4") == [0, 1]
    assert decoded([0, 0.5, 1], "f4") == [0, 128, 255]
    assert decoded([0, 1.5, 255], "f4") == [0, 2, 255]
    assert decoded([-1e30, np.nan, np.inf, 1], "f4") == [0, 0, 0, 255]
    assert decoded([0, 3e38], "f4") == [0, 255]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation(tmp_path: Path, suffix: str) -> None:
    upright = Image.new("L", (40, 60))
    upright.paste(255, (0, 0, 40, 20))  # white on top
    turned = upright.rotate(90, expand=True)  # as the camera lay; 6 says: turn a quarter clockwise
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned.convert("RGB").save(tmp_path / f"turned{suffix}", exif=exif)
    sample = decode_image(open_image(tmp_path / f"turned{suffix}"), (60, 40, 1))
    assert abs(sample[..., 0].astype(int) - np.asarray(upright)).mean() < 3


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_what_is_no_picture(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(BadImage) as caught:
            open_image(path)
        assert str(path) in caught.value.message
        assert caught.value.expected
        assert caught.value.fix
        return caught.value.received

    assert "no such file" in refused(tmp_path / "missing.png")
    assert "folder" in refused(tmp_path)
    assert "device" in refused(Path("/dev/zero"))
    for content in (b"", b"# text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"):
        (tmp_path / "a.png").write_bytes(content)
        assert "identify" in refused(tmp_path / "a.png")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        whole = encoded(noise, kind)
        for share in (0.2, 0.5, 0.9):
            (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
            assert refused(tmp_path / "cut")
    Image.new("1", (13_500, 13_500)).save(tmp_path / "bomb.png")
    assert "pixels" in refused(tmp_path / "bomb.png")


@settings(max_examples=200, deadline=None)  # how long a picture takes depends on what else runs
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP"]),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_files_are_decoded_or_refused(kind: str, changes: list[tuple[int, int]]) -> None:
    image = Image.new("RGB", (16, 12), (200, 30, 90))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    file = io.BytesIO()
    image.save(file, kind, exif=exif)
    content = bytearray(file.getvalue())
    for at, value in changes:
        content[at % len(content)] = value
    path = Path(tempfile.gettempdir()) / f"images-{os.getpid()}"
    path.write_bytes(content)
    try:
        sample = decode_image(open_image(path), (8, 8, 1))
    except BadImage:
        return
    finally:
        path.unlink()
    assert sample.shape == (8, 8, 1)


def test_a_large_scan_is_no_attack(tmp_path: Path) -> None:
    Image.new("1", (10_000, 10_000), 1).save(tmp_path / "scan.png")
    code = f"""
from pathlib import Path
from pipeline.images import decode_image, open_image
print(decode_image(open_image(Path({str(tmp_path / "scan.png")!r})), (28, 28, 1)).min())
# VmHWM starts anew at exec; ru_maxrss would be that of the process that started this one.
status = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")))
"""
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=root)
    assert (run.returncode, run.stderr) == (0, "")
    darkest, megabytes = map(int, run.stdout.split())
    assert darkest == 255
    assert megabytes < 400


def test_the_hint_of_inversion() -> None:
    digits = load("test")[0][:300]
    assert not any(map(looks_inverted, digits))
    assert all(looks_inverted(invert(digit)) for digit in digits)
    # A dark digit on a strip of paper: the bars beside it are not paper, and stay black.
    for digit in digits[:50]:
        for padding in ((0, 0), (0, 40)), ((40, 0), (0, 0)):
            paper = Image.fromarray(255 - np.pad(digit[..., 0], [(max(p), max(p)) for p in padding]))
            sample = decode_image(paper, (28, 28, 1))
            assert looks_inverted(sample)
            light = invert(sample)
            assert not looks_inverted(light)
            assert light.mean() < 40
    for sample in (np.full((28, 28, 1), 255, np.uint8), np.zeros((28, 28, 1), np.uint8), np.zeros((2, 2, 1), np.uint8)):
        assert not looks_inverted(sample)
    assert not looks_inverted(np.zeros(784, np.float32))
