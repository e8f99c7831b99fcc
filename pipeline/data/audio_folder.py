"""A folder of WAV files, one subfolder a class, or `train`, `val`, `test` with class folders; read as log-mel.

Files are WAV: PCM of 8, 16, 24 or 32 bits or floats; channels are mixed into one. Clips are cut, or filled with silence
behind, to one length. Folders that begin with `_` or `.` are left out, as Speech Commands' `_background_noise_`.
A sample is a log-mel spectrogram [frames, mels, 1], float32 in decibels; the network reads it scaled to 0..1.
`data.toml`:

    rate = 16000          # samples a second; files of another rate are resampled. Left out: all must have the same
    clip_ms = 1000        # length of a clip
    window_ms = 30        # length of a frame
    hop_ms = 20           # from frame to frame
    mels = 40             # bands
    low_hz = 20           # lowest band's lower edge
    high_hz = 8000        # highest band's upper edge; left out: half the rate
    floor_db = -100       # what is quieter counts as this
    skip_max = 0.01       # highest share of broken files, which are listed and left out
    group = "^(.*)_nohash_"  # a part of the file's name, such as the speaker, that decides the split for all its clips

Where no split is given, a clip's content decides it, or its group.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.data._arrays import ArrayData, carve, settings_hash
from pipeline.data._class_folders import class_folders
from pipeline.data._labels import refuse_names, understand
from pipeline.data._log_mel import frame_count, log_mel, mel_bands
from pipeline.data._wav_format import BrokenWav, wav_header, wav_samples
from pipeline.data.settings import DataSettings, read_settings, settings_path
from pipeline.errors import DataError

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "a folder of .wav files, one subfolder a class, or train/, val/, test/ with class folders"


class Settings(DataSettings):
    """What `data.toml` in the folder may say."""

    rate: int | None = Field(None, ge=1000, le=384_000, description="Samples a second; other rates are resampled.")
    clip_ms: float = Field(1000, gt=0, le=60_000, description="Length of a clip in milliseconds.")
    window_ms: float = Field(30, gt=0, le=1000, description="Length of a frame in milliseconds.")
    hop_ms: float = Field(20, gt=0, le=1000, description="Milliseconds from frame to frame.")
    mels: int = Field(40, ge=2, le=256, description="Bands of a frame.")
    low_hz: float = Field(20, ge=0, description="Lower edge of the lowest band in hertz.")
    high_hz: float | None = Field(None, gt=0, description="Upper edge of the highest band in hertz.")
    floor_db: float = Field(-100, ge=-200, lt=0, description="Lowest value in decibels; full scale is 0.")
    skip_max: float = Field(0.01, ge=0, lt=1, description="Highest share of broken files that are left out, 0 to 1.")
    group: str | None = Field(
        None, description="Regular expression; its first group, in a file's name, decides the split."
    )


@dataclass(frozen=True)
class Clip:
    """One WAV file that can be read."""

    file: Path
    label: str
    sha256: str
    rate: int


@dataclass(frozen=True)
class Frames:
    """Lengths in samples, and the mel bands."""

    rate: int
    clip: int
    window: int
    hop: int
    bands: np.ndarray  # [mels, bins]


def takes(path: Path) -> bool:
    """Whether `path` is a folder with .wav files in class folders."""
    return path.is_dir() and any(_wavs(folder) for folders in class_folders(path).values() for folder in folders)


def open_data(path: Path) -> ArrayData:
    """List a folder's clips and read their headers. Raises DataError for what cannot be read or learned from."""
    import numpy as np

    settings = read_settings(path, Settings)
    clips, broken = _clips(path)
    _refuse_broken(path, settings, clips, broken)
    frames = _frames(path, settings, _rate(path, settings, clips))
    labels = {split: np.array([clip.label for clip in part]) for split, part in clips.items()}
    task, names, found = understand(labels, settings, path)
    numbered = {split: (np.arange(len(part)), found[split]) for split, part in clips.items()}
    digests = [_digest(path, settings, clip) for clip in clips["train"]]
    chosen = carve(numbered, task, names, settings.shares, path, digests)

    @cache
    def splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
        features: dict[str, np.ndarray] = {}  # by content: copies are computed once
        samples = {}
        for split, (indices, answers) in chosen.items():
            part = clips.get(split, clips["train"])
            for clip in (part[index] for index in indices):
                if clip.sha256 not in features:
                    sound = _sound(clip, frames)
                    features[clip.sha256] = log_mel(sound, frames.window, frames.hop, frames.bands, settings.floor_db)
            stacked = np.stack([features[part[index].sha256] for index in indices])
            samples[split] = stacked[..., np.newaxis], answers
        return samples

    floor = np.float32(settings.floor_db)
    shape = (frame_count(frames.clip, frames.window, frames.hop), settings.mels, 1)
    return ArrayData(
        path,
        task,
        names,
        shape,
        (0.0, 1.0),
        splits,
        preprocess=lambda samples: ((samples - floor) / -floor).astype(np.float32),
        hashes=partial(_hashes, path, settings, clips),
        details={"rate": frames.rate, "skipped": broken},
    )


def _hashes(path: Path, settings: Settings, clips: dict[str, list[Clip]]) -> dict[str, str]:
    listed = [(split, clip.label, clip.file.name, clip.sha256) for split, part in clips.items() for clip in part]
    return {"clips": hashlib.sha256(repr(listed).encode()).hexdigest(), "settings": settings_hash(settings)}


def _wavs(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".wav" and file.is_file())


