"""Begin a recipe with a float `.tflite` file and quantize it by ai-edge-quantizer, as `quantize_edge` does.

For models whose framework exports TFLite itself, PyTorch by way of litert-torch among them. Calibration and
accuracy are on the workload's data; what the file is held against, and the baseline, is the given file. A
batch that is left open becomes 1, and a softmax (of a binary or multi-label task: a sigmoid) at the end gives
way to logits. What is quantized already cannot be quantized well again, and is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from pipeline.errors import BadModelFile
from pipeline.steps import quantize_edge
from pipeline.steps._calibrated import Calibrated
from pipeline.steps._given_file import GivenFile
from pipeline.steps._last_activation import last_activation

if TYPE_CHECKING:
    from pipeline.inspect import Inspection
    from pipeline.workload import Workload

CONSUMES: str | None = None
PRODUCES = "tflite"
LIBRARIES = ("numpy", "ai-edge-litert", "ai-edge-quantizer")
EXTRA = "edge-quantizer"
# What a recipe that begins with this step is compared with: the given file.
BASELINE = {
    "scheme": "float32",
    "layers": {},
    "calibration": "minmax",
    "input_dtype": "float32",
    "output_dtype": "float32",
}
_OPERATORS = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC"}
_WAY_OUT = "export the model to a float32 .tflite, without optimizations, and let this step quantize it"


class Config(Calibrated):
    """Which file, which number formats it is to compute in, and how their ranges are found."""

    path: GivenFile = Field(description="Float .tflite file; relative to the project's root.")
    scheme: quantize_edge.LayerScheme = Field(
        "int8", description="Number formats of weights and activations; float32: the file as it is."
    )
    layers: dict[str, quantize_edge.LayerScheme] = Field(
        {}, description="Other schemes: by layer, by a block that holds layers, or by operator, such as CONV_2D."
    )

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.scheme != "float32":
            quantize_edge.refuse_misfits(self, self.scheme)
        elif self.layers or self.calibration != "minmax":
            raise ValueError("scheme 'float32' leaves the file as it is; expected no `layers` and no `calibration`")
        else:
            self.refuse_other_dtypes(self.scheme, ("float32",))
        return self


def run(source: Path | None, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write `model.tflite`, and `reference.npy`: the given file's outputs on validation samples.

    Raises BadModelFile for a file that is no float `.tflite` or takes other inputs than the workload gives;
    else what the quantize_edge step raises.
    """
    import numpy as np

    from pipeline.runner import Settings, find_runner
    from pipeline.steps._promises import SPARSITY_TOLERANCE
    from pipeline.untrusted import inspect_untrusted
    from pipeline.verify import REFERENCE_FILE, REFERENCE_SAMPLES

    found = inspect_untrusted(config.path)
    refuse_unfit(config.path, found, workload)
    removed = last_activation(workload)
    content, is_removed = prepared(config.path.read_bytes(), _OPERATORS[removed] if removed else None)
    path = out / "model.tflite"
    path.write_bytes(content)
    samples = workload.preprocess(workload.load("validation")[0][:REFERENCE_SAMPLES])
    result = find_runner("host").run({"model": path}, samples, Settings(resident_megabytes=4096, seconds=300))
    np.save(out / REFERENCE_FILE, result.models["model"].outputs)
    zeros = [(kernel.elements, kernel.zeros / kernel.elements) for kernel in found.kernels]
    zeros = [(elements, share) for elements, share in zeros if share > SPARSITY_TOLERANCE]
    facts: dict[str, Any] = {
        "scheme": config.scheme,
        "given_sha256": found.sha256,
        "parameters": found.parameters,
        "activation_removed": removed if is_removed else None,
    }
    if config.scheme == "float32":
        dtypes = {"input_dtype": "float32", "output_dtype": "float32"}
        return {**facts, "promises": {**dtypes, "full_integer": False, "kernel_zeros": zeros}}
    edge = quantize_edge.Config.model_validate(config.model_dump(exclude={"path"}))
    return {**facts, **quantize_edge.quantize_file(path, workload, edge, zeros)}


def refuse_unfit(path: Path, found: Inspection, workload: Workload) -> None:
    """Raise BadModelFile unless the file takes one float32 sample of the workload and computes in float32."""
    tensors = [*found.inputs, *found.outputs]
    formats = {tensor.dtype for tensor in tensors} | {kernel.dtype for kernel in found.kernels}
    converting = sorted({"QUANTIZE", "DEQUANTIZE"} & found.operator_counts.keys())
    if formats != {"float32"} or converting:
        raise BadModelFile(
            f"{path} is no float model",
            received=", ".join([f"tensors and weights in {', '.join(sorted(formats))}", *converting]),
            expected="float32 throughout: what is quantized already cannot be quantized well again",
            fix=_WAY_OUT,
        )
    received = [list(tensor.shape_signature or tensor.shape) for tensor in found.inputs]
    shapes = [shape[:1] in ([1], [-1]) and tuple(shape[1:]) == workload.input_shape for shape in received]
    outputs = [list(tensor.shape) for tensor in found.outputs]
    wanted = [1, *workload.output_shape]
    if shapes != [True] or outputs != [wanted]:
        raise BadModelFile(
            f"{path} does not take what the workload {workload.name} gives",
            received=f"inputs {received}, outputs {outputs}",
            expected=f"one input {[1, *workload.input_shape]}, its batch 1 or left open, and one output {wanted}",
            fix="export the model for this input (PyTorch's order of axes is channels first: export it as channels "
            "last), or take a workload whose INPUT_SHAPE and LABELS are the model's",
        )


def prepared(content: bytes, operator: str | None) -> tuple[bytes, bool]:
    """Return the file with a batch of 1 and without `operator` at its end, and whether that was there."""
    import ai_edge_litert.schema_py_generated as schema
    import flatbuffers

    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        tensor.shapeSignature = None  # what is left open there is 1 in its shape
    last = graph.operators[-1]
    kind = model.operatorCodes[last.opcodeIndex]
    code = getattr(schema.BuiltinOperator, operator) if operator else None
    found = code is not None and max(kind.builtinCode, kind.deprecatedBuiltinCode) == code
    found = found and list(last.outputs) == list(graph.outputs)
    if found:
        graph.operators.pop()
        for signature in model.signatureDefs or []:
            for output in signature.outputs:
                output.tensorIndex = last.inputs[0]
        graph.outputs = last.inputs[:1]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()), found
