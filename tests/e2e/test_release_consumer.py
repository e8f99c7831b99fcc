"""The real scenario: a release, a fresh environment without this project and TensorFlow, pictures in, names out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from release_keys import commit_all, write_key
from small_project import REPOSITORY, invoke

from pipeline.workloads import mnist_data

NEEDED = ("ai-edge-litert", "numpy", "pillow")
STEM = "small-small-1.0.0"


@pytest.fixture(scope="module")
def shelf(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the small project was released to, and `release.pub` beside it."""
    base = tmp_path_factory.mktemp("released")
    project = Path(shutil.copytree(built, base / "project"))
    (project / ".gitignore").write_text("artifacts/\n__pycache__/\n")
    (project / "CHANGELOG.md").write_text("## 1.0.0\n\nFirst.\n")
    key = write_key(base / "release.key")
    commit_all(project)
    flags = ("--version=1.0.0", "--workload=small", "--targets=small", f"--key={key}", f"--to={base / 'shelf'}")
    invoke(project, "release", *flags)
    return base / "shelf"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's Python with the three packages alone."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    constraints = REPOSITORY / "constraints.txt"
    install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(constraints), *NEEDED]
    subprocess.run(install, check=True, env=clean_environment(), timeout=600)
    return python


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def test_a_consumer_gets_the_published_accuracy_from_pictures(shelf: Path, python: Path, tmp_path: Path) -> None:
    for module in ("tensorflow", "tf_keras", "pipeline", "pydantic"):
        found = subprocess.run(
            [str(python), "-c", f"import {module}"], capture_output=True, env=clean_environment(), cwd=tmp_path
        )
        assert b"ModuleNotFoundError" in found.stderr, module
    project = shelf.parent / "project"
    invoke(
        project, "fetch", f"--from={shelf}", "--target=small", f"--to={tmp_path}", f"--key={shelf.parent}/release.pub"
    )
    folder = tmp_path / "1.0.0"
    manifest = json.loads((folder / "manifest.json").read_text())
    check = manifest["targets"][0]["sample_check"]
    assert check["samples"] == 1000
    images, labels = mnist_data.load("test")
    pictures = []
    for number in range(check["samples"]):
        pictures.append(tmp_path / f"{number}.png")
        Image.fromarray(images[number, ..., 0]).save(pictures[-1])
    command = [str(python), "-P", str(folder / "classify.py"), str(folder / f"{STEM}.tflite"), *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(picture) for picture in pictures]
    right = sum(line[1] == mnist_data.LABELS[label] for line, label in zip(lines, labels, strict=False))
    assert right / len(pictures) == check["scores"]["accuracy"]
    assert 0.8 < right / len(pictures) < 1
    assert all(0.1 <= float(line[2]) <= 1 for line in lines)


def test_a_consumer_may_give_pictures_of_other_sizes_and_modes(shelf: Path, python: Path, tmp_path: Path) -> None:
    images, labels = mnist_data.load("test")
    names = []
    for number, change in enumerate(
        (
            lambda image: image.resize((280, 280)),
            lambda image: image.convert("RGB").resize((112, 56)).crop((0, 0, 112, 56)),
            lambda image: image.convert("RGBA"),
            lambda image: image.convert("P"),
        )
    ):
        names.append(tmp_path / f"{number}.png")
        change(Image.fromarray(images[0, ..., 0])).save(names[-1])
    model = shelf / "1.0.0" / f"{STEM}.tflite"
    command = [str(python), "-P", str(model.with_name("classify.py")), str(model), *map(str, names)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    answers = [line.split("\t")[1] for line in done.stdout.splitlines()]
    assert len(answers) == 4
    assert {answers[0], answers[2], answers[3]} == {mnist_data.LABELS[labels[0]]}


def test_verifying_runs_the_files_again_and_finds_what_was_published(shelf: Path) -> None:
    project = shelf.parent / "project"
    flags = (f"--from={shelf}", f"--key={shelf.parent}/release.pub", "--json")
    document = json.loads(invoke(project, "verify-release", *flags).stdout)
    assert document["verdict"] == "pass"
    (one,) = document["remeasured"]
    assert one["samples"] == 1000
    assert one["measured"] == one["published"]
    assert one["measured"]["accuracy"] > 0.8