def _clips(path: Path) -> tuple[dict[str, list[Clip]], dict[str, str]]:
    """Return (clips by split, {name of a broken file: why})."""
    clips: dict[str, list[Clip]] = {}
    broken: dict[str, str] = {}
    try:
        for split, folders in class_folders(path).items():
            refuse_names([folder.name for folder in folders], path)
            for folder in folders:
                files = _wavs(folder)
                if not files:
                    raise DataError(
                        f"{path}: an empty class: {folder.name!r}",
                        received=f"no .wav file in {folder.relative_to(path)}",
                        expected=".wav files in every class folder; those that begin with _ or . are left out",
                        fix="add files, or remove the folder",
                    )
                for file in files:
                    try:
                        content = file.read_bytes()
                        header = wav_header(content)
                        _refuse_silence(content[header.start : header.start + header.size])
                        if header.kind in ("<f4", "<f8"):
                            wav_samples(content, header)  # which refuses NaN
                    except (OSError, BrokenWav) as error:
                        broken[str(file.relative_to(path))] = getattr(error, "strerror", None) or str(error)
                        continue
                    sha256 = hashlib.sha256(content).hexdigest()
                    clips.setdefault(split, []).append(Clip(file, folder.name, sha256, header.rate))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error}",
            received=str(error),
            expected="a folder that can be listed",
            fix="look at its permissions, and at links that lead to themselves",
        ) from error
    return clips, broken


def _refuse_silence(sound: bytes) -> None:
    """Digital silence has one byte throughout, and gives a picture of one value: nothing to learn or calibrate with."""
    if sound.count(sound[:1]) == len(sound):
        raise BrokenWav("nothing but silence")


def _refuse_broken(path: Path, settings: Settings, clips: dict[str, list[Clip]], broken: dict[str, str]) -> None:
    total = sum(map(len, clips.values())) + len(broken)
    if len(broken) > settings.skip_max * total or "train" not in clips:
        listed = "; ".join(f"{name}: {why}" for name, why in list(broken.items())[:5]) or f"clips for {list(clips)}"
        raise DataError(
            f"{path}: " + ("too many broken files" if broken else "no clips to train with"),
            received=f"{len(broken)} of {total} files broken: {listed}",
            expected=f"at most {settings.skip_max:.1%} of the files broken (skip_max), and clips in the train split",
            fix=f"mend or remove these files, or raise skip_max in {settings_path(path).name}",
        )


def _rate(path: Path, settings: Settings, clips: dict[str, list[Clip]]) -> int:
    """Return the rate to use. Raises DataError for mixed rates where the settings choose none."""
    if settings.rate is not None:
        return settings.rate
    first = clips["train"][0]
    other = next((clip for part in clips.values() for clip in part if clip.rate != first.rate), None)
    if other is not None:
        raise DataError(
            f"{path}: mixed WAV rates",
            received=" and ".join(f"{clip.rate} Hz in {clip.file.relative_to(path)}" for clip in (first, other)),
            expected="one rate for all files, or the rate to resample them to",
            fix=f"rate = {min(first.rate, other.rate)} in {settings_path(path).name}",
        )
    return first.rate


def _frames(path: Path, settings: Settings, rate: int) -> Frames:
    clip, window, hop = (
        round(milliseconds * rate / 1000) for milliseconds in (settings.clip_ms, settings.window_ms, settings.hop_ms)
    )
    high = settings.high_hz or rate / 2
    try:
        if not hop >= 1 or not 2 <= window <= clip:
            raise ValueError(f"a frame of {window} samples every {hop} in a clip of {clip}")
        if not settings.low_hz < high <= rate / 2:
            raise ValueError(f"bands from {settings.low_hz:g} to {high:g} Hz at {rate} samples a second")
        bands = mel_bands(settings.mels, window, rate, settings.low_hz, high)
    except ValueError as error:
        raise DataError(
            f"{path}: the frames do not fit the sound",
            received=str(error),
            expected="window_ms within clip_ms, low_hz < high_hz <= rate / 2, a bin of the spectrum in each band",
            fix=f"correct window_ms, hop_ms, clip_ms, mels, low_hz or high_hz in {settings_path(path).name}",
        ) from error
    return Frames(rate, clip, window, hop, bands)


def _digest(path: Path, settings: Settings, clip: Clip) -> str:
    """Return the SHA-256 that decides a clip's split: of its group, or of its content."""
    if settings.group is None:
        return clip.sha256
    try:
        match = re.search(settings.group, clip.file.name)
        group = match[1] if match else None
    except (re.error, IndexError) as error:
        raise DataError(
            f"{settings_path(path)}: group cannot be used",
            received=f"{settings.group!r}: {error}",
            expected='a regular expression with one (group), such as "^(.*)_nohash_"',
            fix="correct group",
        ) from error
    return clip.sha256 if group is None else hashlib.sha256(group.encode()).hexdigest()


def _sound(clip: Clip, frames: Frames) -> np.ndarray:
    """Return float32 [frames.clip]: mixed, resampled where needed, cut, or filled with silence behind."""
    import numpy as np

    try:
        content = clip.file.read_bytes()
        if hashlib.sha256(content).hexdigest() != clip.sha256:
            raise BrokenWav("it changed since it was listed")
        header = wav_header(content)
        sound = wav_samples(content, header)[: -(-frames.clip * header.rate // frames.rate)]
    except (OSError, BrokenWav) as error:
        raise DataError(
            f"{clip.file} cannot be read: {error}",
            received=str(error),
            expected="the file as it was when the folder was listed, with finite values",
            fix="remove or mend it, and begin anew",
        ) from error
    if header.rate != frames.rate:
        from scipy.signal import resample_poly

        common = math.gcd(header.rate, frames.rate)
        sound = resample_poly(sound.astype(np.float64), frames.rate // common, header.rate // common)
    return np.pad(sound[: frames.clip], (0, max(0, frames.clip - len(sound)))).astype(np.float32)
