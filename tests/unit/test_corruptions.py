"""Corrupted pictures: what each kind does, how far each severity goes, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.corruptions import CORRUPTIONS, LEVELS, SEVERITIES, corrupt
from pipeline.errors import DataError, PipelineError, RequestError, UnknownName
from pipeline.workloads.mnist_data import load
from tests.strategies import quick

kinds, severities = st.sampled_from(CORRUPTIONS), st.sampled_from(SEVERITIES)
shapes = st.tuples(st.integers(0, 5), st.integers(8, 40), st.integers(8, 40), st.sampled_from([1, 3]))


def digits(count: int = 1000) -> np.ndarray:
    return load("test")[0][:count]


def pictures(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@given(shapes, kinds, severities, st.sampled_from([np.uint8, np.float32, np.float64]), st.integers(0, 2**31 - 1))
@quick
def test_shape_format_and_range_stay_and_the_original_is_untouched(
    shape: tuple[int, ...], kind: str, severity: int, dtype: type, seed: int
) -> None:
    samples = pictures(shape, seed % 1000)
    samples = samples if dtype is np.uint8 else (samples / 255).astype(dtype)
    before = samples.copy()
    samples.setflags(write=False)  # as the pictures of MNIST are
    corrupted = corrupt(samples, kind, severity, seed)
    assert (corrupted.shape, corrupted.dtype) == (samples.shape, samples.dtype)
    assert np.array_equal(samples, before)
    assert not np.shares_memory(samples, corrupted)
    if samples.size:
        assert 0 <= corrupted.min() <= corrupted.max() <= (255 if dtype is np.uint8 else 1)


@given(kinds, severities, st.integers(1, 40), st.integers(1, 3))
@quick
def test_a_picture_is_corrupted_alike_whatever_follows_it(kind: str, severity: int, count: int, cut: int) -> None:
    whole = pictures((count + cut, 15, 9, 3))
    assert np.array_equal(corrupt(whole, kind, severity, 3)[:count], corrupt(whole[:count], kind, severity, 3))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_many_pictures_are_corrupted_as_few_are(kind: str) -> None:
    few = corrupt(digits(100), kind, 3, 0)
    assert np.array_equal(corrupt(digits(1000), kind, 3, 0)[:100], few)


@given(kinds, severities)
@quick
def test_floats_are_corrupted_as_the_same_pictures_in_bytes(kind: str, severity: int) -> None:
    samples = pictures((6, 12, 10, 1))
    bytes_, floats = corrupt(samples, kind, severity, 1), corrupt(samples / np.float32(255), kind, severity, 1)
    assert np.array_equal(floats, bytes_ / np.float32(255))


def test_floats_between_two_bytes_go_to_the_nearer_one() -> None:
    between = np.full((1, 8, 8, 1), 100.6 / 255)
    assert corrupt(between, "shift", 1, 0) * 255 == pytest.approx(101)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_stronger_severity_moves_digits_further(kind: str) -> None:
    samples = digits()
    moved = [np.abs(corrupt(samples, kind, level, 0) - samples.astype(float)).mean() for level in SEVERITIES]
    assert moved[0] > 1
    assert all(after > before * 1.04 for before, after in zip(moved, moved[1:], strict=False)), moved


def test_every_kind_has_a_level_for_every_severity() -> None:
    assert CORRUPTIONS == ("noise", "blur", "shift", "rotation", "brightness", "contrast", "jpeg", "occlusion")
    assert {len(levels) for levels in LEVELS.values()} == {len(SEVERITIES)}


@pytest.mark.parametrize("kind", ["noise", "shift", "rotation", "occlusion"])
def test_the_seed_and_the_place_change_what_is_drawn(kind: str) -> None:
    same = np.repeat(digits(1), 20, axis=0)
    corrupted = corrupt(same, kind, 3, 0)
    assert len({picture.tobytes() for picture in corrupted}) > 1
    assert not np.array_equal(corrupted, corrupt(same, kind, 3, 1))


def test_another_process_makes_the_same_bytes() -> None:
    code = """
