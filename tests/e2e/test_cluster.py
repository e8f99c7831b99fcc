"""Weight clustering on real digits: in Keras, in the int8 file, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_project import add_target, invoke
from small_steps import INT8, int8_kernels, stage_folder, verified
from step_runs import run_step, varied

from pipeline.errors import StepFailed
from pipeline.steps import cluster, quantize

# All three kernels, 200, 18,432 and 160 weights; of those the small project prunes the second.
CLUSTER = {"number_of_clusters": 8, "kernel_elements_min": 100, "epochs": 1}


@pytest.mark.parametrize("source", ["train", "prune"])
def test_clusters_and_zeros_are_in_the_int8_tensors(source: str, built: Path, document: dict, tmp_path: Path) -> None:
    facts = run_step(cluster, stage_folder(built, document, source), tmp_path / "clustered", varied(), **CLUSTER)
    assert set(facts["clusters"]) == {"conv", "dense", "logits"}
    assert max(facts["clusters"].values()) <= 8
    assert facts["promises"]["clusters"] == {"number": 8, "kernel_elements": [160, 200, 18432]}
    assert facts["history"]["val_accuracy"][-1] > 0.8
    quantized = run_step(quantize, tmp_path / "clustered", tmp_path / "out", varied(), calibration_samples=100, **INT8)
    verified(tmp_path / "out", facts, quantized)
    kernels = int8_kernels(tmp_path / "out" / "model.tflite")
    assert set(kernels) == {"conv", "dense", "logits"}
    for kernel in kernels.values():
        assert max(np.unique(channel).size for channel in kernel) <= 8
    if source == "prune":
        pruned = next(stage["facts"] for stage in document["stages"] if stage["name"] == "prune")
        assert (kernels["dense"] == 0).mean() >= pruned["zero_fraction"]["dense"] - 1e-9
        assert facts["promises"]["kernel_zeros"] == [(18432, pytest.approx(0.6, abs=0.1))]
    else:
        assert "kernel_zeros" not in facts["promises"]
    # Zeros are kept kernel by kernel: none are forced into one that had none.
    assert facts["zero_fraction"]["conv"] == 0


@pytest.mark.parametrize("initialization", ["linear", "density"])
def test_other_first_values(initialization: str, built: Path, document: dict, tmp_path: Path) -> None:
    source = stage_folder(built, document, "prune")
    facts = run_step(cluster, source, tmp_path / "out", varied(), **CLUSTER, cluster_centroids_init=initialization)
    assert 4 < facts["clusters"]["dense"] <= 8
    assert facts["zero_fraction"]["dense"] >= 0.595
    assert facts["history"]["val_accuracy"][-1] > 0.75


def test_one_cluster_is_refused_before_anything_runs(built: Path) -> None:
    step = '[[recipe]]\nstep = "cluster"\nnumber_of_clusters = 1\n\n[[recipe]]\nstep = "quantize"'
    add_target(built, "one_cluster", ('[[recipe]]\nstep = "quantize"', step))
    said = invoke(built, "convert", "--target=one_cluster", "--workload=small", expect=2).stderr
    assert "number_of_clusters" in said
    assert "2" in said


def test_two_clusters_cannot_hold_a_pruned_kernel(built: Path, document: dict, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="pruned kernel of dense"):
        run_step(cluster, stage_folder(built, document, "prune"), tmp_path / "out", varied(), number_of_clusters=2)


def test_zeros_that_get_lost_are_refused(
    built: Path, document: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pruned dense layer is not wrapped, and so fine-tuned without its mask."""
    monkeypatch.setattr(cluster, "CLUSTERED_LAYERS", ("Conv2D",))
    with pytest.raises(StepFailed, match="cluster step lost zeros") as caught:
        run_step(cluster, stage_folder(built, document, "prune"), tmp_path / "out", varied(), **CLUSTER)
    assert "dense: a kernel of Dense, which cannot be clustered" in caught.value.fix
    assert not list((tmp_path / "out").iterdir())


def network(*layers: Any) -> Any:
    from pipeline.keras_legacy import keras

    return keras.Sequential([keras.layers.InputLayer((8, 8, 4)), *layers])


def test_layers_whose_kernels_cannot_be_clustered_are_named() -> None:
    from pipeline.keras_legacy import keras

    model = network(keras.layers.DepthwiseConv2D(3, name="each"), keras.layers.Conv2D(2, 1, name="tiny"))
    with pytest.raises(StepFailed, match="no kernel that can be clustered") as caught:
        cluster.choose_layers(model, cluster.Config())
    assert "each: a kernel of DepthwiseConv2D" in caught.value.received
    assert "tiny: 8 weights, fewer than 1000" in caught.value.received
    model = network(keras.layers.Conv2D(16, 3, name="large"), keras.layers.Conv2D(1, 3, name="small"))
    chosen, unclustered = cluster.choose_layers(model, cluster.Config(number_of_clusters=100, kernel_elements_min=0))
    assert chosen == ["large"]
    assert unclustered == {"small": "144 weights that are not zero, fewer than two a cluster"}


def test_a_kernel_that_did_not_end_clustered_is_refused() -> None:
    kernels = {"dense": np.array([[0.5, 1.0], [0.25, 0.5]])}
    assert cluster.distinct_values(kernels, 3) == {"dense": 3}
    with pytest.raises(StepFailed, match="dense did not end clustered"):
        cluster.distinct_values(kernels, 2)
    with pytest.raises(StepFailed, match="dense did not end clustered"):
        cluster.distinct_values({"dense": np.array([0.5, np.nan])}, 8)
