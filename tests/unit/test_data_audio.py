"""WAV files in class folders: the format's round trip, what log-mel shows, splits, and files that cannot be used."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.data import audio_folder
from pipeline.data._arrays import ArrayData
from pipeline.data._log_mel import log_mel, mel_bands
from pipeline.data._wav_format import BrokenWav, wav_header, wav_samples
from pipeline.errors import EXIT_REQUEST, DataError

SPLITS = ("train", "validation", "test")
RATE = 8000


def written(values: np.ndarray, rate: int = RATE) -> bytes:
    """Return a WAV file as another implementation writes it."""
    stream = io.BytesIO()
    scipy.io.wavfile.write(stream, rate, values)
    return stream.getvalue()


def tone(hertz: float, seed: int = 0, rate: int = RATE, seconds: float = 0.5) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.01, int(rate * seconds))
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)
    return np.round((wave + noise) * 32767).astype(np.int16)


def folder(path: Path, count: int = 30, toml: str = "clip_ms = 500", **classes: float) -> Path:
    for name, hertz in (classes or {"hoch ü": 2000, "low": 300}).items():
        (path / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (path / name / f"{number:03d}.wav").write_bytes(written(tone(hertz, number)))
    (path / "data.toml").write_text(toml)
    return path


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        audio_folder.open_data(path).load("train")
    assert caught.value.exit_code == EXIT_REQUEST
    assert caught.value.received
    assert caught.value.expected
    assert caught.value.fix
    return caught.value


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["u1", "i2", "i4", "f4", "f8"]).flatmap(
        lambda kind: arrays.arrays(
            kind,
            st.tuples(st.integers(1, 50), st.integers(1, 3)),
            elements=st.floats(-1, 1, width=32) if kind[0] == "f" else None,
        )
    ),
    st.integers(1000, 96_000),
)
def test_every_format_is_read_as_it_was_written(values: np.ndarray, rate: int) -> None:
    content = written(values if values.shape[1] > 1 else values[:, 0], rate)
    header = wav_header(content)
    assert (header.rate, header.frames, header.channels) == (rate, *values.shape)
    scale = {"u1": 128.0, "i2": 2.0**15, "i4": 2.0**31}.get(values.dtype.str[1:], 1.0)
    expected = (values.astype(np.float64) - (128 if values.dtype == np.uint8 else 0)).mean(axis=1) / scale
    assert np.allclose(wav_samples(content, header), expected, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(2**23), 2**23 - 1), min_size=1, max_size=40), st.booleans())
def test_24_bits(values: list[int], extensible: bool) -> None:
    sound = b"".join(value.to_bytes(3, "little", signed=True) for value in values)
    code = 0xFFFE if extensible else 1
    form = struct.pack("<HHIIHH", code, 1, RATE, RATE * 3, 3, 24)
    if extensible:  # its last 16 bytes are an identifier that begins with the format's code
        form += struct.pack("<HHIH", 22, 24, 0, 1) + bytes(14)
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(sound)) + sound
    content = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    assert np.array_equal(wav_samples(content, wav_header(content)), np.array(values, np.float32) / 2**23)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.binary(min_size=1, max_size=4))
def test_damage_is_said_and_never_crashes(place: int, bytes_there: bytes) -> None:
    content = written(tone(300)[:50])
    for damaged in (content[:place], content[:place] + bytes_there + content[place + len(bytes_there) :]):
        try:
            header = wav_header(damaged)
        except BrokenWav:
            continue
        assert len(wav_samples(damaged, header)) == header.frames


def test_log_mel_shows_a_tone_in_its_band() -> None:
    bands = mel_bands(20, 240, RATE, 20, 4000)
    assert np.allclose(bands.sum(axis=1), 1)
    found = []
    for hertz in (300, 1000, 3000):
        picture = log_mel(np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE), 240, 160, bands, -100)
        assert picture.shape == (1 + (RATE - 240) // 160, 20)
        assert picture.dtype == np.float32
        assert (picture.argmax(axis=1) == picture.argmax(axis=1)[0]).all()
        assert -20 < picture.max() < 0
        found.append(int(picture[0].argmax()))
    mels = 2595 * np.log10(1 + np.array([300, 1000, 3000]) / 700)
    edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 4000 / 700), 22)
    assert found == [int(np.abs(edges[1:-1] - mel).argmin()) for mel in mels]


def test_log_mel_of_a_constant_at_full_scale_is_at_most_0_decibels() -> None:
    bands = mel_bands(10, 240, RATE, 0, 4000)
    for clip in (np.ones(RATE), np.sign(np.random.default_rng(0).normal(size=RATE))):
        picture = log_mel(clip, 240, 160, bands, -100)
        assert -100 <= picture.min() <= picture.max() <= 0
    assert (log_mel(np.zeros(RATE), 240, 160, bands, -90) == -90).all()


def test_class_folders_become_pictures_of_one_size(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "_background_noise_").mkdir()
    (path / "low" / "000.wav").write_bytes(written(tone(300, seconds=0.1)))  # filled
    (path / "low" / "001.wav").write_bytes(written(tone(300, 1, seconds=2)))  # cut
    stereo = np.stack([tone(300, 2), tone(300, 3)], axis=1)
    (path / "low" / "002.wav").write_bytes(written(stereo))
    assert audio_folder.takes(path)
    data = audio_folder.open_data(path)
    assert (data.task, data.labels) == ("classification", ("hoch ü", "low"))
    assert data.input_shape == (1 + (4000 - 240) // 160, 40, 1)
    total = 0
    for split in SPLITS:
        samples, labels = data.load(split)
        prepared = data.preprocess(samples)
        assert samples.shape == (len(labels), *data.input_shape)
        assert prepared.dtype == np.float32
        assert 0 <= prepared.min() <= prepared.max() <= 1
        assert np.array_equal(labels == 0, samples[:, 0].argmax(axis=1)[:, 0] > 15)
        total += len(labels)
    assert total == 60
    again = audio_folder.open_data(path)
    assert all(np.array_equal(again.load(split)[0], data.load(split)[0]) for split in SPLITS)
    assert again.hashes() == data.hashes()
    (path / "low" / "003.wav").write_bytes(written(tone(310, 3)))
    assert audio_folder.open_data(path).hashes() != data.hashes()


def test_folders_of_splits(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val", "test")):
        folder(tmp_path / split, count=4 + number)
        (tmp_path / split / "data.toml").unlink()
    data = audio_folder.open_data(tmp_path)
    assert [len(data.load(split)[1]) for split in SPLITS] == [8, 10, 12]


def clips_by_split(data: ArrayData) -> dict[bytes, str]:
    return {sample.tobytes(): split for split in SPLITS for sample in data.load(split)[0]}


def test_added_clips_move_no_other(tmp_path: Path) -> None:
    before = clips_by_split(audio_folder.open_data(folder(tmp_path, count=40)))
    after = clips_by_split(audio_folder.open_data(folder(tmp_path, count=60)))
    assert len(after) > len(before)
    assert before.items() <= after.items()


def test_a_group_stays_in_one_split(tmp_path: Path) -> None:
    toml = "clip_ms = 500\ngroup = '^(.*)_nohash_'\nshares = { validation = 0.3, test = 0.3 }"
    path = folder(tmp_path, count=60, toml=toml)
    for name in ("hoch ü", "low"):
        for number in range(60):
            (path / name / f"{number:03d}.wav").rename(path / name / f"speaker{number % 20}_nohash_{number // 20}.wav")
    data = audio_folder.open_data(path)
    for split in SPLITS:
        assert len(data.load(split)[1])
        assert len(data.load(split)[1]) % 6 == 0, "three clips of each of two words for every speaker"


def test_other_rates_are_refused_or_resampled_when_asked(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "low" / "000.wav").write_bytes(written(tone(300, rate=16_000), 16_000))
    error = refused(path)
    assert "mixed WAV rates" in error.message
    assert "8000 Hz" in error.received
    assert "16000 Hz in low/000.wav" in error.received
    (path / "data.toml").write_text("clip_ms = 500\nrate = 8000")
    data = audio_folder.open_data(path)
    assert data.report()["rate"] == 8000
    for split in SPLITS:
        samples, labels = data.load(split)
        assert np.array_equal(labels == 0, samples[:, 0].argmax(axis=1)[:, 0] > 15)


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello" * 100,
    "cut off": written(tone(300))[:-100],
    "silence": written(np.zeros(4000, np.int16)),
    "silence of 8 bits": written(np.full(4000, 128, np.uint8)),
    "nan": written(np.full(4000, np.nan, np.float32) + np.arange(4000, dtype=np.float32)),
    "no samples": written(np.empty(0, np.int16)),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_broken_files_are_listed_and_left_out_up_to_a_share(tmp_path: Path, damage: str) -> None:
    path = folder(tmp_path)
    (path / "low" / "007.wav").write_bytes(BROKEN[damage])
    error = refused(path)
    assert "too many broken files" in error.message
    assert "1 of 60" in error.received
    assert "low/007.wav" in error.received
    (path / "data.toml").write_text("clip_ms = 500\nskip_max = 0.02")
    data = audio_folder.open_data(path)
    assert list(data.report()["skipped"]) == ["low/007.wav"]
    assert sum(len(data.load(split)[1]) for split in SPLITS) == 59


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("window_ms = 600\nclip_ms = 500", "do not fit"),
        ("high_hz = 5000", "do not fit"),
        ("mels = 200", "do not fit"),
        ("group = '('", "group cannot be used"),
        ("group = 'x*'", "group cannot be used"),
        ("mel = 3", "did you mean 'mels'"),
        ("rate = 12", "rate cannot be used"),
        ('task = "regression"', "do not fit the task"),
        ('labels = ["low"]', "no class"),
        ('labels = ["low", "hoch ü", "mid"]', "an empty class: 'mid'"),
        ('task = "anomaly"', "normal one"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, toml: str, said: str) -> None:
    assert said in str(refused(folder(tmp_path, count=20, toml=toml)))


def test_classes_that_cannot_be_used(tmp_path: Path) -> None:
    assert "one class only" in str(refused(folder(tmp_path / "one", count=20, toml="", low=300)))
    (tmp_path / "one" / "high").mkdir()
    assert "an empty class: 'high'" in str(refused(tmp_path / "one"))
    assert "but for case" in str(refused(folder(tmp_path / "case", count=2, toml="", low=300, Low=400)))


def test_a_link_to_itself_is_no_class(tmp_path: Path) -> None:
    path = folder(tmp_path / "sounds")
    os.symlink(path / "loop", path / "loop")
    os.symlink(path, path / "low" / "up.wav")
    data = audio_folder.open_data(path)
    assert data.labels == ("hoch ü", "low")


def test_a_file_that_changes_after_it_was_listed_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path)
    data: Any = audio_folder.open_data(path)
    for file in path.glob("*/*.wav"):
        file.write_bytes(written(tone(500)))
    with pytest.raises(DataError, match="changed since it was listed"):
        data.load("train")
