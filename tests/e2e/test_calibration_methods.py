"""Ranges of activations by min/max, percentile and least squared error, with and without outliers."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from small_project import add_target, invoke
from small_steps import RUNNER, stage_folder
from step_runs import run_step, varied

from pipeline.flatbuffer import Tensor, read_model
from pipeline.inspect import float_leftovers, inspect_file
from pipeline.steps import quantize, quantize_edge
from pipeline.verify import verify
from pipeline.workload import Workload
from pipeline.workloads import mnist_data


def with_outliers() -> Workload:
    """Digits of which one in twenty is inverted, a white sheet: its activations are far larger than the others'."""

    def load(split: str) -> tuple[np.ndarray, np.ndarray]:
        samples, labels = mnist_data.load(split)
        samples = samples[:1000].copy()
        if split == "train":
            samples[::20] = 255 - samples[::20]
        return samples, labels[:1000]

    return varied(load=load)


def file_of(step: ModuleType, source: Path, out: Path, workload: Workload, **config: Any) -> Path:
    config = {"scheme": "int8", "calibration_samples": 100, **config}
    facts = run_step(step, source, out, workload, **config)
    # Judged on digits as they are: whoever calibrates with outliers sees what that costs.
    verify(out, varied(), {**facts["promises"], "agreement_min": 0.9}, RUNNER)
    assert float_leftovers(inspect_file(out / "model.tflite"), float_io=True) == []
    return out / "model.tflite"


def scales(path: Path) -> dict[str, float]:
    """Return the scale of the int8 activations, by the layer in the tensor's name."""
    layers = {"conv": "conv", "dense": "dense", "Stateful": "logits", "input": "input"}
    found = {}
    for tensor in read_model(path).subgraphs[0].tensors:
        if tensor.data is None and tensor.dtype == "int8":
            found.update({layer: tensor.scale[0] for part, layer in layers.items() if part in tensor.name})
    return found


def constants(path: Path) -> list[Tensor]:
    return [tensor for tensor in read_model(path).subgraphs[0].tensors if tensor.data is not None]


@pytest.mark.parametrize("step", [quantize, quantize_edge])
def test_a_clipped_range_leaves_the_outliers_out(step: ModuleType, built: Path, document: dict, tmp_path: Path) -> None:
    source, workload = stage_folder(built, document, "train"), with_outliers()
    methods = {"minmax": {}, "percentile": {"calibration_percentile": 97}, "mse": {}}
    found = {
        name: scales(file_of(step, source, tmp_path / name, workload, calibration=name, **more))
        for name, more in methods.items()
    }
    assert found["percentile"]["dense"] < 0.7 * found["minmax"]["dense"]
    # One value in twenty is too many for a least squared error to cut; what it may not do is widen a range.
    assert all(found["mse"][name] <= found["minmax"][name] * (1 + 1e-6) for name in found["mse"])
    assert found["mse"]["conv"] < found["minmax"]["conv"]
    # What the workload gives, and what the answer is taken from, keep their whole range.
    assert found["percentile"]["logits"] == pytest.approx(found["minmax"]["logits"], rel=1e-5)
    clean = scales(file_of(step, source, tmp_path / "clean", varied()))
    assert clean["dense"] < 0.7 * found["minmax"]["dense"]


def test_all_values_give_what_the_converter_itself_gives(built: Path, document: dict, tmp_path: Path) -> None:
    """The converter is taken apart for other ranges than its own: with its own ranges nothing may change."""
    source = stage_folder(built, document, "train")
    for dtype in ("int8", "uint8", "float32"):
        config = {"input_dtype": dtype, "output_dtype": dtype}
        own = file_of(quantize, source, tmp_path / f"own_{dtype}", varied(), **config)
        config |= {"calibration": "percentile", "calibration_percentile": 100}
        ours = file_of(quantize, source, tmp_path / f"ours_{dtype}", varied(), **config)
        assert inspect_file(ours).operator_counts == inspect_file(own).operator_counts
        assert scales(ours) == pytest.approx(scales(own), rel=1e-6)
        pairs = list(zip(constants(own), constants(ours), strict=True))
        assert [a.name for a, _ in pairs] == [b.name for _, b in pairs]
        assert all(np.array_equal(a.data, b.data) for a, b in pairs if a.dtype == "int8")


def test_the_bytes_are_the_same_again(built: Path, document: dict, tmp_path: Path) -> None:
    source = stage_folder(built, document, "train")
    files = [file_of(quantize, source, tmp_path / name, varied(), calibration="mse").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_a_recipe_with_a_percentile_builds(built: Path, document: dict) -> None:
    old = 'step = "quantize"\nscheme = "int8"\ncalibration_samples = 100\n'
    new = old + 'calibration = "percentile"\ncalibration_percentile = 99.9\nagreement_min = 0.98\n'
    top = 'description = "Everything for real, in seconds"'
    named = (top, f"{top}\nslim = false")  # slim would take the names by which layers are found here
    add_target(built, "percentile", (old, new), named)
    add_target(built, "minmax", named)
    for target in ("percentile", "minmax"):
        invoke(built, "convert", f"--target={target}", "--workload=small", "--json")
    clipped, whole = (
        built / "artifacts" / "small" / target / "converted" / "model.tflite" for target in ("percentile", "minmax")
    )
    assert scales(clipped)["dense"] < scales(whole)["dense"]
