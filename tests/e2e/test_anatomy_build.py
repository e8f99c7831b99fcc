"""The parts of a real build: what training recorded, and what quantization did to a pruned network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.anatomy.anatomy import anatomy_of
from pipeline.anatomy.document import Anatomy
from pipeline.lookup import load_module
from pipeline.project import Project, open_project
from pipeline.watch import Watch


@pytest.fixture(scope="module")
def project(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy, since parts are kept in the store."""
    root = tmp_path_factory.mktemp("anatomy") / "project"
    shutil.copytree(built, root)
    return open_project(root, Watch())


@pytest.fixture(scope="module")
def anatomy(project: Project) -> Iterator[Anatomy]:
    yield anatomy_of(project.folder("small", "small"), project, Watch())


def test_curves_have_learning_rate_and_sparsity(anatomy: Anatomy) -> None:
    train, prune = anatomy.curves
    assert (train.stage, prune.stage) == ("train", "prune")
    assert train.series.keys() == {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
    first, last = train.series["learning_rate"]
    # Cosine decay over two epochs: about half at the end of the first, next to nothing at that of the last.
    assert first == pytest.approx(3e-3 / 2, rel=0.05)
    assert 0 <= last < 1e-6
    assert len(prune.series["sparsity"]) == 2
    assert prune.series["sparsity"][-1] == pytest.approx(0.6, abs=0.005)


def test_answers_are_those_of_the_scores(anatomy: Anatomy, document: dict, project: Project) -> None:
    assert anatomy.confusion is not None
    assert anatomy.disagreements is not None
    right = {name: np.trace(getattr(anatomy.confusion, name)) for name in ("file_counts", "float_counts")}
    assert right["file_counts"] / 1000 == pytest.approx(document["accuracy"])
    assert right["float_counts"] / 1000 == pytest.approx(document["baseline_accuracy"])
    found = anatomy.disagreements
    assert found.gained - found.lost == right["file_counts"] - right["float_counts"]
    assert len(found.shown) == min(60, found.lost + found.gained + found.both_wrong) > 0
    labels = load_module(project.root / "workloads" / "small.py", "workload").load("test")[1]
    assert [one.label for one in found.shown] == [str(labels[one.index]) for one in found.shown]


def test_layers_are_compared_with_the_pruned_networks_float_file(anatomy: Anatomy) -> None:
    """Against the unpruned one, which the baseline is, these would be off by tens of percent."""
    assert [row.operator for row in anatomy.layer_noise].count("RESHAPE") == 1
    assert {row.layer for row in anatomy.layer_noise} == {"conv", "flatten", "dense", "logits"}
    assert all(row.noise < 0.01 for row in anatomy.layer_noise)
    assert anatomy.layer_noise[0].own_noise > 0
    assert anatomy.notes == {}


def test_ranges_hold_what_validation_samples_give(anatomy: Anatomy, document: dict) -> None:
    assert anatomy.calibration is not None
    assert anatomy.calibration.classes == {str(digit): 10 for digit in range(10)}
    assert anatomy.calibration.samples == 200
    assert [row.name for row in anatomy.calibration.tensors] == ["input", "conv", "dense", "logits"]
    for row in anatomy.calibration.tensors:
        assert row.low <= 0 < row.high
        assert row.clipped_share < 0.01
        assert row.seen_high > 0.5 * row.high
    assert document["calibration"]["samples"] == 100


def test_weights_show_the_zeros_and_the_grid(anatomy: Anatomy) -> None:
    weights = {one.name: one for one in anatomy.histograms if one.kind == "weights"}
    assert weights.keys() == {"conv", "dense", "logits"}
    dense = weights["dense"]
    assert max(dense.counts) >= 0.6 * sum(dense.counts)
    zero = next(place for place, edge in enumerate(dense.edges) if edge > 0) - 1
    assert dense.counts[zero] == max(dense.counts)
    assert dense.grid_step is not None
    assert dense.grid_step * 127 == pytest.approx(dense.grid_high)


def test_all_bytes_are_accounted_for(anatomy: Anatomy, document: dict) -> None:
    assert sum(piece.bytes for piece in anatomy.bytes) == document["size_bytes"]
    largest = anatomy.bytes[0]
    assert (largest.layer, largest.kind) == ("dense", "weights")


def test_the_document_is_small_and_kept(anatomy: Anatomy, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(anatomy.model_dump_json()) < 100_000

    def refuse(*given: object, **options: object) -> None:
        raise AssertionError("nothing is to be made a second time")

    monkeypatch.setattr("pipeline.anatomy.parts.parts_of", refuse)
    assert anatomy_of(project.folder("small", "small"), project, Watch()) == anatomy
