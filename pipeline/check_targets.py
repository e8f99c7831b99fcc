"""What a target lacks for a model: operators of its runtime, number formats, bytes, steps of its recipe."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field

from pipeline.check_document import LayerCheck, TargetCheck
from pipeline.runners._tflm_sources import method_of
from pipeline.target import Target

FULL_INTEGER = ("int8", "int16x8")
_QUANTIZING = ("quantize", "quantize_edge", "quantize_aware", "quantize_tflite")


@dataclass
class Checked:
    """What is known of a model, whatever it came as."""

    inputs: tuple[tuple[int | None, ...], ...]
    outputs: int | None  # count
    parameters: int | None
    operators: set[str]  # in a Keras model: as far as is known beforehand
    size_bytes: int | None = None  # of a .tflite
    custom_operators: set[str] = field(default_factory=set)
    layers: list[LayerCheck] = field(default_factory=list)
    exact: bool = False  # whether the operators were read from a .tflite
    obstacles: list[str] = field(default_factory=list)  # for every target


def check_target(target: Target, checked: Checked) -> TargetCheck:
    """Return what makes the target impossible for the model, and what may go wrong."""
    obstacles = [*checked.obstacles, *_operators(target, checked), *_formats(target, checked)]
    warnings = _on_npu(target, checked, obstacles) + _recipe(target, checked) + _bytes(target, checked)
    return TargetCheck(
        target=target.name, runner=target.runner, possible=not obstacles, obstacles=obstacles, warnings=warnings
    )


def _operators(target: Target, checked: Checked) -> list[str]:
    """Return the operators that the target's interpreter does not have."""
    if target.runner == "tflm":
        missing = sorted(name for name in checked.operators if method_of(name) is None)
        return [f"TFLite Micro has no {', '.join(missing)}"] if missing else []
    missing = sorted(name for name in checked.custom_operators if name != "ethos-u")
    return [f"the interpreter has TFLite's own operators alone, not {', '.join(missing)}"] if missing else []


def _formats(target: Target, checked: Checked) -> list[str]:
    if target.runner == "browser" and (target.input_dtype, target.output_dtype) != ("float32", "float32"):
        return [
            f"LiteRT.js takes and gives float32 alone, and the target says {target.input_dtype} in, "
            f"{target.output_dtype} out"
        ]
    schemes = {step.get("scheme", "int8") for step in target.recipe if step.get("step") in _QUANTIZING}
    if schemes and schemes <= set(FULL_INTEGER):
        stays = [f"{layer.name}: {layer.not_int8}" for layer in checked.layers if layer.not_int8]
        if stays:
            return [f"its recipe promises a full-integer file: {'; '.join(stays)}"]
    return []


def _on_npu(target: Target, checked: Checked, obstacles: list[str]) -> list[str]:
    """Return what stays off the NPU; it joins the obstacles where the file itself shows that a budget is missed."""
    if target.runner != "vela":
        return []
    known = npu_operators()
    if known is None:
        return ["whether the NPU has the operators is not known without pip install 'edge-deployment-pipeline[micro]'"]
    missing = sorted(checked.operators - known)
    if not missing:
        return []
    text = f"the NPU has no {', '.join(missing)}: these stay on the CPU"
    if checked.exact and target.budgets.npu_operator_share_min == 1:
        obstacles.append(f"{text}, and the budget npu_operator_share_min is 1")
        return []
    return [text]


@functools.cache
def npu_operators() -> frozenset[str] | None:
    """Return the operators that Vela's own list has for Ethos-U; None where Vela is not installed."""
    try:
        from ethosu.vela.tflite_mapping import builtin_operator_map, builtin_operator_name_map
        from ethosu.vela.tflite_supported_operators import TFLiteSupportedOperators
    except ImportError:
        return None
    supported = TFLiteSupportedOperators.supported_operators
    return frozenset(
        builtin_operator_name_map[code] for code, entry in builtin_operator_map.items() if entry[0] in supported
    )


def _recipe(target: Target, checked: Checked) -> list[str]:
    """Return what the steps of the target's recipe leave out, or refuse."""
    warnings = []
    steps = [step.get("step") for step in target.recipe]
    if checked.exact:
        taken = ("train", "load", *_QUANTIZING, "slim", "metadata")
        others = [str(step) for step in steps if step not in taken]
        return [f"its recipe has {', '.join(others)}, which a .tflite cannot go through"] if others else []
    for step, reason_of in (("prune", "not_pruned"), ("cluster", "not_clustered")):
        if step in steps and (left := _counted(checked, reason_of)):
            warnings.append(f"its {step} step leaves layers as they are: {left}")
    if "quantize_aware" in steps and (refused := _counted(checked, "not_quantize_aware")):
        warnings.append(f"its quantize_aware step refuses the model: {refused}")
    return warnings


def _counted(checked: Checked, reason_of: str) -> str:
    """Return each reason that layers have, with the count of these layers."""
    counts = Counter(getattr(layer, reason_of) for layer in checked.layers)
    return "; ".join(f"{reason} ({count})" for reason, count in counts.items() if reason)


def _bytes(target: Target, checked: Checked) -> list[str]:
    """Return which budgets of bytes the estimated weights alone exceed; an estimate decides nothing."""
    if checked.parameters is None:
        return []
    limits = {name: getattr(target.budgets, name) for name in ("size_bytes", "flash_bytes")}
    return [
        f"{name} is {limit:,}, and the weights take about {checked.parameters:,} bytes in int8 (an estimate)"
        for name, limit in limits.items()
        if limit is not None and limit < checked.parameters
    ]
