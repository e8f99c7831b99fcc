"""What `--model` may say, and how what it cannot is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import EXIT_REQUEST, PipelineError
from pipeline.model_choice import default_network, model_choice
from pipeline.scaffold import plain_name

SHAPE = (64, 64, 3)
CODE = """
import no_such_module

def make():
    return 1

def shaped(input_shape, outputs, width=1):
    return 2

def three(a, b, c):
    return 3

def named(*, size):
    return 4
"""


@pytest.mark.parametrize(
    ("kind", "task", "shape", "network"),
    [
        ("image_folder", "classification", (32, 32, 3), "resnet8"),
        ("image_folder", "classification", (33, 32, 3), "mobilenet_v2"),
        ("csv", "classification", (28, 28, 1), "resnet8"),
        ("csv", "regression", (10,), "dense"),
        ("audio_folder", "classification", (49, 40, 1), "ds_cnn"),
        ("npz", "anomaly", (640,), "autoencoder"),
        ("image_folder", "anomaly", (96, 96, 3), "autoencoder"),
    ],
)
def test_the_network_suits_the_data(kind: str, task: str, shape: tuple[int, ...], network: str) -> None:
    assert default_network(kind, task, shape)[0] == network
    assert model_choice("", kind, task, shape).network == network
    assert model_choice("", kind, task, shape).step == "train"


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("m.keras", "load"),
        ("m.h5", "load"),
        ("saved", "load"),
        ("m.tflite", "quantize_tflite"),
        ("m.onnx", "load_onnx"),
    ],
)
def test_a_trained_file_begins_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "saved":
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    else:
        (tmp_path / name).touch()
    choice = model_choice(name, "image_folder", "classification", SHAPE)
    assert (choice.trained, choice.step) == (tmp_path / name, step)


def test_a_function_is_found_without_running_its_file(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(CODE)
    made = model_choice(f"{path}:make", "npz", "classification", SHAPE)
    assert (made.code, made.function, made.takes_shapes, made.step) == (path, "make", False, "train")
    assert model_choice(f"{path}:shaped", "npz", "classification", SHAPE).takes_shapes


def test_a_network_has_its_options() -> None:
    choice = model_choice("mobilenet_v2:width=0.5", "npz", "classification", (28, 28, 1))
    assert (choice.network, choice.options, choice.step) == ("mobilenet_v2", {"width": 0.5}, "train")


def test_a_project_may_have_networks_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks.py").touch()
    (tmp_path / "zoo").mkdir()
    own = tmp_path / "zoo" / "own_net.py"
    own.write_text(
        "from pydantic import BaseModel\n\n\nclass Options(BaseModel):\n    size: int = 1\n\n\n"
        "def build(input_shape, outputs, **options):\n    return None\n"
    )
    monkeypatch.chdir(tmp_path)
    choice = model_choice("own_net:size=3", "npz", "classification", SHAPE)
    assert (choice.code, choice.function, choice.options) == (own, "build", {"size": 3})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("missing.keras", "missing.keras"),
        ("folder", "saved_model.pb"),
        ("net.py:mak", "'make'"),
        ("net.py:three", "a, b, c"),
        ("net.py:named", "size"),
        ("broken.py:make", "broken.py"),
        ("missing.py:make", "missing.py"),
        ("../escape", "../escape"),
        ("no_such_network", "no_such_network"),
        ("mobilenet_v2:widht=1", "widht"),
        ("mobilenet_v2:width=wide", "width"),
        ("net.py", "net.py"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, named: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("def make(:")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PipelineError) as caught:
        model_choice(given, "npz", "classification", SHAPE)
    error = caught.value
    assert error.exit_code == EXIT_REQUEST
    assert named in str(error)
    assert error.received
    assert error.expected


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("my flowers", "my_flowers"),
        ("2026", "data_2026"),
        ("class", "data_class"),
        ("store", "data_store"),
        ("猫", "data_4cc11d4e"),
        ("x" * 250, "x" * 40 + "_0b3bd27d"),
    ],
)
def test_the_name_of_data_is_plain_short_and_its_own(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir()
    found = plain_name(tmp_path / folder)
    assert found.rpartition("_")[0] == name.rpartition("_")[0]
    assert found == name or len(found) == len(name), "the end is a hash"
    assert found.isidentifier()
    other = tmp_path / (folder + "犬")[-80:]
    other.mkdir()
    assert plain_name(other) != found
