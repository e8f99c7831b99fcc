"""`invoke sensitivity` on the small project: the layer that int4 hurts, and the recipe that mends it."""

from __future__ import annotations

import json
import shutil
import tomllib
import xml.etree.ElementTree
from pathlib import Path

import jsonschema
import pytest
from PIL import Image
from small_project import REPOSITORY, add_target, invoke

QUANTIZE = '[[recipe]]\nstep = "quantize"\nscheme = "int8"\ncalibration_samples = 100\n'
# One layer in int4 among others in int8, on which the file would not agree with its source.
ONE_INT4 = """[[recipe]]
step = "quantize_edge"
scheme = "int8"
layers = { dense = "int8x4" }
calibration_samples = 100
calibration = "mse"
"""
# The test split cannot be read here.
NO_TEST = ("def load(split):\n", 'def load(split):\n    assert split != "test"\n')
COMMAND = ("sensitivity", "--target=one_int4", "--workload=untested", "--json")


@pytest.fixture(scope="module")
def project(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since each process that tests run in makes it anew, and what is made is counted."""
    return shutil.copytree(built, tmp_path_factory.mktemp("sensitivity") / "project")


@pytest.fixture(scope="module")
def analysed(project: Path) -> tuple[dict, str]:
    """Return the document and stderr of the analysis with everything that can be asked for."""
    workload = (project / "workloads" / "small.py").read_text()
    assert NO_TEST[0] in workload
    (project / "workloads" / "untested.py").write_text(workload.replace(*NO_TEST))
    prune = '[[recipe]]\nstep = "prune"\nfinal_sparsity = 0.6\nepochs = 2\n\n'
    add_target(project, "one_int4", (prune, ""), (QUANTIZE, ONE_INT4))
    done = invoke(project, *COMMAND, "--mend", "--calibration-sizes=10,50")
    return json.loads(done.stdout), done.stderr


def test_the_int4_layer_ranks_first_and_is_mended(analysed: tuple[dict, str]) -> None:
    document, _ = analysed
    jsonschema.validate(document, json.loads((REPOSITORY / "docs" / "schemas" / "sensitivity.json").read_text()))
    worst, *others = document["layers"]
    assert (worst["layer"], worst["weights"], worst["wider"]) == ("dense", "int4", "int8")
    assert all(row["own_noise"] < 0.5 * worst["own_noise"] and row["wider"] is None for row in others)
    assert worst["mended_own_noise"] < 0.1 * worst["own_noise"]
    files = {file["name"]: file for file in document["files"]}
    assert files["mended"]["output_sqnr_db"] > files["quantized"]["output_sqnr_db"] + 6
    assert files["mended"]["agreement"] > files["quantized"]["agreement"]
    assert files["quantized"]["size_bytes"] < files["mended"]["size_bytes"] < files["float32"]["size_bytes"]
    assert (files["float32"]["agreement"], files["float32"]["output_sqnr_db"]) == (1, None)


def test_the_model_is_trained_once_and_the_file_is_built_for_each_size(analysed: tuple[dict, str]) -> None:
    document, progress = analysed
    assert progress.count("train: made") == 1
    assert [size["samples"] for size in document["calibration_sizes"]] == [10, 50]
    assert (
        document["calibration_sizes"][0]["quality"]["sha256"] != document["calibration_sizes"][1]["quality"]["sha256"]
    )
    assert all(size["layers"].keys() == {"conv", "dense", "logits"} for size in document["calibration_sizes"])
    assert all(0.5 < size["quality"]["agreement"] <= 1 for size in document["calibration_sizes"])


def test_the_files_are_written(project: Path, analysed: tuple[dict, str]) -> None:
    document, _ = analysed
    folder = project / document["folder"]
    assert json.loads((folder / "sensitivity.json").read_text()) == document
    with Image.open(folder / "sensitivity.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400
    drawn = xml.etree.ElementTree.tostring(xml.etree.ElementTree.parse(folder / "sensitivity.svg").getroot()).decode()
    assert "dense (int4)" in drawn


def test_the_recipe_can_be_pasted_into_the_target(project: Path, analysed: tuple[dict, str]) -> None:
    document, _ = analysed
    recipe = (project / document["folder"] / "sensitivity.toml").read_text()
    assert recipe == document["recipe"]
    steps = tomllib.loads(recipe)["recipe"]
    assert [step["step"] for step in steps] == ["train", "quantize_edge"]
    assert steps[1]["layers"] == {"dense": "int8"}
    assert steps[1]["calibration"] == "mse"
    text = (project / "targets" / "one_int4.toml").read_text()
    top = (
        text[: text.index("[budgets]")] + "slim = false\n\n" + text[text.index("[budgets]") : text.index("[[recipe]]")]
    )
    pasted = top + recipe.replace("\n\n", "\n") + "agreement_min = 0.97\n"
    (project / "targets" / "mended.toml").write_text(pasted)
    done = json.loads(invoke(project, "convert", "--target=mended", "--workload=untested", "--json").stdout)
    mended = next(file for file in document["files"] if file["name"] == "mended")
    assert done["sha256"] == mended["sha256"]


def test_int8_is_mended_by_int16_and_shown_as_a_table_and_a_picture(built: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(built, project)
    done = invoke(project, "sensitivity", "--target=small", "--workload=small")
    assert (project / "artifacts" / "small" / "small" / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    for shown in ("own noise", "CONV_2D", "agrees with float32", 'step = "quantize_edge"', '"int16x8"'):
        assert shown in done.stdout
    document = json.loads((project / "artifacts" / "small" / "small" / "sensitivity.json").read_text())
    steps = tomllib.loads(document["recipe"])["recipe"]
    assert [step["step"] for step in steps] == ["train", "prune", "quantize_edge"]
    assert set(steps[2]["layers"].values()) == {"int16x8"}
    assert [file["name"] for file in document["files"]] == ["float32", "quantized"]
