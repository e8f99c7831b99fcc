"""One scale a kernel instead of one for each output channel: fewer bytes, the same kernels."""

from __future__ import annotations

from pathlib import Path

from small_steps import INT8, stage_folder, verified
from step_runs import run_step, varied

from pipeline.flatbuffer import read_model
from pipeline.steps import quantize


def scales(path: Path) -> list[int]:
    """Return the number of scales of each int8 constant of rank 2 and more."""
    (graph,) = read_model(path).subgraphs
    kernels = [tensor for tensor in graph.tensors if tensor.data is not None and tensor.dtype == "int8"]
    return sorted(len(tensor.zero_point) for tensor in kernels if len(tensor.shape) > 1)


def test_a_kernel_has_one_scale_or_one_for_each_channel(built: Path, document: dict, tmp_path: Path) -> None:
    source = stage_folder(built, document, "train")
    files = {}
    for per_channel in (True, False):
        out = tmp_path / str(per_channel)
        config = {"calibration_samples": 100, "per_channel": per_channel, "agreement_min": 0.95, **INT8}
        facts = run_step(quantize, source, out, varied(), **config)
        verified(out, facts)
        files[per_channel] = out / "model.tflite"
    assert scales(files[True]) == [8, 10, 16]
    assert scales(files[False]) == [1, 1, 1]
    assert files[False].stat().st_size < files[True].stat().st_size
