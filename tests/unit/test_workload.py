"""The workload contract: what keeps it, and how one that breaks it is told so."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import EXIT_REQUEST, BadWorkload, PipelineError, RequestError
from pipeline.plan import make_plan
from pipeline.target import load_target
from pipeline.workload import REQUIRED, SPLITS, load_workload

NULL = Path(__file__).parents[1] / "null" / "project"
GREY = (NULL / "workloads" / "grey.py").read_text()


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workloads given by path put their folder on the import path."""
    monkeypatch.setattr(sys, "path", sys.path.copy())


def write(folder: Path, source: str, name: str = "mine.py") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(source)
    return str(folder / name)


def refused(folder: Path, source: str, kind: type[PipelineError] = BadWorkload) -> PipelineError:
    path = write(folder, source)
    with pytest.raises(kind) as caught:
        load_workload(path)
    error = caught.value
    assert path in error.message
    assert error.received
    assert error.expected
    assert error.fix
    assert error.exit_code == EXIT_REQUEST
    return error


@pytest.mark.parametrize("name", ["mnist", "mnist_dense"])
def test_shipped_workload_keeps_the_contract(name: str) -> None:
    workload = load_workload(name)
    assert workload.name == name
    assert workload.description
    assert workload.labels == tuple("0123456789")
    assert workload.input_shape == (28, 28, 1)
    assert workload.input_range == (0.0, 1.0)
    assert all(path.is_file() for path in workload.data_files)
    for split in SPLITS:
        samples, labels = workload.load(split)
        prepared = workload.preprocess(samples[:5])
        assert prepared.shape == (5, 28, 28, 1)
        assert labels.max() < len(workload.labels)


def test_the_tutorials_settings_are_the_tutorials() -> None:
    training = load_workload("mnist_dense").training
    assert (training.epochs, training.batch_size, training.learning_rate) == (10, 64, 1e-4)
    assert training.learning_rate_schedule == "constant"


def test_a_projects_own_workload_is_found_by_name_and_by_path() -> None:
    by_name = load_workload("grey", NULL)
    by_path = load_workload(str(NULL / "workloads" / "grey.py"))
    assert by_name.name == by_path.name == "grey"
    assert by_name.source == by_path.source == NULL / "workloads" / "grey.py"
    assert by_name.data_files == ()
    assert by_name.augment is None


def test_a_projects_own_workload_wins_over_one_that_ships(tmp_path: Path) -> None:
    write(tmp_path / "workloads", GREY, "mnist.py")
    assert load_workload("mnist", tmp_path).description == "grey noise in ten classes"


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "there", GREY)
    monkeypatch.chdir(tmp_path)
    workload = load_workload("there/mine.py")
    assert workload.source == tmp_path / "there" / "mine.py"
    assert workload.name == "mine"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadWorkload) as caught:
        load_workload(str(tmp_path / "none.py"))
    assert str(tmp_path / "none.py") in caught.value.message
    assert caught.value.exit_code == EXIT_REQUEST


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_part_is_named(tmp_path: Path, name: str) -> None:
    error = refused(tmp_path / name, f"{GREY}\ndel {name}\n")
    assert error.received == f"a module without {name}"


@pytest.mark.parametrize("training", ["None", "{'epochs': 3}", "Training"])
def test_training_that_is_none(tmp_path: Path, training: str) -> None:
    assert "TRAINING" in refused(tmp_path, f"{GREY}\nTRAINING = {training}\n").message


@pytest.mark.parametrize(
    ("source", "received"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = = 1", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("from pipeline.workload import Training\nTraining(epochs=0)", "epochs"),
        ("from pipeline.workload import Training\nTraining(epochs=1, bach_size=3)", "bach_size"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
    ids=["import", "syntax", "any exception", "epochs of 0", "unknown setting", "exit"],
)
def test_an_error_in_the_users_file_is_told_with_its_kind(tmp_path: Path, source: str, received: str) -> None:
    assert received in refused(tmp_path, source, RequestError).received


def test_a_file_that_was_mended_is_read_again(tmp_path: Path) -> None:
    refused(tmp_path, "1 / 0", RequestError)
    assert load_workload(write(tmp_path, GREY)).labels == tuple("abcdefghij")


@pytest.mark.parametrize("samples", [0, 9, 11])
def test_load_that_loses_count(tmp_path: Path, samples: int) -> None:
    path = write(tmp_path, f"{GREY}\ndef load(split):\n    return np.zeros(({samples}, 28, 28, 1)), np.zeros(10)\n")
    with pytest.raises(BadWorkload) as caught:
        load_workload(path).load("train")
    assert path in caught.value.message
    assert "does not return" in caught.value.message
    assert caught.value.received == f"{samples} samples, 10 labels"


@pytest.mark.parametrize(
    ("body", "received"),
    [
        ("samples.astype(np.float64) / 255", "float64 [3, 28, 28, 1]"),
        ("samples", "uint8 [3, 28, 28, 1]"),
        ("samples[..., 0].astype(np.float32)", "float32 [3, 28, 28]"),
        ("samples[:, :14].astype(np.float32)", "float32 [3, 14, 28, 1]"),
        ("samples[:2].astype(np.float32)", "float32 [2, 28, 28, 1]"),
    ],
)
def test_preprocess_that_breaks_its_promise(tmp_path: Path, body: str, received: str) -> None:
    path = write(tmp_path, f"{GREY}\ndef preprocess(samples):\n    return {body}\n")
    with pytest.raises(BadWorkload) as caught:
        load_workload(path).preprocess(np.zeros((3, 28, 28, 1), np.uint8))
    assert path in caught.value.message
    assert caught.value.received == received
    assert "28, 28, 1" in caught.value.expected


@pytest.mark.parametrize("place", ["top", "inside a function"])
def test_a_users_file_may_import_its_neighbours(tmp_path: Path, place: str) -> None:
    """TensorFlow is imported inside functions, so neighbours that use it are imported there as well."""
    neighbour = f"neighbour_{place.split()[0]}"
    write(tmp_path, "SIZE = 7", f"{neighbour}.py")
    top = place == "top"
    source = f"import {neighbour}\n{GREY}" if top else GREY
    body = "" if top else f"    import {neighbour}\n"
    path = write(tmp_path, f"{source}\ndef build_model():\n{body}    return {neighbour}.SIZE\n")
    assert load_workload(path).build_model() == 7
    assert neighbour in sys.modules


def planned(folder: Path, source: str) -> None:
    make_plan(load_target("null", NULL), load_workload(write(folder, source)), 0, NULL)


def test_a_data_file_that_is_gone_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        planned(tmp_path, f"from pathlib import Path\n{GREY}\nDATA_FILES = (Path(__file__).with_name('data.bin'),)\n")
    assert caught.value.code == "bad_data"
    assert str(tmp_path / "data.bin") in caught.value.message
    assert caught.value.exit_code == EXIT_REQUEST
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "data.bin").write_bytes(b"1")
    planned(
        tmp_path / "good", f"from pathlib import Path\n{GREY}\nDATA_FILES = (Path(__file__).with_name('data.bin'),)\n"
    )
