"""Data from a reader through the whole command line: what is rebuilt when it changes, and how bad data end."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from tests.null.cli import Project

WORKLOAD = """
from pathlib import Path

from pipeline.data import npz
from pipeline.workload import Training

DESCRIPTION = "pictures of the user's own"
TRAINING = Training(epochs=1)
DATA = npz.open_data(Path(__file__).parent / "bilder ü.npz")
TASK, LABELS, INPUT_SHAPE, INPUT_RANGE = DATA.task, DATA.labels, DATA.input_shape, DATA.input_range
load, preprocess, data_hashes = DATA.load, DATA.preprocess, DATA.hashes


def build_model():
    raise RuntimeError("the numpy-only steps build no model")
"""
BUILD = ("build", "--target=null", "--workload=own", "--json")


def give(project: Project, count: int = 800, **other: Any) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (1000, 28, 28), np.uint8)[:count]
    stream = io.BytesIO()
    np.savez(stream, **{"x": pictures, "y": np.arange(count) % 10, **other})
    project.add("workloads/bilder ü.npz", stream.getvalue())
    project.add("workloads/own.py", WORKLOAD)


def test_only_data_that_changed_are_built_anew(project: Project) -> None:
    give(project)
    project.budget(size_bytes=1_000_000)
    assert project.run(*BUILD).json("build")["workload"] == "own"
    made = project.entries()
    project.run(*BUILD)
    assert project.entries() == made
    give(project, 801)
    project.run(*BUILD)
    assert len(project.entries()) == 2 * len(made) - 1  # the file is the same, and so is its benchmark


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"y": np.arange(800) % 10 - 1}, "a label out of range"),
        ({"y": np.zeros(800, int)}, "one class only"),
        ({"y": np.arange(799) % 10}, "another number of labels than of samples"),
        ({"y": np.array([{}] * 800, object)}, "a pickle of Python objects"),
        ({"x": np.empty((0, 28, 28), np.uint8), "y": np.empty(0, int)}, "no samples"),
    ],
    ids=["label", "one class", "counts", "pickle", "empty"],
)
def test_bad_data_end_with_code_2_before_anything_is_made(project: Project, other: Any, message: str) -> None:
    give(project, **other)
    result = project.run(*BUILD, expect=2)
    error = result.json("error")["error"]
    assert error["code"] == "bad_data"
    assert message in error["message"]
    assert "bilder ü.npz" in error["message"]
    assert error["fix"]
    assert project.entries() == set()
