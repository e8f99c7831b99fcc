"""`invoke check MODEL`: what will be in the way of a model, in seconds and before anything is built.

What shows in the file is reported as it is; what only a build can tell is called an estimate or left as not
known. No code of a model file is run. A function of your own is yours, and is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.check_document import Finding, LayerCheck, SizeEstimates
from pipeline.check_layers import (
    KERAS_3_ONLY,
    NO_BUILTIN,
    WITHOUT_KERNEL,
    operators_of,
    why_not_clustered,
    why_not_int8,
    why_not_pruned,
    why_not_quantize_aware,
)
from pipeline.check_outline import Outline, OutlinedLayer, outline_of_file, outline_of_model
from pipeline.check_targets import Checked, check_target
from pipeline.errors import BadModelFile
from pipeline.model_choice import EXPECTED, ModelChoice, model_choice
from pipeline.target import load_target
from pipeline.workload import load_workload

if TYPE_CHECKING:
    from pipeline.documents import CheckDocument
    from pipeline.workload import Workload

_FLOATS = ("float32", "float64", "float16", "bfloat16")


def check(model: str, targets: list[str], workload: str, root: Path) -> CheckDocument:
    """Return what is known of a model beforehand, and whether each target can be built for.

    model: as `--model` has it. workload: name or path, whose samples the model has to take; "" asks for none,
    but a network or function that wants shapes is then built for the default one. Raises UnknownName,
    BadModelFile or RequestError for what is no model.
    """
    from pipeline.documents import CheckDocument
    from pipeline.task_frame import DEFAULT_WORKLOAD

    learned = load_workload(workload, root) if workload else None
    shapes = learned or load_workload(DEFAULT_WORKLOAD, root)
    choice = model_choice(model, "", shapes.task_name, shapes.input_shape) if model else None
    if choice is None:
        raise BadModelFile("there is no model to check", received="nothing", expected=EXPECTED, fix="name one")
    if choice.trained and choice.trained.suffix == ".tflite":
        kind, checked, layers, findings = _of_tflite(choice.trained)
    else:
        outline = _outline(choice, model, learned, shapes)
        kind = outline.kind
        checked, layers, findings = _of_outline(outline)
    findings += _shape_findings(checked, learned)
    if any(finding.severity == "obstacle" for finding in findings):
        checked.obstacles.extend(finding.text for finding in findings if finding.severity == "obstacle")
    rows = [check_target(load_target(name, root), checked) for name in targets]
    sizes = None
    if checked.parameters is not None:
        sizes = SizeEstimates(**{f"{name}_bytes": count * checked.parameters for name, count in _BYTES.items()})
    return CheckDocument(
        model=model,
        kind=kind,
        inputs=[list(shape) for shape in checked.inputs],
        outputs=checked.outputs,
        parameters=checked.parameters,
        size_bytes=checked.size_bytes,
        estimates=sizes,
        operators=sorted(checked.operators),
        layers=layers,
        findings=findings,
        targets=rows,
        possible=all(row.possible for row in rows) and not checked.obstacles,
    )


_BYTES = {"float32": 4, "float16": 2, "int8": 1}


def _outline(choice: ModelChoice, given: str, learned: Workload | None, shapes: Workload) -> Outline:
    if choice.trained:
        own = getattr(learned.module, "custom_objects", None) if learned else None
        return outline_of_file(choice.trained, dict(own()) if own else {})
    wanted = shapes.input_shape, shapes.output_shape[-1]
    if choice.code:
        from pipeline.user_model import call_function

        model = call_function(choice.code, choice.function, *(wanted if choice.takes_shapes else ()), **choice.options)
        return outline_of_model(model, "function")
    from pipeline.network import find_network

    network, options = find_network(given)
    return outline_of_model(network.build(*wanted, **options), f"network of the zoo, for {shapes.name}")


def _of_outline(outline: Outline) -> tuple[Checked, list[LayerCheck], list[Finding]]:
    """Return what a Keras model has and lacks."""
    layers = [_layer(layer) for layer in outline.layers]
    findings = [Finding(severity="note", text=note) for note in outline.notes]
    for layer in outline.layers:
        what = f"{layer.name}, a {layer.kind}"
        if layer.kind in NO_BUILTIN:
            findings.append(Finding(severity="obstacle", text=f"{what}: TFLite has no operators of its own for it"))
        elif layer.kind == "Lambda":
            findings.append(Finding(severity="warning", text=f"{what}: a function, of which a saved file is refused"))
        elif layer.kind in KERAS_3_ONLY:
            findings.append(Finding(severity="warning", text=f"{what}: new in Keras 3; only quantizing steps take it"))
    unknown = [f"{layer.name}, a {layer.kind}" for layer in layers if layer.operators is None]
    if unknown:
        text = f"what these become shows only once they are converted: {'; '.join(unknown)}"
        findings.append(Finding(severity="warning", text=text))
    checked = Checked(
        inputs=outline.inputs,
        outputs=outline.outputs,
        parameters=outline.parameters,
        operators={name for layer in layers for name in layer.operators or ()},
        layers=layers,
    )
    return checked, layers, findings


def _layer(layer: OutlinedLayer) -> LayerCheck:
    known = operators_of(layer.kind, layer.activation, layer.feeds)
    # Where the file does not say whether there are weights, a kind that is known and is not pruned has none.
    unsaid = layer.parameters is None and known is not None and why_not_pruned(layer.kind)
    kernel = layer.parameters != 0 and layer.kind not in WITHOUT_KERNEL and not unsaid
    inside = f"inside the model {layer.within}, which the step does not enter" if layer.within else ""
    return LayerCheck(
        name=layer.name,
        kind=layer.kind,
        parameters=layer.parameters,
        not_pruned=(inside or why_not_pruned(layer.kind)) if kernel else "",
        not_clustered=(inside or why_not_clustered(layer.kind)) if kernel else "",
        not_quantize_aware=inside or why_not_quantize_aware(layer.kind, layer.feeds),
        not_int8=why_not_int8(layer.kind, layer.activation),
        operators=None if known is None else list(known),
    )


def _of_tflite(path: Path) -> tuple[str, Checked, list[LayerCheck], list[Finding]]:
    """Return what a `.tflite` holds, read in a child process within limits."""
    from pipeline.untrusted import inspect_untrusted

    found = inspect_untrusted(path)
    formats = sorted({tensor.dtype for tensor in (*found.inputs, *found.outputs)} | {k.dtype for k in found.kernels})
    findings = [
        Finding(
            severity="note",
            text="a .tflite can be quantized, not pruned, clustered or trained further: its recipe begins with "
            'step = "quantize_tflite"',
        )
    ]
    if any(name not in _FLOATS for name in formats):
        findings.append(
            Finding(
                severity="obstacle",
                text=f"it is quantized already: tensors and weights in {', '.join(formats)}, where a recipe needs "
                f"float32; `invoke bench --model={path.name}` measures it as it is",
            )
        )
    custom = sorted(name for name in found.operator_counts if not name.replace("_", "").isupper())
    if custom:
        findings.append(
            Finding(severity="warning", text=f"operators that are none of TFLite's own: {', '.join(custom)}")
        )
    checked = Checked(
        inputs=tuple(
            tuple(None if size < 0 else size for size in (tensor.shape_signature or tensor.shape))
            for tensor in found.inputs
        ),
        outputs=len(found.outputs),
        parameters=found.parameters,
        size_bytes=found.size_bytes,
        operators=set(found.operator_counts),
        custom_operators=set(custom),
        exact=True,
    )
    return ".tflite", checked, [], findings


def _shape_findings(checked: Checked, learned: Workload | None) -> list[Finding]:
    """Return what is wrong with the count and the shapes of inputs and outputs."""
    found: list[str] = []
    if len(checked.inputs) > 1 or (checked.outputs or 1) > 1:
        found.append(f"{len(checked.inputs)} inputs and {checked.outputs} outputs, where a workload has one of each")
    for shape in checked.inputs:
        if any(size is None for size in shape[1:]):
            found.append(f"the input {_text(shape)} leaves sizes open besides the batch; a device needs fixed ones")
        elif learned and tuple(shape[1:]) != learned.input_shape:
            given = _text((None, *learned.input_shape))
            found.append(f"the input is {_text(shape)}, where the workload {learned.name} gives {given}")
    return [Finding(severity="obstacle", text=text) for text in found]


def _text(shape: tuple[Any, ...]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape)
