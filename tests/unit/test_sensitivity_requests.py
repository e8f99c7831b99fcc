"""What `invoke sensitivity` refuses before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import RequestError
from pipeline.project import open_project
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