import hashlib, json
from pipeline.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from pipeline.workloads.mnist_data import load
from tests.strategies import quick
samples = load("test")[0][:50]
made = {f"{kind} {severity}": hashlib.sha256(corrupt(samples, kind, severity, 5).tobytes()).hexdigest()
        for kind in CORRUPTIONS for severity in SEVERITIES}
print(json.dumps(made))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    samples = digits(50)
    for name, theirs in json.loads(done.stdout).items():
        kind, severity = name.split()
        assert hashlib.sha256(corrupt(samples, kind, int(severity), 5).tobytes()).hexdigest() == theirs, name


# What each kind is.


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_the_standard_deviation_of_its_level(severity: int) -> None:
    grey = np.full((200, 28, 28, 1), 128, np.uint8)
    noise = corrupt(grey, "noise", severity, 0).astype(float) - 128
    inside = noise[(noise > -64) & (noise < 64)]  # of a normal distribution, what is never clipped
    level = LEVELS["noise"][severity - 1] * 255
    assert abs(noise.mean()) < 1
    wanted = np.random.default_rng(9).normal(0, level, 400_000)
    assert inside.std() == pytest.approx(wanted[np.abs(wanted) < 64].std(), rel=0.02)
    assert len(inside) / noise.size == pytest.approx((np.abs(wanted) < 64).mean(), abs=0.01)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_is_gaussian(severity: int, channels: int) -> None:
    samples = np.concatenate([digits(60)[index::channels][:20] for index in range(channels)], axis=-1)
    sigma = LEVELS["blur"][severity - 1]
    places = np.arange(-20, 21)
    weights = np.exp(-(places**2) / (2 * sigma**2))
    expected = np.pad(samples.astype(float), ((0, 0), (20, 20), (20, 20), (0, 0)), "edge")
    for axis in (1, 2):
        expected = np.apply_along_axis(np.convolve, axis, expected, weights / weights.sum(), "valid")
    difference = np.abs(corrupt(samples, "blur", severity, 0) - expected)
    assert difference.mean() < 1.5  # grey levels: Pillow's is an approximation
    assert difference.max() < 12


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("kind", ["blur", "brightness", "contrast", "jpeg"])
def test_no_picture_reaches_into_another(kind: str, severity: int, channels: int) -> None:
    samples = pictures((5, 11, 10, channels))
    alone = [corrupt(samples[index : index + 1], kind, severity, 0) for index in range(5)]
    assert np.array_equal(corrupt(samples, kind, severity, 0), np.concatenate(alone))


