"""What `invoke sensitivity` refuses before anything runs, and what it does without matplotlib."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.errors import EnvironmentUnsuited, RequestError
from pipeline.housekeeping import clean
from pipeline.project import open_project
from pipeline.report.sensitivity_plot import draw
from pipeline.sensitivity import sensitivity, sizes_of
from pipeline.target import load_target
from pipeline.watch import Watch
from pipeline.workload import load_workload

TRAIN = 'description = "any"\n[[recipe]]\nstep = "train"\n[[recipe]]\n'


@pytest.mark.parametrize(
    "text", ["many", "10,", ",10", "9", "10,x", "100001", "1e3", "10,10", "-50", "10.5", "٣٠", ","]
)
def test_sizes_that_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--calibration-sizes cannot be used") as caught:
        sizes_of(text)
    assert caught.value.received == text


def test_sizes_are_sorted() -> None:
    assert sizes_of("") == ()
    assert sizes_of("500, 10,100") == (10, 100, 500)


@pytest.mark.parametrize(
    ("step", "sizes", "message"),
    [
        ('step = "quantize_aware"\n', (), "has no step whose error can be told from training"),
        ('step = "quantize"\nscheme = "float32"\n', (), "does not quantize"),
        ('step = "quantize"\nscheme = "dynamic"\n', (10,), "needs a scheme that is calibrated"),
        ('step = "quantize_edge"\nscheme = "weight_only_int4"\n', (10,), "needs a scheme that is calibrated"),
    ],
)
def test_recipes_that_give_nothing_to_compare(tmp_path: Path, step: str, sizes: tuple[int, ...], message: str) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "any.toml").write_text(TRAIN + step)
    project = open_project(tmp_path, Watch())
    with pytest.raises(RequestError, match=message):
        sensitivity(load_target("any", tmp_path), load_workload("mnist"), 0, project, Watch(), calibration_sizes=sizes)
    assert not list(tmp_path.rglob("model.*"))


def test_without_matplotlib_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentUnsuited, match="matplotlib is not installed") as caught:
        draw(None, tmp_path)
    assert caught.value.fix == "pip install 'edge-deployment-pipeline[plots]'"


def test_clean_removes_the_analysis_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "grey" / "any"
    folder.mkdir(parents=True)
    for suffix in ("json", "toml", "png", "svg"):
        (folder / f"sensitivity.{suffix}").write_text("1")
    (folder / "notes.txt").write_text("mine")
    document = clean(tmp_path, store=False, dry_run=False)
    assert len(document.removed) == 4
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
