"""What a `.tflite` must show before it counts as built.

It was loaded and invoked; its batch is a static 1; its input and output have the number
formats that were asked for; a full-integer file holds no float tensor and computes no float
operator; its answers agree with its source's on validation samples; and what earlier steps promised
(zeros, clusters) is still in the file. A step gives these as `promises` among its facts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StepFailed
from pipeline.inspect import Inspection, float_leftovers, inspect_file
from pipeline.runner import Settings, find_runner
from pipeline.steps._promises import describe_channels, lost_clusters, lost_zeros

if TYPE_CHECKING:
    from pipeline.workload import Workload

REFERENCE_SAMPLES = 1000
REFERENCE_FILE = "reference.npy"  # float32 [n, …]: the source's outputs on the first validation samples


def verify(folder: Path, workload: Workload, promises: dict[str, Any], runner_config: dict[str, Any]) -> dict[str, Any]:
    """Hold `folder/model.tflite` against `promises` and return what it is; raise StepFailed if it fails.

    promises: `input_dtype`, `output_dtype`, `full_integer` (bool), and those of `steps/_promises.py`.
    runner_config: `runner`, `threads`, `resident_megabytes`, `seconds`.
    """
    model = folder / "model.tflite"
    found = inspect_file(model)
    for kind, tensors in (("input", found.inputs), ("output", found.outputs)):
        if len(tensors) != 1:
            _fail(f"the file has {len(tensors)} {kind}s", f"{len(tensors)}", f"one {kind}")
        tensor = tensors[0]
        signature = list(tensor.shape_signature or tensor.shape)
        if signature[:1] != [1] or any(size < 1 for size in signature):
            _fail(f"the file's {kind} has no static batch of 1", f"shape {signature}", "[1, …], every size fixed")
        if tensor.dtype != promises[f"{kind}_dtype"]:
            _fail(f"the file's {kind} has the wrong number format", tensor.dtype, promises[f"{kind}_dtype"])
    if promises.get("full_integer"):
        float_io = "float32" in (promises["input_dtype"], promises["output_dtype"])
        leftovers = float_leftovers(found, float_io)
        if leftovers:
            _fail("the full-integer file still computes in float", "; ".join(leftovers[:5]), "integer operators alone")
    _check_zeros_and_clusters(found, promises)
    return {
        "sha256": found.sha256,
        "size_bytes": found.size_bytes,
        "deflated_bytes": found.deflated_bytes,
        "weight_bytes": found.weight_bytes,
        "parameters": found.parameters,
        "multiply_accumulates": found.multiply_accumulates,
        "zero_fraction": round(found.zero_fraction, 6),
        "distinct_values_per_channel": {k.name: k.distinct_values_per_channel for k in found.kernels},
        "operators": found.operator_counts,
        "agreement": _agreement(model, folder / REFERENCE_FILE, workload, runner_config, promises.get("agreement_min")),
    }


def _check_zeros_and_clusters(found: Inspection, promises: dict[str, Any]) -> None:
    clusters = promises.get("clusters")
    zeros = [(kernel.elements, kernel.zeros / kernel.elements) for kernel in found.kernels]
    # In a clustered kernel one value near zero, and with it a whole cluster, may be rounded to zero.
    lost = lost_zeros(promises.get("kernel_zeros", []), zeros, more_allowed=bool(clusters))
    if lost:
        _fail(
            "the file does not keep the zeros that were pruned",
            "; ".join(received for received, _ in lost),
            "; ".join(expected for _, expected in lost),
        )
    if clusters:
        kernels = [(kernel.elements, kernel.distinct_values_per_channel) for kernel in found.kernels]
        lost_sizes = lost_clusters(clusters, kernels)
        if lost_sizes:
            _fail(
                "the file does not keep the clusters of its weights",
                describe_channels(kernels),
                f"at most {clusters['number']} in every output channel of the kernels of {lost_sizes} weights",
            )


def _agreement(
    model: Path, reference_file: Path, workload: Workload, runner_config: dict[str, Any], agreement_min: float | None
) -> float:
    import numpy as np

    if agreement_min is None:
        agreement_min = workload.task.AGREEMENT_MIN
    reference = np.load(reference_file)
    samples = workload.preprocess(workload.load("validation")[0][: len(reference)])
    options = dict(runner_config)
    runner = find_runner(options.pop("runner"))
    outputs = runner.run({"model": model}, samples, Settings(**options)).models["model"].outputs
    agreement = workload.task.agreement(outputs, reference, workload.threshold)
    if agreement < agreement_min:
        _fail(
            "the file does not agree with the model that it was made from",
            f"{agreement:.2%} agreement on {len(reference)} validation samples",
            f"at least {agreement_min:.1%}",
            "raise `calibration_samples`, keep sensitive layers in a wider scheme (`invoke sensitivity` names them), "
            "or look at preprocess() and INPUT_RANGE of the workload",
        )
    return agreement


def _fail(message: str, received: str, expected: str, fix: str = "") -> None:
    raise StepFailed(message, received=received, expected=expected, fix=fix or "see the step that made the file")
