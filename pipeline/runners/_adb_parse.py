"""Reads what TFLite's benchmark_model prints, in the forms that its versions have, and the client's list.

    TensorFlow 1.13   count=50 first=… curr=… min=… max=… avg=… std=…
                      Average inference timings in us: Warmup: …, Init: …, no stats: …
    TensorFlow 2.x    Inference timings in us: Init: …, First inference: …, Warmup (avg): …, Inference (avg): …
                      Peak memory footprint (MB): init=… overall=…     until 2.3; then
                      Memory footprint delta from the start of the tool (MB): init=… overall=…
    since 2.6         the same lines behind "INFO: "
    since 2.16        count=… std=… p5=… median=… p95=…
    one run, or equal ones   count=1 curr=…       count=10 curr=30(all same)
    LiteRT's own tool        the same lines of count=…, then Model initialization: … ms, Warmup (first): … ms,
                             Overall footprint: … MB (litert/tools/benchmark_litert_model.h)
    with a profile           Timings (microseconds): count=… — sums of operators, and no time of the model

Source: tensorflow/lite/tools/benchmark/benchmark_model.cc and tensorflow/core/util/stats_calculator.h.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"([0-9][0-9.]*(?:e[+-]?[0-9]+)?)"
_COUNT = re.compile(rf"(?<!\): )\bcount={_NUMBER}")  # nor the profiler's "Timings (microseconds): count="
_FIELD = re.compile(rf"\b(curr|avg|min|max|median|p95)={_NUMBER}")
_INIT = re.compile(rf"nference timings in us:.*?\bInit: {_NUMBER}")
_FIRST = re.compile(rf"First inference: {_NUMBER}")
_INIT_MS, _FIRST_MS = (re.compile(rf"{name}: +{_NUMBER} ms") for name in ("Model initialization", r"Warmup \(first\)"))
_MEMORY = re.compile(
    r"(?:(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\):.*?overall="
    rf"|Overall footprint: +){_NUMBER}"
)
_REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")
_REFUSED = re.compile(
    r"Though (\w+) delegate is explicitly applied, the model graph will not be executed"
    r"|(\w+) acceleration is unsupported on this platform"
)
_UNKNOWN = re.compile(r"Unconsumed cmdline flags: (.*)")


@dataclass(frozen=True)
class Report:
    """One run of the tool. Times in microseconds."""

    count: int  # timed invocations
    typical_us: float  # their median where it is printed, else their average
    is_median: bool
    p95_us: float | None
    init_us: float | None
    first_us: float | None
    memory_megabytes: float | None
    delegate: str  # what it says of the delegates that ran; "" where it says nothing
    refused: str = ""  # a delegate that was asked for and took no operator, so that the CPU ran them
    ignored_flags: tuple[str, ...] = ()  # what this version does not know


def parse(text: str) -> Report | None:
    """Return what the tool measured; None where it did not come to its end."""
    counted = [line for line in text.splitlines() if _COUNT.search(line)]
    if not re.search("nference timings in us|Model initialization: ", text) or not counted:
        return None
    line = counted[-1]  # the warm-up comes first
    fields = {name: float(value) for name, value in _FIELD.findall(line)}
    typical = fields.get("median", fields.get("avg", fields.get("curr")))
    count = _COUNT.search(line)
    if typical is None or count is None:
        return None
    return Report(
        count=int(float(count[1])),
        typical_us=typical,
        is_median="median" in fields or "avg" not in fields,
        p95_us=fields.get("p95"),
        init_us=_number(_INIT, text) or _number(_INIT_MS, text, 1000),
        first_us=_number(_FIRST, text) or _number(_FIRST_MS, text, 1000),
        memory_megabytes=_number(_MEMORY, text),
        delegate=_delegate(text),
        refused=next((one or other for one, other in _REFUSED.findall(text)), ""),
        ignored_flags=tuple(re.findall(r"--(\w+)", " ".join(_UNKNOWN.findall(text)))),
    )


def _number(pattern: re.Pattern[str], text: str, unit: float = 1) -> float | None:
    found = pattern.search(text)
    return float(found[1]) * unit if found else None


def _delegate(text: str) -> str:
    """Return the tool's own words: "Replacing 5 out of 7 node(s) with delegate (TfLiteXNNPackDelegate)", shortened."""
    if refused := _REFUSED.search(text):
        return f"{refused[1] or refused[2]} delegate took no operator"
    if replaced := dict.fromkeys(_REPLACED.findall(text)):
        return "; ".join(f"{name}, {part} of {whole} operators" for part, whole, name in replaced)
    if applied := re.search(r"pplied (\w+) delegate, and the model graph will be (\w+) executed", text):
        return f"{applied[1]} delegate, {applied[2]}"
    created = re.search(r"Created TensorFlow Lite (?:delegate for (\w+)|(\w+) delegate)", text)
    return f"{created[1] or created[2]} delegate" if created else ""


def parse_devices(text: str) -> dict[str, str]:
    """Return {serial: state} of what `adb devices` prints, around which older clients tell of their server."""
    rows = [line.split(None, 1) for line in text.partition("List of devices attached")[2].splitlines()]
    return {row[0]: row[1].strip() for row in rows if len(row) == 2 and row[0] != "*"}
