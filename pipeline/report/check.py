"""What was found about a model before it is built, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from pipeline.report.folding_table import table_of
from pipeline.report.tables import COLOURS, console_on_stdout

if TYPE_CHECKING:
    from pipeline.check_document import LayerCheck
    from pipeline.documents import CheckDocument


def print_check(document: CheckDocument) -> None:
    """Print a CheckDocument: what the model is, its layers, what was found, and each target."""
    console = console_on_stdout()
    shapes = ", ".join("×".join("?" if size is None else str(size) for size in shape) for shape in document.inputs)
    parameters = "unknown parameters" if document.parameters is None else f"{document.parameters:,} parameters"
    lines = [f"{document.model}: {document.kind}, input {shapes or 'unknown'}, {parameters}"]
    if document.size_bytes is not None:
        lines.append(f"file       {document.size_bytes:,} bytes")
    if sizes := document.estimates:
        lines.append(
            f"estimates  float32 {sizes.float32_bytes:,} bytes, float16 {sizes.float16_bytes:,}, "
            f"int8 {sizes.int8_bytes:,}: weights alone"
        )
    lines.append(f"operators  {', '.join(document.operators) or 'unknown'}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    _print_layers(document)
    for finding in document.findings:
        console.print(f"{finding.severity}: {finding.text}", markup=False, highlight=False, soft_wrap=True)
    shared = [finding.text for finding in document.findings]  # said above, once
    table = table_of("target", "runner", "possible", "in the way", "to know")
    for row in document.targets:
        word = "pass" if row.possible else "fail"
        table.add_row(
            row.target,
            row.runner,
            f"[{COLOURS[word]}]{'yes' if row.possible else 'no'}[/]",
            escape("\n".join(text for text in row.obstacles if text not in shared)),
            escape("\n".join(row.warnings)),
        )
    console.print(table)


def _print_layers(document: CheckDocument) -> None:
    """Print the layers that something is in the way of, those of one kind with the same reasons in one row."""
    console = console_on_stdout()
    rows: dict[tuple[str, str], list[LayerCheck]] = {}
    for layer in document.layers:
        if reasons := _reasons(layer):
            rows.setdefault((layer.kind, reasons), []).append(layer)
    if not rows and document.layers:
        text = f"layers     {len(document.layers)}: none is in the way of pruning, clustering or quantizing"
        console.print(text, highlight=False)
    if not rows:
        return
    table = table_of("layer", "kind", "parameters", "in the way")
    for (kind, reasons), layers in rows.items():
        names = layers[0].name + (f" and {len(layers) - 1} more" if len(layers) > 1 else "")
        known = [layer.parameters for layer in layers if layer.parameters is not None]
        table.add_row(escape(names), escape(kind), f"{sum(known):,}" if known else "", escape(reasons))
    console.print(table)


def _reasons(layer: LayerCheck) -> str:
    """Return a line a reason, with the steps that it concerns."""
    steps: dict[str, list[str]] = {}
    for step, reason in (
        ("prune", layer.not_pruned),
        ("cluster", layer.not_clustered),
        ("quantize_aware", layer.not_quantize_aware),
        ("int8", layer.not_int8),
    ):
        if reason:
            steps.setdefault(reason, []).append(step)
    return "\n".join(f"{', '.join(names)}: {reason}" for reason, names in steps.items())
