"""A folder of images, one subfolder a class, or `train`, `val`, `test` with class folders.

Any format and mode that Pillow reads, turned upright as EXIF says; folders that begin with `_` or `.` are left out.
`data.toml`:

    size = [64, 64]            # height and width of a sample; left out: the pictures' own, where they share one of at
                               # most 224, else 96×96
    channels = 3               # or 1: grey; left out: 1 where all pictures are grey
    resize = "crop"            # cut to the sample's proportions; pad: black beside it; fit: each side by itself
    normalization = "unit"     # 0..1; "signed": -1..1; "standard": (0..1 - mean) / deviation
    mean = [0.5, 0.5, 0.5]     # of each channel, for "standard"
    deviation = [0.25, 0.25, 0.25]
    skip_max = 0.01            # highest share of broken files, which are listed and left out

Where no split is given, a picture's content decides it; near-duplicates go with the one of the lowest hash. Pictures
are decoded once, into the project's store, and read from there as they are asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock
from pydantic import Field

from pipeline.data._arrays import carve, settings_hash
from pipeline.data._class_folders import class_folders
from pipeline.data._labels import understand
from pipeline.data.decoded_cache import CachedSamples, Damaged, DecodedCache
from pipeline.data.image_decoding import Decoding, Resize, decode_all, headers, sample_of
from pipeline.data.image_listing import Picture, hash_of_pictures, image_suffixes, list_pictures
from pipeline.data.near_duplicates import groups
from pipeline.data.settings import DataSettings, read_settings, settings_path
from pipeline.errors import DataError
from pipeline.lookup import project_root
from pipeline.store import key_of

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

PROBED = 64  # pictures whose headers are read where the settings leave size or channels out
OWN_SIDE_MAX = 224  # pixels: what larger pictures are brought down from
USUAL_SIZE = (96, 96)
DESCRIPTION = "a folder of images, one subfolder a class, or train/, val/, test/ with class folders"


class Settings(DataSettings):
    """What `data.toml` in the folder may say."""

    size: tuple[int, int] | None = Field(
        None, strict=False, description="Height and width of a sample in pixels; left out: told from the pictures."
    )
    channels: Literal[1, 3] | None = Field(
        None, description="3 for colours, 1 for grey; left out: told from the pictures."
    )
    resize: Resize = Field("crop", description="How a picture of other proportions becomes a sample.")
    normalization: Literal["unit", "signed", "standard"] = Field(
        "unit", description="unit: 0 to 1; signed: -1 to 1; standard: less the mean, by the deviation."
    )
    mean: tuple[float, ...] | None = Field(None, strict=False, description="Of each channel, 0 to 1.")
    deviation: tuple[float, ...] | None = Field(None, strict=False, description="Of each channel, above 0.")
    skip_max: float = Field(0.01, ge=0, lt=1, description="Highest share of broken files that are left out, 0 to 1.")
    pixels_max: int = Field(50_000_000, gt=0, description="A picture of more pixels counts as broken.")


def takes(path: Path) -> bool:
    """Whether `path` is a folder whose first class folder with files holds a picture."""
    if not path.is_dir():
        return False
    suffixes = image_suffixes()
    for folders in class_folders(path).values():
        for folder in folders:
            if any(file.suffix.lower() in suffixes for file in folder.rglob("*")):
                return True
    return False


def open_data(path: Path) -> ImageFolder:
    """List a folder's pictures. Raises DataError for what cannot be read or learned from."""
    import numpy as np

    if not path.is_dir():
        raise DataError(
            f"there is no folder {path}", received=str(path), expected="a folder of images", fix="correct the path"
        )
    settings = read_settings(path, Settings)
    store = project_root() / "artifacts" / "store" / "decoded"
    index = store / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()}.files"
    pictures, read = list_pictures(path, index)
    how = _decoding(path, settings, pictures)
    _refuse_settings(path, settings, how)
    pictures.sort(key=lambda picture: (picture.sha256, picture.split, picture.label, picture.place))
    parts: dict[str, list[str]] = {}
    for picture in pictures:
        parts.setdefault(picture.split, []).append(picture.label)
    task, labels, _ = understand({split: np.array(names) for split, names in parts.items()}, settings, path)
    return ImageFolder(path, settings, how, task, labels, pictures, read, store)


