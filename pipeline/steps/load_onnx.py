"""Begin a recipe with an ONNX model, such as PyTorch's torch.onnx.export writes.

onnx2tf turns it into operators of TensorFlow, channels last; onnxruntime computes the file itself, and both have
to agree on validation samples. There are no Keras layers in it: quantize and quantize_edge take it, other steps
refuse it. A softmax (of a binary or multi-label task: a sigmoid) at the end gives way to logits.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import BadModelFile
from pipeline.steps._given_file import GivenFile

if TYPE_CHECKING:
    import numpy as np

    from pipeline.workload import Workload

CONSUMES: str | None = None
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "numpy", "onnx", "onnx2tf", "onnxruntime")
EXTRA = "onnx"
SAMPLES = 100
TOLERANCE = 1e-4  # of the outputs' largest size, or of 1 where that is less; other kernels round otherwise
OBSTACLE = "an ONNX model, which has operators and no Keras layers"


class Config(BaseModel):
    """Which file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: GivenFile = Field(description="Trained model, .onnx, weights within; relative to the project's root.")


def run(source: Path | None, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the model, logits out, as `model.pb` into `out`; return what is known of it.

    Raises BadModelFile for a file that is no ONNX model, has operators that onnx2tf does not know, computes
    something else after conversion, or does not take the workload's samples.
    """
    import numpy as np

    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps._frozen import read_served
    from pipeline.steps._keras3 import relative_difference
    from pipeline.steps.load import kept

    make_repeatable(0)
    path = config.path
    name, shape, parameters = _examined(path)
    as_it_is = tuple(shape[1:]) == workload.input_shape  # no channels to move: features, or channels last
    if not as_it_is and (*shape[2:], *shape[1:2]) != workload.input_shape:
        raise BadModelFile(
            f"{path} does not take what the workload {workload.name} gives",
            received=f"one input {shape}",
            expected=f"one input {[None, *workload.input_shape]}, or the same with its channels first",
            fix="take another file, or a workload whose INPUT_SHAPE is the model's",
        )
    with tempfile.TemporaryDirectory(prefix="pipeline-onnx-") as folder:
        saved = Path(folder) / "saved_model"
        _convert(path, saved, [name] if as_it_is else None)
        served = read_served(saved)
        samples = workload.preprocess(workload.load("validation")[0][:SAMPLES])
        wanted = _outputs(path, name, samples if as_it_is else np.moveaxis(samples, -1, 1), shape[0])
        found = np.concatenate([np.asarray(served(part)) for part in _batches(samples, served.inputs[0].shape[0])])
        if wanted.shape != found.shape and wanted.ndim > 2:
            wanted = np.moveaxis(wanted, 1, -1)
        difference = relative_difference(wanted, found) if wanted.shape == found.shape else float("inf")
        if difference > TOLERANCE:
            raise _bad(path, f"outputs that differ by up to {difference:.3g} of their size after conversion")
        facts = kept(served, OBSTACLE, path, workload, out)
    return {**facts, "parameters": parameters, "difference": difference}


def _examined(path: Path) -> tuple[str, list[int | None], int]:
    """Return the name and shape of the model's input, None where a size is left open, and its number of weights.

    Raises BadModelFile for a file that is no ONNX model, or needs more than ONNX's operators and itself.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
            raise _bad(path, "weights in another file")
        onnx.checker.check_model(model)
    except BadModelFile:
        raise
    except Exception as error:  # protobuf's, onnx's own and others
        raise _bad(path, f"{type(error).__name__}: {str(error).strip()[:300]}") from error
    own = [f"{node.name or 'unnamed'}, a {node.domain}.{node.op_type}" for node in model.graph.node if node.domain]
    if own:
        raise _bad(path, f"operators that ONNX itself does not have: {'; '.join(own[:3])}")
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise _bad(path, f"{len(inputs)} inputs and {len(model.graph.output)} outputs")
    dimensions = inputs[0].type.tensor_type.shape.dim
    shape = [size.dim_value if size.HasField("dim_value") else None for size in dimensions]
    return inputs[0].name, shape, sum(math.prod(tensor.dims) for tensor in model.graph.initializer)


def _convert(path: Path, folder: Path, kept_inputs: list[str] | None) -> None:
    """Write the SavedModel, channels last except in the inputs named. Raises BadModelFile."""
    limit = sys.getrecursionlimit()
    import onnx2tf

    copy = folder.with_name("model.onnx")  # onnx2tf writes into the file that it reads
    shutil.copyfile(path, copy)
    try:
        onnx2tf.convert(
            input_onnx_file_path=str(copy),
            output_folder_path=str(folder),
            keep_ncw_or_nchw_or_ncdhw_input_names=kept_inputs,
            not_use_onnxsim=True,
            non_verbose=True,
        )
    except (Exception, SystemExit) as error:  # it ends the process for an operator that it does not know
        raise _bad(path, f"onnx2tf: {type(error).__name__}: {str(error).strip()[:300]}") from error
    finally:
        sys.setrecursionlimit(limit)  # it takes the limit away: whatever nests without end would end the process


def _outputs(path: Path, name: str, samples: np.ndarray, batch: int | None) -> np.ndarray:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {name: part})[0] for part in _batches(samples, batch)])


def _batches(samples: np.ndarray, batch: int | None) -> list[np.ndarray]:
    size = batch or len(samples)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _bad(path: Path, received: str) -> BadModelFile:
    return BadModelFile(
        f"{path} cannot be used as a trained ONNX model",
        received=received,
        expected="one .onnx file of standard operators, with its weights, one input and one output",
        fix="export it with torch.onnx.export(model, sample, path), or to a float .tflite, which the "
        "quantize_tflite step begins with",
    )
