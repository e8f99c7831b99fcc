"""classify.py, which ships with a release, sees a picture as `invoke predict` does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.predict import predict
from pipeline.release.assemble import CONSUMER_SOURCE
from pipeline.release.preprocessing import preprocessing
from pipeline.target import load_target
from pipeline.workload import load_workload

MODEL = Path(__file__).parents[1] / "data" / "tiny_float32.tflite"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that classify.py reads; returns the model's."""
    learned = load_workload("mnist")
    folder = tmp_path_factory.mktemp("released")
    (folder / "m.labels.txt").write_text("".join(f"{label}\n" for label in learned.labels))
    (folder / "m.preprocessing.json").write_text(json.dumps(preprocessing(learned, MODEL)))
    return Path(shutil.copy(MODEL, folder / "m.tflite"))


def pictures() -> dict[str, Image.Image]:
    grey = Image.fromarray(np.random.default_rng(1).integers(0, 256, (28, 28), np.uint8))
    white = Image.new("L", grey.size, 255)
    return {
        "grey": grey,
        "colours": Image.merge("RGB", (grey, white, grey)),
        "white where it is not transparent": Image.merge("RGBA", (white, white, white, grey)),
        "grey with alpha": Image.merge("LA", (white, grey)),
        "16 bits": Image.fromarray(np.asarray(grey).astype(np.uint16) << 8),
        "palette": grey.convert("P"),
    }


def test_pictures_of_every_mode_have_the_answers_of_predict(released: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in pictures()]
    for file, image in zip(files, pictures().values(), strict=True):
        image.save(file)
    command = [sys.executable, str(CONSUMER_SOURCE), str(released), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        expected = predict(released, file, load_target("mobile"), load_workload("mnist"), inverted=False)
        _, name, share = line.split("\t")
        assert name == expected["predicted"], file.name
        assert float(share) == pytest.approx(expected["confidence"], abs=2e-4), file.name


def test_what_is_no_picture_is_told(released: Path, tmp_path: Path) -> None:
    document = json.loads((released.parent / "m.preprocessing.json").read_text())
    document |= {"table": None, "reason": "no pictures"}
    document["input"]["shape"] = [49, 10]
    (tmp_path / "a.preprocessing.json").write_text(json.dumps(document))
    (tmp_path / "a.labels.txt").write_text("yes\nno\n")
    command = [sys.executable, str(CONSUMER_SOURCE), str(tmp_path / "a.tflite"), "sound.wav"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines() == [f"{tmp_path / 'a.tflite'}: no pictures"]


def test_a_label_is_a_line_whatever_is_in_it(released: Path, tmp_path: Path) -> None:
    names = [f"{number}\u2028x" for number in range(10)]
    for part in ("tflite", "preprocessing.json"):
        shutil.copy(released.with_name(f"m.{part}"), tmp_path)
    (tmp_path / "m.labels.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    pictures()["grey"].save(tmp_path / "grey.png")
    command = [sys.executable, str(CONSUMER_SOURCE), str(tmp_path / "m.tflite"), str(tmp_path / "grey.png")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert done.stdout.split("\t")[1] in names
