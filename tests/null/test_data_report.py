"""`invoke data` over kinds of data, as a user calls it."""

from __future__ import annotations

import io
import os
import signal
import time

import numpy as np
import pytest
from cli import Project
from PIL import Image


def folder(project: Project, counts: dict[str, int], start: int = 0, place: str = "pictures") -> None:
    for number, (name, count) in enumerate(counts.items()):
        target = project.root / place / name
        target.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            seed = np.random.default_rng(start + 1000 * number + index)
            Image.fromarray(seed.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(target / f"{start + index}.png")


def test_an_image_folder(project: Project) -> None:
    folder(project, {"cat": 60, "dog": 40})
    (project.root / "pictures" / "data.toml").write_text("size = [12, 12]\nskip_max = 0.1\n")
    first = (project.root / "pictures" / "cat" / "0.png").read_bytes()
    (project.root / "pictures" / "cat" / "copy.png").write_bytes(first)
    (project.root / "pictures" / "dog" / "broken.png").write_bytes(first[:50])
    document = project.run("data", "pictures", "--json").json("data")
    splits = document["splits"]
    assert document["kind"] == "image_folder"
    assert document["input_shape"] == [12, 12, 3]
    assert sum(split["classes"]["cat"] for split in splits.values()) == 60
    assert sum(split["classes"]["dog"] for split in splits.values()) == 40
    assert all(split["samples"] == sum(split["classes"].values()) for split in splits.values())
    assert document["details"]["exact_duplicates"] == 1
    assert document["details"]["sizes"] == {"8x6": 100}
    assert list(document["details"]["skipped"]) == ["dog/broken.png"]
    assert document["mean"] == pytest.approx([0.5] * 3, abs=0.03)
    assert set(document["leakage"].values()) == {0}
    assert any("left out" in warning for warning in document["warnings"])
    sheet = Image.open(project.root / document["contact_sheet"])
    assert sheet.size == (120 + 10 * 68, 4 + 2 * 68)
    assert np.asarray(sheet)[:, 120:].std() > 30
    text = project.run("data", "pictures").stdout
    assert "cat" in text
    assert "dog/broken.png" in text


def test_leakage_and_imbalance_are_warned_of(project: Project) -> None:
    for start, split in ((0, "train"), (100, "val"), (200, "test")):
        folder(project, {"a": 44 if split == "train" else 5, "b": 4}, start, f"pictures/{split}")
    leaked = (project.root / "pictures" / "train" / "a" / "7.png").read_bytes()
    (project.root / "pictures" / "test" / "a" / "leaked.png").write_bytes(leaked)
    document = project.run("data", "pictures", "--json").json("data")
    assert document["leakage"] == {"train-validation": 0, "train-test": 1, "validation-test": 0}
    assert document["imbalance"] == 11
    warnings = "\n".join(document["warnings"])
    assert "test are in train" in warnings
    assert "train/a/7.png" in warnings
    assert "'a' has 44 samples in train, 'b' has 4" in warnings


def test_arrays_and_tables(project: Project) -> None:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (120, 9, 9), dtype=np.uint8)
    pictures[5] = pictures[6]
    np.savez(project.root / "pixels.npz", x=pictures, y=np.arange(120) % 3)
    document = project.run("data", "pixels.npz", "--json").json("data")
    assert document["kind"] == "npz"
    assert sum(split["exact_duplicates"] for split in document["splits"].values()) == 1
    assert document["contact_sheet"] == "artifacts/data/pixels.npz/contact_sheet.png"
    rows = "\n".join(f"{a:.4f},{b:.4f},{a + b:.4f}" for a, b in random.normal(size=(80, 2)))
    project.add("table.csv", f"one,two,target\n{rows}\n")
    document = project.run("data", "table.csv", "--json").json("data")
    assert (document["task"], document["contact_sheet"], document["imbalance"]) == ("regression", None, None)
    assert document["mean"] == pytest.approx([0, 0], abs=1e-5)
    assert "regression" in project.run("data", "table.csv").stdout


@pytest.mark.parametrize(
    ("names", "message"),
    [({}, "no kind of data"), ({"a": 5}, "one class only"), ({"a": 3, "A": 3}, "but for case")],
)
def test_bad_folders_leave_nothing(project: Project, names: dict[str, int], message: str) -> None:
    (project.root / "pictures").mkdir()
    folder(project, names)
    before = set(project.root.rglob("contact_sheet.png"))
    error = project.run("data", "pictures", "--json", expect=2).json("error")["error"]
    assert message in error["message"]
    assert set(project.root.rglob("contact_sheet.png")) == before == set()


def test_the_store_is_sound_and_cleaned_with_a_decoded_cache(project: Project) -> None:
    folder(project, {"cat": 30, "dog": 30})
    project.run("data", "pictures")
    for task in ("store.verify", "store.gc"):
        assert project.run(task, "--json").json("store")["entries"] == []
    assert list(project.root.rglob("rows.bin"))
    project.run("clean", "--store")
    assert not list(project.root.rglob("rows.bin"))


def test_an_interrupted_decoding_ends_at_once_and_goes_on(project: Project) -> None:
    """The pool of decoders gets the signal as well, as from a terminal."""
    large = io.BytesIO()
    Image.new("RGB", (3000, 3000), "red").save(large, "png")  # takes long to decode, and little room
    for name in ("cat", "dog"):
        target = project.root / "pictures" / name
        target.mkdir(parents=True)
        for index in range(100):
            (target / f"{index}.png").write_bytes(large.getvalue() + f"{name}{index}".encode())
    decoded = project.root / "artifacts" / "store" / "decoded"
    process = project.start("data", "pictures")
    deadline = time.monotonic() + 30
    while not any(decoded.glob("*.lock")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)  # the decoders start
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130
    again = project.start("data", "pictures")  # no lock is left, and nothing half-written is in the way
    time.sleep(1)
    assert again.poll() is None
    os.killpg(again.pid, signal.SIGKILL)


def test_names_that_are_no_text(project: Project) -> None:
    folder(project, {"cat": 40, "dog": 40})
    os.rename(
        os.fsencode(project.root / "pictures/cat/0.png"), os.fsencode(project.root / "pictures/cat") + b"/\xff.png"
    )
    (project.root / "pictures" / "dog" / os.fsdecode(b"\xfe.png")).write_bytes(b"broken")
    (project.root / "pictures" / "data.toml").write_text("size = [12, 12]\nskip_max = 0.1\n")
    document = project.run("data", "pictures", "--json").json("data")
    assert list(document["details"]["skipped"]) == ["dog/\ufffd.png"]
    os.mkdir(os.fsencode(project.root / "pictures") + b"/\xfd")
    refused = project.run("data", "pictures", "--json", expect=2).json("error")
    assert "UTF-8" in refused["error"]["expected"]
