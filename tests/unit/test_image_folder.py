"""Folders of images: what is accepted, what is refused, how pictures are decoded, split, cached and read again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import image_folder
from pipeline.data.image_decoding import decode_all
from pipeline.errors import DataError

SETTLED = 10  # seconds ago: a file that has just changed is read again in any case


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    (tmp_path / "tasks.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(seed: int, size: tuple[int, int] = (20, 20)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(first + number).save(folder / f"{first + number}.png")
    return folder


def data(root: Path, count: int = 40, toml: str = "size = [8, 8]\n") -> Path:
    folder = root / "data"
    write(folder / "cat", count)
    write(folder / "dog", count, 1000)
    (folder / "data.toml").write_text(toml)
    return folder


def contents(source: image_folder.ImageFolder) -> dict[str, set[bytes]]:
    return {split: {row.tobytes() for row in source.load(split)[0][:]} for split in ("train", "validation", "test")}


def refused(folder: Path, load: bool = False) -> DataError:
    def asked() -> None:
        source = image_folder.open_data(folder)
        if load:
            source.load("train")

    with pytest.raises(DataError) as caught:
        asked()
    assert caught.value.exit_code == 2
    assert caught.value.received
    assert caught.value.expected
    return caught.value


# ---------------------------------------------------------------- samples


def test_samples_are_read_as_they_are_asked_for(project):
    source = image_folder.open_data(data(project))
    assert image_folder.takes(source.path)
    assert (source.task, source.labels, source.input_shape) == ("classification", ("cat", "dog"), (8, 8, 3))
    samples, labels = source.load("train")
    assert samples.shape == (len(labels), 8, 8, 3)
    assert len(samples) == len(labels)
    whole = samples[:]
    assert whole.dtype == samples.dtype == np.uint8
    np.testing.assert_array_equal(samples[3], whole[3])
    np.testing.assert_array_equal(samples[-1], whole[-1])
    np.testing.assert_array_equal(samples[np.array([5, 1])], whole[[5, 1]])
    np.testing.assert_array_equal(samples[2:9:3], whole[2:9:3])
    with pytest.raises(IndexError):
        samples[len(samples)]
    expected = {np.asarray(picture(i).resize((8, 8), Image.Resampling.BILINEAR)).tobytes() for i in range(40)}
    cats = {row.tobytes() for row in whole[labels == 0]}
    assert cats <= expected


@pytest.mark.parametrize(
    ("toml", "low", "high"),
    [
        ("", 0, 1),
        ('normalization = "signed"', -1, 1),
        ('normalization = "standard"\nmean = [0.5]\ndeviation = [0.25]\nchannels = 1', -2, 2),
    ],
)
def test_normalization(project, toml, low, high):
    source = image_folder.open_data(data(project, 10, f"size = [8, 8]\n{toml}\n"))
    assert source.input_range == pytest.approx((low, high))
    ends = np.stack([np.zeros(source.input_shape, np.uint8), np.full(source.input_shape, 255, np.uint8)])
    prepared = source.preprocess(ends)
    assert prepared.dtype == np.float32
    assert (prepared.min(), prepared.max()) == pytest.approx((low, high))


@pytest.mark.parametrize("resize", ["crop", "pad", "fit"])
def test_resizing(project, resize):
    folder = project / "data"
    for name in ("a", "b"):
        write(folder / name, 30, first=ord(name) * 100)
    striped = np.zeros((10, 30), np.uint8)
    striped[:, :10], striped[:, 10:20] = 255, 100  # white, grey, black thirds
    (folder / "data.toml").write_text(f'size = [10, 10]\nchannels = 1\nresize = "{resize}"\n')
    sample = image_folder.open_data(folder).decode_image(Image.fromarray(striped))[..., 0]
    middle = sample[5]
    if resize == "crop":
        assert (sample == 100).all()
    elif resize == "pad":
        assert (sample[:2] == 0).all()
        assert middle[0] > 200
        assert middle[9] < 20
    else:
        assert (sample == sample[:1]).all()
        assert middle[0] > 200
        assert middle[9] < 20


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_is_decoded(project, mode):
    folder = data(project, 20)
    plain = Image.new("L", (20, 20), 0)
    plain.paste(255, (0, 0, 10, 20))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(plain, np.uint16) * 257)
    else:
        image = plain.convert("RGB").convert(mode) if mode in ("CMYK", "RGBA", "P") else plain.convert(mode)
    sample = image_folder.open_data(folder).decode_image(image)
    assert sample[:, :3].min() > 240
    assert sample[:, 5:].max() < 15


def test_pictures_are_turned_upright(project):
    folder = data(project, 20)
    image = Image.new("RGB", (20, 20))
    image.paste((255, 255, 255), (0, 0, 20, 10))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise: the upper half is then on the right
    image.save(folder / "cat" / "turned.jpg", exif=exif, quality=100)
    sample = image_folder.open_data(folder).decode_image(Image.open(folder / "cat" / "turned.jpg"))
    assert sample[:, 5:].min() > 230
    assert sample[:, :3].max() < 25


# ---------------------------------------------------------------- splits


def test_added_pictures_move_none_that_are_there(project):
    folder = data(project)
    before = contents(image_folder.open_data(folder))
    assert not before["train"] & (before["validation"] | before["test"])
    write(folder / "cat", 20, 500)
    after = contents(image_folder.open_data(folder))
    assert sum(map(len, after.values())) == sum(map(len, before.values())) + 20
    assert all(before[split] <= after[split] for split in before)


def test_near_duplicates_are_kept_on_one_side_and_counted(project):
    folder = data(project)
    for number in range(40):
        picture(number).resize((40, 40), Image.Resampling.BICUBIC).save(folder / "cat" / f"{number}.jpg", quality=90)
    source = image_folder.open_data(folder)
    assert source.report()["near_duplicates"] == 40
    assert source.report()["exact_duplicates"] == 0
    splits = {split: source.load(split)[0][:].astype(float) for split in ("train", "validation", "test")}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        apart = np.abs(splits[one][:, None] - splits[other][None]).mean(axis=(2, 3, 4))
        assert apart.min() > 8, (one, other)


def test_given_splits_are_kept_and_leaks_told(project):
    folder = project / "data"
    for split, first in (("train", 0), ("val", 100), ("test", 200)):
        for place, name in enumerate(("a", "b")):
            write(folder / split / name, 10, first + 1000 * place)
    picture(3).save(folder / "test" / "a" / "same.png")
    picture(205).convert("RGB").save(folder / "train" / "a" / "near.jpg", quality=92)
    source = image_folder.open_data(folder)
    counts = {split: len(source.load(split)[1]) for split in ("train", "validation", "test")}
    assert counts == {"train": 21, "validation": 20, "test": 21}
    leaking = source.report()["leaking"]
    assert {frozenset(part) for part in leaking} == {
        frozenset({"train/a/3.png", "test/a/same.png"}),
        frozenset({"train/a/near.jpg", "test/a/205.png"}),
    }


def test_hashes_follow_contents_classes_and_settings_alone(project):
    folder = data(project, 10)
    first = image_folder.open_data(folder).hashes()
    (folder / "cat" / "0.png").rename(folder / "cat" / "renamed.png")
    assert image_folder.open_data(folder).hashes() == first
    (folder / "cat" / "renamed.png").rename(folder / "dog" / "moved.png")
    moved = image_folder.open_data(folder).hashes()
    assert moved["pictures"] != first["pictures"]
    (folder / "data.toml").write_text("size = [9, 9]\n")
    assert image_folder.open_data(folder).hashes()["settings"] != first["settings"]


# ---------------------------------------------------------------- the cache


def settle(folder: Path) -> None:
    """Let the list believe that the files changed long ago; a change of state cannot be dated back, so wait for it."""
    then = time.time() - SETTLED
    for file in folder.rglob("*.png"):
        os.utime(file, (then, then))
    time.sleep(2.1)


def decoded_by(monkeypatch) -> list[str]:
    seen: list[str] = []

    def spy(files, how):
        listed = list(files)
        seen.extend(Path(path).name for path, _ in listed)
        return decode_all(listed, how)

    monkeypatch.setattr(image_folder, "decode_all", spy)
    return seen


def test_one_added_picture_is_all_that_is_read_again(project, monkeypatch):
    folder = data(project)
    settle(folder)
    seen = decoded_by(monkeypatch)
    first = image_folder.open_data(folder)
    before = contents(first)
    assert (first.files_read, len(seen)) == (80, 80)
    picture(777).save(folder / "dog" / "new.png")
    seen.clear()
    second = image_folder.open_data(folder)
    after = contents(second)
    assert (second.files_read, seen) == (1, ["new.png"])
    assert sum(map(len, after.values())) == sum(map(len, before.values())) + 1


@pytest.mark.parametrize("name", ["rows.bin", "index.bin", "broken.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_a_damaged_cache_is_made_anew(project, name, how):
    folder = data(project, 20)
    before = contents(image_folder.open_data(folder))
    (file,) = (project / "artifacts" / "store" / "decoded").glob(f"*/{name}")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "remove":
        file.unlink()
    else:
        file.write_bytes(content if how == "flip" else content[: len(content) // 2])
    assert contents(image_folder.open_data(folder)) == before


def test_damage_is_found_while_samples_are_read(project):
    source = image_folder.open_data(data(project, 20))
    samples, _ = source.load("train")
    before = samples[:]
    (file,) = (project / "artifacts" / "store" / "decoded").glob("*/rows.bin")
    content = bytearray(file.read_bytes())
    for row in range(0, len(content), len(content) // 40):
        content[row] ^= 255
    file.write_bytes(content)
    np.testing.assert_array_equal(samples[:], before)


def test_many_pictures_are_decoded_in_processes_as_few_are_here(project, monkeypatch):
    folder = data(project)
    source = image_folder.open_data(folder)
    files = [(folder / one.place, one.sha256) for one in source.pictures]
    parallel = list(decode_all(files, source.decoding))
    alone = [found for file in files for found in decode_all([file], source.decoding)]
    assert parallel == alone
    assert not any(found.broken for found in alone)


# ---------------------------------------------------------------- bad input


def test_broken_pictures_are_listed_and_skipped_up_to_a_share(project):
    folder = data(project, 40, "size = [8, 8]\nskip_max = 0.05\n")
    for number, content in enumerate((b"no picture", (folder / "cat" / "0.png").read_bytes()[:60], b"")):
        (folder / "cat" / f"broken{number}.png").write_bytes(content)
    source = image_folder.open_data(folder)
    assert sum(len(source.load(split)[1]) for split in ("train", "validation", "test")) == 80
    assert set(source.report()["skipped"]) == {f"cat/broken{number}.png" for number in range(3)}
    (folder / "data.toml").write_text("size = [8, 8]\n")
    error = refused(folder, load=True)
    assert "too many broken files" in error.message
    assert "cat/broken0.png" in error.received
    assert "skip_max" in error.fix


def test_a_huge_picture_is_not_decoded(project):
    folder = data(project, 10, "size = [8, 8]\npixels_max = 1000\n")
    Image.new("1", (50, 50)).save(folder / "cat" / "huge.png")
    error = refused(folder, load=True)
    assert "cat/huge.png: 50×50 pixels, more than pixels_max = 1000" in error.received


def test_an_empty_class(project):
    folder = data(project, 5)
    (folder / "bird").mkdir()
    (folder / "bird" / "notes.txt").write_text("none yet")
    assert "an empty class: 'bird'" in refused(folder).message


def test_one_class_only(project):
    folder = project / "data"
    write(folder / "cat", 5)
    assert "one class only" in refused(folder).message


def test_no_class_folders(project):
    folder = project / "data"
    write(folder, 3)
    error = refused(folder)
    assert "no class folders" in error.message
    assert "0.png" in error.received


def test_two_classes_that_differ_by_case(project):
    folder = data(project, 5)
    write(folder / "Cat", 5, 300)
    error = refused(folder)
    assert "but for case" in error.message
    assert "'Cat'" in error.received


def test_a_class_that_is_not_in_train(project):
    folder = project / "data"
    for split, name, first in (("train", "a", 0), ("train", "b", 20), ("test", "a", 40), ("test", "c", 60)):
        write(folder / split / name, 10, first)
    assert "an empty class: 'c'" in refused(folder).message


def test_a_loop_of_links(project):
    folder = data(project, 5)
    (folder / "cat" / "again").symlink_to(folder / "cat")
    error = refused(folder)
    assert "leads back" in error.message
    assert not list((project / "artifacts").rglob("rows.bin"))


def test_a_link_to_itself_is_a_broken_picture(project):
    folder = data(project, 5)
    (folder / "cat" / "self.png").symlink_to(folder / "cat" / "self.png")
    assert "cat/self.png" in refused(folder, load=True).received


def test_names_that_are_not_ascii_or_very_long(project):
    folder = project / "data"
    names = ("猫 🐈", "n" * 250)
    for place, name in enumerate(names):
        write(folder / name, 20, 100 * place)
    picture(900).save(folder / names[0] / ("ü" * 120 + ".png"))
    source = image_folder.open_data(folder)
    assert set(source.labels) == set(names)
    assert sum(len(source.load(split)[1]) for split in ("train", "validation", "test")) == 41


@pytest.mark.parametrize(
    "toml",
    ["sice = [8, 8]", "size = [0, 8]", "channels = 2", 'normalization = "standard"', 'task = "regression"', "size ="],
)
def test_settings_that_cannot_be_used(project, toml):
    folder = data(project, 5, toml + "\n")
    assert "data.toml" in refused(folder).message


def test_nothing_is_decoded_to_open(project):
    image_folder.open_data(data(project, 5))
    assert not list((project / "artifacts").rglob("rows.bin"))
