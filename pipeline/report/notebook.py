"""Documents as HTML for a notebook's cell: what Jupyter shows in place of a result's repr.

Colours are those of the page around, so that light and dark notebooks show them alike; whatever comes from files
and names is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.report.device import device_lines, number

if TYPE_CHECKING:
    from pipeline.documents import (
        BenchDocument,
        BenchResult,
        BuildDocument,
        BuildsDocument,
        CompareDocument,
        InspectDocument,
    )

_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "not applicable": "–"}
_TABLE = "border-collapse:collapse;font-size:90%;color:inherit"  # quirky pages give tables a colour of their own
_CELL = "text-align:left;padding:2px 10px;border-bottom:1px solid rgba(127,127,127,.4)"


def html_of(document: Any) -> str | None:
    """Return a document's HTML, or None for one that has no view of its own."""
    view = _VIEWS.get(type(document).__name__)
    return None if view is None else f'<div style="max-width:100%;overflow-x:auto">{view(document)}</div>'


def _build(document: BuildDocument) -> str:
    lines = [
        f"file {document.artifact}",
        f"SHA-256 {document.sha256}",
        f"size {document.size_bytes:,} bytes, {document.deflated_bytes:,} deflated",
        *(
            f"{name} {value:.4g} on the test split" + _baseline(document, name)
            for name, value in document.scores.items()
        ),
        *device_lines(document.latency, document.device),
    ]
    title = f"{document.verdict}: {document.workload} for {document.target}"
    stages = [[stage.name, stage.state, f"{stage.seconds:.1f}", stage.key[:12]] for stage in document.stages]
    stages_table = _table(["stage", "state", "seconds", "key"], stages)
    return (
        _title(document.verdict, title)
        + _budgets(document.verdicts)
        + _lines(lines)
        + f"<details><summary>{len(stages)} stages</summary>{stages_table}</details>"
    )


def _baseline(document: BuildDocument, name: str) -> str:
    value = document.baseline_scores.get(name)
    return "" if value is None else f"; float32 file {value:.4g}"


def _builds(document: BuildsDocument) -> str:
    return "".join(map(_build, document.builds))


def _bench(document: BenchDocument) -> str:
    return "".join(map(_bench_result, document.results))


def _bench_result(result: BenchResult) -> str:
    title = f"{result.verdict}: {result.workload} for {result.target}" if result.target else result.model
    budgets = _budgets(result.verdicts) if result.verdicts else ""
    return _title(result.verdict, title) + budgets + _lines(device_lines(result.latency, result.device))


def _compare(document: CompareDocument) -> str:
    heads = ["technique", "bytes", "deflated", "validation", "test", "p50 µs (95%)", "budgets", "why"]
    rows = [
        [
            ("★ " if row.name == document.choice else "") + row.name + (" ◆" if row.on_front else ""),
            f"{row.size_bytes:,}",
            f"{row.deflated_bytes:,}",
            f"{row.validation.accuracy:.2%} ({row.validation.interval[0]:.2%}–{row.validation.interval[1]:.2%})",
            f"{row.test.accuracy:.2%}",
            f"{row.latency.p50_us:.1f} ({row.latency.p50_us_interval[0]:.1f}–{row.latency.p50_us_interval[1]:.1f})",
            row.verdict,
            "; ".join(row.reasons),
        ]
        for row in document.candidates
    ]
    rows += [[one.name, *[""] * 5, "left out", f"{one.message}; {one.received}"] for one in document.excluded]
    choice = f"the choice is {document.choice}" if document.choice else "no technique fits"
    title = f"{document.workload} for {document.target}: {choice}"
    return (
        _title(document.verdict, title)
        + _table(heads, rows)
        + _lines(["★ the choice, ◆ on the Pareto front of bytes, p50 and validation accuracy"])
    )


def _inspect(document: InspectDocument) -> str:
    found, leftovers = document.inspection, document.float_leftovers
    tensors = [
        [kind, tensor.name, tensor.dtype, "×".join(map(str, tensor.shape))]
        for kind, some in (("input", found.inputs), ("output", found.outputs))
        for tensor in some
    ]
    operators = [
        [str(one.index), one.name, " ".join(one.dtypes), f"{one.multiply_accumulates:,}"] for one in found.operators
    ]
    lines = [
        f"SHA-256 {found.sha256}",
        f"{found.size_bytes:,} bytes, {found.deflated_bytes:,} deflated, {found.weight_bytes:,} of weights",
        f"{found.parameters:,} parameters, {found.multiply_accumulates:,} multiply-accumulates, "
        f"{found.zero_fraction:.1%} of the kernels' weights are zero",
        "full-integer: " + (f"no: {'; '.join(leftovers[:8])}" if leftovers else "yes"),
    ]
    return (
        _title("", document.path)
        + _lines(lines)
        + _table(["", "name", "dtype", "shape"], tensors)
        + f"<details><summary>{len(operators)} operators</summary>"
        + _table(["#", "operator", "number formats", "multiply-accumulates"], operators)
        + "</details>"
    )


_VIEWS: dict[str, Callable[[Any], str]] = {
    "BuildDocument": _build,
    "BuildsDocument": _builds,
    "BenchDocument": _bench,
    "CompareDocument": _compare,
    "InspectDocument": _inspect,
}


def _title(verdict: str, text: str) -> str:
    marked = f"{_MARKS.get(verdict, '')} {text}".strip()
    return f"<p><strong>{_safe(marked)}</strong></p>"


def _budgets(verdicts: Sequence[Any]) -> str:
    rows = [
        [
            one.metric,
            number(one.limit),
            "" if one.measured is None else number(one.measured),
            "–".join(map(number, one.interval or ())),
            f"{_MARKS[one.verdict]} {one.verdict}",
            one.note,
        ]
        for one in verdicts
    ]
    return _table(["budget", "limit", "measured", "95% interval", "verdict", "note"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col" style="{_CELL}">{_safe(text)}</th>' for text in heads)
    lines = ["".join(f'<td style="{_CELL}">{_safe(cell)}</td>' for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _lines(texts: Sequence[str]) -> str:
    return "<p>" + "<br>".join(map(_safe, texts)) + "</p>"


def _safe(text: str) -> str:
    return html.escape(text).encode(errors="replace").decode()