@pytest.mark.parametrize("shape", [(5, 28, 28, 1), (5, 20, 33, 3), (3, 8, 8, 3)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_gives_what_each_picture_gives_alone(severity: int, shape: tuple[int, ...]) -> None:
    samples = pictures(shape)
    for sample, corrupted in zip(samples, corrupt(samples, "jpeg", severity, 0), strict=True):
        stream = io.BytesIO()
        image = Image.fromarray(sample[..., 0] if shape[-1] == 1 else sample)
        image.save(stream, "JPEG", quality=LEVELS["jpeg"][severity - 1], subsampling=0)
        assert np.array_equal(np.asarray(Image.open(stream)).reshape(sample.shape), corrupted)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_shift_has_the_length_of_its_level_and_any_direction(severity: int) -> None:
    samples = np.zeros((300, 28, 40, 1), np.uint8)
    samples[:, 10:19, 16:25] = 255  # a white square around row 14 and column 20
    shifted = corrupt(samples, "shift", severity, 0)[..., 0].astype(float)
    mass = shifted.sum(axis=(1, 2))
    down = ((shifted.sum(axis=2) @ np.arange(28)) / mass - 14) / 28
    right = ((shifted.sum(axis=1) @ np.arange(40)) / mass - 20) / 40
    assert np.hypot(down, right) == pytest.approx(LEVELS["shift"][severity - 1], abs=0.002)
    assert np.histogram(np.arctan2(down, right), 4, (-np.pi, np.pi))[0].min() > 40


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_rotation_has_the_angle_of_its_level_and_either_side(severity: int) -> None:
    bar = np.zeros((1, 28, 28, 1), np.uint8)
    bar[:, 13:15, 4:24] = 255
    turned = corrupt(np.repeat(bar, 100, axis=0), "rotation", severity, 0)[..., 0]
    angles = []
    for picture in turned:
        rows, columns = np.nonzero(picture > 100)
        angles.append(np.degrees(np.arctan2(*np.linalg.eigh(np.cov(rows, columns))[1][:, 1])))
    # An axis has no head: -170 degrees are 10.
    signed = (np.array(angles) + 90) % 180 - 90
    assert np.abs(signed) == pytest.approx(LEVELS["rotation"][severity - 1], abs=1.5)
    assert 30 < (signed > 0).sum() < 70


@pytest.mark.parametrize("kind", ["shift", "rotation"])
def test_what_comes_in_from_outside_is_as_the_edge(kind: str) -> None:
    white = np.full((20, 16, 12, 3), 255, np.uint8)
    assert (corrupt(white, kind, 5, 0) == 255).all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_is_added_and_contrast_taken_around_the_mean(severity: int) -> None:
    samples = pictures((5, 9, 8, 3))
    brighter = np.minimum(255, samples + LEVELS["brightness"][severity - 1] * 255)
    assert np.abs(corrupt(samples, "brightness", severity, 0) - brighter).max() <= 0.51
    flatter = corrupt(samples, "contrast", severity, 0).reshape(5, -1).astype(float)
    assert flatter.mean(axis=1) == pytest.approx(samples.reshape(5, -1).mean(axis=1), abs=0.5)
    left = flatter.std(axis=1) / samples.reshape(5, -1).std(axis=1)
    assert left == pytest.approx(LEVELS["contrast"][severity - 1], abs=0.01)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_occlusion_is_one_grey_square_anywhere_in_the_picture(severity: int) -> None:
    samples = np.zeros((500, 20, 30, 3), np.uint8)
    corrupted = corrupt(samples, "occlusion", severity, 0)
    side = round(LEVELS["occlusion"][severity - 1] * 20)
    assert set(np.unique(corrupted)) == {0, 128}
    corners = []
    for picture in corrupted:
        rows, columns = np.nonzero(picture.all(axis=2))
        assert len(rows) == side**2
        assert (np.ptp(rows), np.ptp(columns)) == (side - 1, side - 1)
        corners.append((rows.min(), columns.min()))
    assert np.min(corners, axis=0).tolist() == [0, 0]
    assert np.max(corners, axis=0).tolist() == [20 - side, 30 - side]


# What is refused.


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'noise'"):
        corrupt(digits(1), "nois", 1, 0)


@pytest.mark.parametrize("severity", [0, 6, -1, 1.5, "3", None])
def test_an_unknown_severity_is_refused(severity: object) -> None:
    with pytest.raises(RequestError, match="no such severity") as caught:
        corrupt(digits(1), "noise", severity, 0)  # type: ignore[arg-type]
    assert caught.value.received == repr(severity)
    assert "1, 2, 3, 4, 5" in caught.value.expected


FLOATS = np.zeros((2, 8, 8, 1), np.float32)
UNUSABLE = {
    "no batch": np.zeros((28, 28, 1), np.uint8),
    "no channels": np.zeros((2, 28, 28), np.uint8),
    "two channels": np.zeros((2, 28, 28, 2), np.uint8),
    "too small": np.zeros((2, 7, 28, 1), np.uint8),
    "too narrow": np.zeros((2, 28, 7, 1), np.uint8),
    "signed bytes": np.zeros((2, 28, 28, 1), np.int8),
    "half precision": FLOATS.astype(np.float16),
    "text": np.full((2, 8, 8, 1), "a"),
    "floats up to 255": FLOATS + 255,
    "floats below 0": FLOATS - 0.01,
    "no number": FLOATS + np.nan,
    "infinite": FLOATS + np.inf,
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_samples_that_are_no_such_pictures_are_refused(name: str) -> None:
    with pytest.raises(PipelineError, match="no pictures that can be corrupted") as caught:
        corrupt(UNUSABLE[name], "blur", 1, 0)
    assert type(caught.value) is DataError
    assert str(list(UNUSABLE[name].shape)) in caught.value.received
    assert "preprocess()" in caught.value.fix