@dataclass
class ImageFolder:
    """A DataSource over a folder of images."""

    path: Path
    settings: Settings
    decoding: Decoding
    task: str
    labels: tuple[str, ...]
    pictures: list[Picture]  # in the order of their SHA-256
    files_read: int  # to list them: those that are new, or changed
    store: Path

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.decoding.height, self.decoding.width, self.decoding.channels

    @property
    def input_range(self) -> tuple[float, float]:
        import numpy as np

        ends = np.zeros((2, *self.input_shape), np.uint8)
        ends[1] = 255
        low, high = self.preprocess(ends)
        return float(low.min()), float(high.max())

    def load(self, split: str) -> tuple[CachedSamples, np.ndarray]:
        """Return uint8 [n, height, width, channels], read as they are asked for, and labels int64 [n]."""
        shas, labels = self._splits[split]
        return CachedSamples(shas, self._cache), labels

    def preprocess(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 [n, *input_shape] from uint8."""
        import numpy as np

        prepared = samples.astype(np.float32)
        prepared /= np.float32(255)
        if self.settings.normalization == "signed":
            prepared *= 2
            prepared -= 1
        elif self.settings.normalization == "standard":
            prepared -= np.array(self.settings.mean, np.float32)
            prepared /= np.array(self.settings.deviation, np.float32)
        return prepared

    def hashes(self) -> dict[str, str]:
        """Return {name: SHA-256} of contents with their classes, and of the settings."""
        return {
            "pictures": hash_of_pictures(self.pictures),
            "settings": settings_hash(self.settings),
            "decoding": f"{settings_hash(self.decoding)} {_pillow()}",
        }

    def decode_image(self, image: Image.Image) -> np.ndarray:
        """Return one raw sample, uint8 [height, width, channels], from a picture, as the folder's own are decoded."""
        import numpy as np

        return np.array(sample_of(image, self.decoding)).reshape(self.input_shape)

    def report(self) -> dict[str, Any]:
        """Return skipped files, sizes of pictures, duplicates, and leakage between given splits."""
        import numpy as np

        cache, group = self._cache(), self._groups
        places = cache.places()
        whole = [picture for picture in self.pictures if not self._reason(picture)]
        index = cache.index[sorted({places[bytes.fromhex(picture.sha256)] for picture in whole})]
        sizes = Counter(zip(index["width"].tolist(), index["height"].tolist(), strict=True))
        members: dict[str, list[Picture]] = {}
        for picture in whole:
            members.setdefault(group[picture.sha256], []).append(picture)
        several = [part for part in members.values() if len(part) > 1]
        leaks = [part for part in several if len({picture.split for picture in part}) > 1]
        mixed = [part for part in several if len({picture.label for picture in part}) > 1]
        channels = self.decoding.channels
        mean = index["sum"].mean(axis=0)[:channels]
        deviation = np.sqrt(np.maximum(0, index["squares"].mean(axis=0)[:channels] - mean**2))
        shas = Counter(picture.sha256 for picture in whole)
        return {
            "skipped": {_readable(one.place): why for one in self.pictures if (why := self._reason(one))},
            "files": len(self.pictures),
            "files_read": self.files_read,
            "exact_duplicates": sum(count - 1 for count in shas.values()),
            "near_duplicates": len(shas) - len(members),
            "leaking": [[_readable(picture.place) for picture in part[:6]] for part in leaks[:50]],
            "leaks": len(leaks),
            "of_two_classes": [[_readable(picture.place) for picture in part[:6]] for part in mixed[:50]],
            "sizes": {f"{width}x{height}": count for (width, height), count in sizes.most_common(20)},
            "mean": [round(float(value), 6) for value in mean],
            "deviation": [round(float(value), 6) for value in deviation],
        }

    def _reason(self, picture: Picture) -> str:
        """Return why a picture is left out; empty where it is not."""
        return self._cache().broken.get(picture.sha256, "") if picture.sha256 else "it cannot be read"

    def _cache(self, damaged: bool = False) -> DecodedCache:
        """Return the cache with every picture in it: what is missing is decoded now; all of it, where it is damaged."""
        if damaged:
            self.__dict__.pop("_filled", None)
            with FileLock(f"{self._folder}.lock"):
                DecodedCache.remove_at(self._folder)
        return self._filled

    @cached_property
    def _folder(self) -> Path:
        self.store.mkdir(parents=True, exist_ok=True)
        source = [hashlib.sha256(Path(module).read_bytes()).hexdigest() for module in _DECODERS]
        return self.store / key_of({"decoding": self.decoding.model_dump(), "source": source, "pillow": _pillow()})

    @cached_property
    def _filled(self) -> DecodedCache:
        with FileLock(f"{self._folder}.lock"):
            try:
                cache = DecodedCache(self._folder, self.input_shape)
            except Damaged:
                DecodedCache.remove_at(self._folder)
                cache = DecodedCache(self._folder, self.input_shape)
            known = cache.places()
            missing = {
                picture.sha256: self.path / picture.place
                for picture in self.pictures
                if picture.sha256 and bytes.fromhex(picture.sha256) not in known and picture.sha256 not in cache.broken
            }
            if missing:
                cache.append(decode_all(((file, sha256) for sha256, file in missing.items()), self.decoding))
        self._refuse_broken(cache)
        return cache

    def _refuse_broken(self, cache: DecodedCache) -> None:
        broken = {
            picture.place: cache.broken.get(picture.sha256, "it cannot be read")
            for picture in self.pictures
            if not picture.sha256 or picture.sha256 in cache.broken
        }
        if len(broken) > self.settings.skip_max * len(self.pictures):
            listed = "; ".join(f"{name}: {why}" for name, why in list(broken.items())[:5])
            raise DataError(
                f"{self.path}: too many broken files",
                received=f"{len(broken)} of {len(self.pictures)} files broken: {listed}",
                expected=f"at most {self.settings.skip_max:.1%} of the files broken (skip_max)",
                fix=f"mend or remove these files, or raise skip_max in {settings_path(self.path).name}",
            )

    @cached_property
    def _groups(self) -> dict[str, str]:
        """Return {SHA-256: the lowest SHA-256 of those that it is a near-duplicate of, its own included}."""
        import numpy as np

        cache = self._cache()
        known = cache.places()
        shas = sorted({one.sha256 for one in self.pictures if bytes.fromhex(one.sha256) in known})
        rows = np.array([known[bytes.fromhex(sha)] for sha in shas], np.int64)
        try:
            lowest = groups(cache.index["hash"][rows], lambda chosen: cache.thumbnails(rows[chosen]))
        except Damaged:
            self._cache(damaged=True)
            return self._groups
        return {sha: shas[index] for sha, index in zip(shas, lowest.tolist(), strict=True)}

    @cached_property
    def _splits(self) -> dict[str, tuple[list[bytes], np.ndarray]]:
        import numpy as np

        group = self._groups
        parts: dict[str, dict[tuple[str, str], None]] = {}
        for picture in self.pictures:  # copies within a class count once
            if picture.sha256 in group:
                parts.setdefault(picture.split, {})[picture.sha256, picture.label] = None
        if "train" not in parts:
            raise DataError(f"{self.path}: no whole picture to train with", received="none", expected="whole pictures")
        names = {split: np.array([label for _, label in part]) for split, part in parts.items()}
        _, _, found = understand(names, self.settings, self.path)
        shas = {split: [sha for sha, _ in part] for split, part in parts.items()}
        chosen = carve(
            {split: (np.arange(len(part)), found[split]) for split, part in shas.items()},
            self.task,
            self.labels,
            self.settings.shares,
            self.path,
            [group[sha] for sha in shas["train"]],
        )
        return {
            split: ([bytes.fromhex(shas.get(split, shas["train"])[i]) for i in indices], labels)
            for split, (indices, labels) in chosen.items()
        }


_DECODERS = tuple(
    Path(__file__).parent / name
    for name in ("image_decoding.py", "decoded_cache.py", "near_duplicates.py", "../images.py")
)


def _readable(place: str) -> str:
    """Return a file's place as text that a document can hold, whatever bytes its name has."""
    return place.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _pillow() -> str:
    from importlib.metadata import version

    return version("pillow")


def _decoding(path: Path, settings: Settings, pictures: list[Picture]) -> Decoding:
    """Return how pictures are decoded; what the settings leave out some pictures' headers tell."""
    size, channels = settings.size, settings.channels
    if not size or not channels:
        seen = headers(path / picture.place for picture in pictures[:: max(1, len(pictures) // PROBED)])
        sizes = {header.size for header in seen}
        size = size or (sizes.pop() if len(sizes) == 1 and max(seen[0].size) <= OWN_SIDE_MAX else USUAL_SIZE)
        channels = channels or (1 if seen and all(header.grey for header in seen) else 3)
    return Decoding(
        height=size[0], width=size[1], channels=channels, resize=settings.resize, pixels_max=settings.pixels_max
    )


def _refuse_settings(path: Path, settings: Settings, how: Decoding) -> None:
    wrong = ""
    if not all(1 <= side <= 4096 for side in (how.height, how.width)):
        wrong = f"size = {[how.height, how.width]}; expected height and width of 1 to 4096 pixels"
    if settings.task in ("regression", "multi_label"):
        wrong = f"task = {settings.task!r}; a folder says one class a picture: classification, binary or anomaly"
    if settings.normalization == "standard":
        given = (settings.mean or (), settings.deviation or ())
        if any(len(values) != how.channels for values in given) or min(given[1]) <= 0:
            wrong = f"mean and deviation {given}; expected {how.channels} numbers each, deviations above 0"
    if wrong:
        raise DataError(
            f"{settings_path(path)}: settings that do not go together",
            received=wrong.partition("; ")[0],
            expected=wrong.partition("; ")[2].removeprefix("expected "),
            fix="correct data.toml; `invoke data` tells mean and deviation of the pictures",
        )
