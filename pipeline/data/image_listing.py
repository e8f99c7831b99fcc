"""Which pictures a folder of images holds, and their SHA-256, of which only what changed is read again.

The list of the last time lies in the project's store: size, time of change and SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pipeline.data._class_folders import class_folders
from pipeline.data._labels import refuse_names
from pipeline.errors import DataError
from pipeline.files import sha256_of, write_whole

_SETTLED_NS = 2_000_000_000  # a file that changed so short before it was read may change again within one tick


_ENTRY = re.compile(r"\d+ \d+ \d+ [0-9a-f]{64}")


class Picture(NamedTuple):
    """One file of a class. sha256 is empty for a file that cannot be read."""

    split: str
    label: str
    place: str  # below the folder, with /
    sha256: str


def image_suffixes() -> frozenset[str]:
    """Return the endings, in small letters, of the formats that Pillow reads."""
    from PIL import Image

    Image.init()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def list_pictures(path: Path, index: Path) -> tuple[list[Picture], int]:
    """Return all pictures, and how many files were read for their SHA-256; `index` remembers them.

    Raises DataError for a folder that has no class folders, an empty class, names that differ by case alone, and
    links that lead to themselves.
    """
    try:
        found = list(_files(path))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}",
            received=str(error),
            expected="a folder that can be listed",
            fix="look at its permissions, and at links that lead to themselves",
        ) from error
    known = _read_index(index)
    now = time.time_ns()
    lines: list[str] = []  # one text a file: a hundred thousand lists of numbers would take most of the memory
    waiting = []
    for _, _, place in found:
        line = _state(path / place)
        lines.append(line)
        if line and known.get(place, "").rpartition(" ")[0] != line:
            waiting.append(place)

    def hash_at(place: str) -> str:
        return _hash(path / place)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # A thousand at a time: the pool keeps an object for each that it was given.
        parts = (waiting[start : start + 1000] for start in range(0, len(waiting), 1000))
        hashes = {place: found for part in parts for place, found in zip(part, pool.map(hash_at, part), strict=True)}
    pictures, settled = [], {}
    for (split, label, place), line in zip(found, lines, strict=True):
        sha256 = hashes[place] if place in hashes else known[place].rpartition(" ")[2] if line else ""
        pictures.append(Picture(split, label, place, sha256))
        if sha256 and max(map(int, line.split(" ")[1:])) < now - _SETTLED_NS:
            settled[place] = f"{line} {sha256}"
    if settled != known:
        write_whole(index, "".join(f"{entry} {json.dumps(place)}\n" for place, entry in settled.items()))
    return pictures, len(waiting)


def _state(file: Path) -> str:
    """Return size and times of change; empty for what cannot be looked at."""
    try:
        stat = file.stat()
    except OSError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _files(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (split, label, place) of every file that is named as a picture."""
    suffixes = image_suffixes()
    folders = class_folders(path)
    if not any(folders.values()) or not folders.get("train"):
        names = sorted(entry.name for entry in path.iterdir())
        raise DataError(
            f"{path}: there are no class folders" + (" in train" if len(folders) > 1 else ""),
            received=", ".join(names[:5]) or "an empty folder",
            expected="one subfolder a class with pictures in it, or train/, val/ and test/ with class folders",
            fix="make a folder for each class, named as the class, and move its pictures there",
        )
    for split, classes in folders.items():
        refuse_names([unicodedata.normalize("NFC", folder.name) for folder in classes], path)
        for folder in classes:
            _refuse_bytes(path, folder)
            count = 0
            for place in _below(folder, ()):
                if place.suffix.lower() in suffixes:
                    count += 1
                    yield split, unicodedata.normalize("NFC", folder.name), place.relative_to(path).as_posix()
            if not count:
                raise DataError(
                    f"{path}: an empty class: {folder.name!r}",
                    received=f"no picture in {folder.relative_to(path)}",
                    expected=f"files in every class folder that end as pictures do: {', '.join(sorted(suffixes)[:8])}…",
                    fix="add pictures, or remove the folder",
                )


def _refuse_bytes(path: Path, folder: Path) -> None:
    """Raise DataError for a class whose name is no text: it stands in documents and on the screen."""
    try:
        folder.name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: a class folder whose name is no UTF-8",
            received=ascii(folder.name),
            expected="names of UTF-8",
            fix="rename the folder",
        ) from error


def _below(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    stat = folder.stat()
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        raise DataError(
            f"{folder} leads back to a folder above it",
            received="a symbolic link that makes a loop",
            expected="folders that end",
            fix="remove the link",
        )
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _below(folder / entry.name, (*above, here))
        else:
            yield folder / entry.name


def _hash(file: Path) -> str:
    try:
        return sha256_of(file) if file.is_file() else ""
    except OSError:
        return ""


def _read_index(index: Path) -> dict[str, str]:
    """Return {place: "size, two times, SHA-256"} of the last time; empty where there is none, or no whole one."""
    known = {}
    try:
        with index.open(encoding="utf-8") as lines:
            for line in lines:
                entry, place = line.rstrip("\n").split(' "', 1)
                if not _ENTRY.fullmatch(entry):
                    return {}
                known[json.loads(f'"{place}')] = entry
    except (OSError, ValueError):
        return {}
    return known


def hash_of_pictures(pictures: list[Picture]) -> str:
    """Return the SHA-256 over contents, classes and splits; where the files lie and how they are named changes nothing.

    Of a file that cannot be read the name counts.
    """
    digest = hashlib.sha256()
    for line in sorted({(one.split, one.label, one.sha256 or one.place) for one in pictures}):
        digest.update("\0".join(line).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
