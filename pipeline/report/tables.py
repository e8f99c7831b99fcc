"""Documents as text for a person: what the tasks print on stdout without `--json`."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape

from pipeline.learning_task import in_words
from pipeline.report.device import device_lines, number
from pipeline.report.folding_table import table_of
from pipeline.report.sparkline import levels_of_stdout, sparkline
from pipeline.report.terminal import duration

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "not applicable": "dim"}


def print_build(document: Any) -> None:
    """Print the budget table, the file's numbers and the verdict of a BuildDocument."""
    console = console_on_stdout()
    train = next((stage for stage in document.stages if "summary" in stage.facts), None)
    if train and train.state == "made":
        console.print("\n".join(train.facts["summary"]), markup=False, highlight=False)
    print_budgets(console, document.verdicts)
    files = (stage.facts["file"] for stage in document.stages if "file" in stage.facts)
    file = next(file for file in files if file["sha256"] == document.sha256)
    latency = document.latency
    evaluation = next(stage.facts for stage in document.stages if stage.name == "evaluate")
    shown = ", ".join(
        f"{item['label']}→{item['predicted']}" + (f" {item['confidence']:.0%}" if item["confidence"] else "")
        for item in evaluation["predictions"][:5]
    )

    def score(scores: dict[str, float]) -> str:
        return in_words(document.metric, scores[document.metric])

    lines = [
        f"file        {document.artifact}",
        f"size        {document.size_bytes:,} bytes, {document.deflated_bytes:,} deflated; "
        f"{file['zero_fraction']:.1%} of the kernels' weights are zero",
        f"{document.metric:<11} {score(document.scores)} on the test split; float32 file "
        f"{score(document.baseline_scores)}; validation {score(document.validation_scores)}",
        *device_lines(latency, document.device),
        f"predictions {shown} (label→predicted, the first test samples)",
    ]
    console.print("\n".join(lines), markup=False, highlight=False)
    print_verdict(console, document.verdict, f"{document.workload} for {document.target}")


def print_builds(document: Any) -> None:
    """Print each build of a BuildsDocument, and the verdict of each again at the end."""
    for build in document.builds:
        print_build(build)
    console = console_on_stdout()
    for build in document.builds:
        print_verdict(console, build.verdict, f"{build.workload} for {build.target}, runner {build.device.runner}")


def print_inspection(document: Any) -> None:
    """Print an InspectDocument: totals, inputs and outputs, operators."""
    console, found = console_on_stdout(), document.inspection
    lines = [
        f"{document.path}: {found.size_bytes:,} bytes, {found.deflated_bytes:,} deflated, "
        f"{found.weight_bytes:,} of weights",
        f"{found.parameters:,} parameters, {found.multiply_accumulates:,} multiply-accumulates, "
        f"{found.zero_fraction:.1%} of the kernels' weights are zero, "
        f"at least {found.peak_activation_bytes:,} bytes of activations",
    ]
    for kind, tensors in (("input", found.inputs), ("output", found.outputs)):
        lines += [f"{kind:<7} {tensor.dtype} {list(tensor.shape)} {tensor.name}" for tensor in tensors]
    leftovers = document.float_leftovers
    lines.append("full-integer: " + ("yes" if not leftovers else f"no: {'; '.join(leftovers[:8])}"))
    console.print("\n".join(lines), markup=False, highlight=False)
    table = table_of("#", "operator", "inputs", "outputs", "number formats", "multiply-accumulates")
    for operator in found.operators:
        table.add_row(
            str(operator.index),
            operator.name,
            " ".join(map(_shape, operator.input_shapes)),
            " ".join(map(_shape, operator.output_shapes)),
            escape(" ".join(operator.dtypes)),
            f"{operator.multiply_accumulates:,}" if operator.multiply_accumulates else "",
        )
    console.print(table)


def print_stages(document: Any) -> None:
    """Print a StageDocument or ConvertDocument: its stages, and where the output is."""
    console = console_on_stdout()
    last = document.stages[-1]
    lines = [*last.facts["summary"]] if "summary" in last.facts else []
    for stage in document.stages:
        history = stage.facts.get("history", {}).get("val_accuracy")
        accuracy = f", validation accuracy of the Keras model {history[-1]:.2%}" if history else ""
        made = "from the store" if stage.state == "hit" else f"made in {duration(stage.seconds)}"
        lines.append(f"{stage.name:<12}{made}{accuracy}")
    if hasattr(document, "artifact"):
        lines.append(f"file        {document.artifact}, {document.size_bytes:,} bytes, verified, not yet measured")
    lines.append(f"output      {document.output}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def print_prediction(document: Any) -> None:
    """Print a PredictDocument: the class and how sure the file is."""
    sure = "" if document.confidence is None else f"  {document.confidence:.1%}"
    console_on_stdout().print(f"{document.predicted}{sure}", markup=False, highlight=False)


def print_sensitivity(document: Any) -> None:
    """Print a SensitivityDocument: layers, files, calibration sizes, and the recipe that mends the worst."""
    console, mended = console_on_stdout(), any(row.mended_own_noise is not None for row in document.layers)
    title = f"{document.workload} for {document.target}: {document.step} {document.scheme} against float32"
    console.print(f"{title}, {document.samples} calibration samples", markup=False, highlight=False)
    more = ("mended: own", "mended: SQNR") if mended else ()
    table = table_of("layer", "operator", "weights", "own noise", "SQNR", "keep as", *more)
    for row in document.layers:
        after = (_share(row.mended_own_noise), _decibel(row.mended_sqnr_db)) if mended else ()
        cells = (row.operator, row.weights or "", _share(row.own_noise), _decibel(row.sqnr_db), row.wider or "")
        table.add_row(escape(row.layer), *cells, *after)
    console.print(table)
    qualities = [*document.files, *(size.quality for size in document.calibration_sizes)]
    table = table_of("file", "bytes", f"validation {document.metric}", "agrees with float32", "SQNR of the output")
    for quality in qualities:
        shares = (in_words(document.metric, quality.validation_score), f"{quality.agreement:.2%}")
        table.add_row(quality.name, f"{quality.size_bytes:,}", *shares, _decibel(quality.output_sqnr_db))
    console.print(table)
    if document.calibration_sizes:
        layers = list(document.calibration_sizes[0].layers)
        table = table_of("calibration samples", *(f"SQNR of {escape(layer)}" for layer in layers))
        for size in document.calibration_sizes:
            table.add_row(str(size.samples), *(_decibel(size.layers[layer]) for layer in layers))
        console.print(table)
    if document.recipe:
        console.print(f"recipe that keeps the worst layers wider ({document.folder}/sensitivity.toml):")
        console.print(document.recipe, markup=False, highlight=False, soft_wrap=True)
    else:
        console.print("no layer of this scheme can be kept wider", highlight=False)


def print_clean(document: Any) -> None:
    """Print a CleanDocument."""
    for path in document.removed:
        print(path)
    print(f"{document.freed_bytes:,} bytes")


def print_targets(document: Any) -> None:
    """Print a TargetsDocument as a table."""
    levels = levels_of_stdout()
    table = table_of("target", "runner", "recipe", "budgets", "last verdict", "last builds", "description")
    for row in document.targets:
        budgets = {name: limit for name, limit in row.budgets.model_dump().items() if limit is not None}
        table.add_row(
            row.name,
            row.runner,
            " → ".join(row.recipe),
            "\n".join(f"{name} {number(limit)}" for name, limit in budgets.items()),
            "\n".join(f"{workload}: {verdict}" for workload, verdict in row.last.items()) or "not built",
            "\n".join(sparkline(scores, levels) for scores in row.trend.values()),
            escape(row.error or row.description),
        )
    console_on_stdout().print(table)


def print_store(document: Any) -> None:
    """Print a StoreDocument as a table and a line of what was done."""
    console = console_on_stdout()
    table = table_of("key", "step", "workload", "bytes", "made", "damage")
    for entry in document.entries:
        table.add_row(
            entry.key[:12],
            entry.step,
            entry.workload,
            f"{entry.size_bytes:,}",
            entry.made_at,
            escape(entry.damage),
        )
    console.print(table)
    damaged = sum(bool(entry.damage) for entry in document.entries)
    done = {
        "list": f"{len(document.entries)} entries, {sum(entry.size_bytes for entry in document.entries):,} bytes",
        "verify": f"{len(document.entries)} entries read, {damaged} damaged",
        "gc": f"{len(document.removed)} entries removed, {document.freed_bytes:,} bytes freed",
    }[document.action]
    console.print(done, highlight=False)


class _Console(Console):
    """Without colours and bold type where NO_COLOR is set; a reader that went away is the caller's business."""

    def __init__(self) -> None:
        # A line that is searched or kept is not cut at 80 columns; a dumb terminal has a width as well.
        width, height = shutil.get_terminal_size() if sys.stdout.isatty() else (160, 40)
        super().__init__(color_system=None if "NO_COLOR" in os.environ else "auto", width=width, height=height)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console_on_stdout() -> Console:
    return _Console()


def print_budgets(console: Console, verdicts: list[Any]) -> None:
    """Print what passed and by how much, and below it why a limit decides nothing."""
    table = table_of("budget", "limit", "measured", "margin", "verdict")
    for verdict in verdicts:
        interval = f" ({number(verdict.interval[0])}–{number(verdict.interval[1])})" if verdict.interval else ""
        table.add_row(
            verdict.metric,
            number(verdict.limit),
            "" if verdict.measured is None else number(verdict.measured) + interval,
            _margin(verdict),
            f"[{COLOURS[verdict.verdict]}]{verdict.verdict}[/]",
        )
    console.print(table)
    for verdict in verdicts:
        if verdict.note:
            console.print(f"{verdict.metric}: {verdict.note}", style="dim", markup=False, highlight=False)


def print_figures(console: Any, rows: list[Any]) -> None:
    """Print what the target's device told of each file, where it tells anything."""
    columns = {name: figure for row in reversed(rows) for name, figure in row.figures.items()}
    if not columns:
        return
    kinds = {True: " (estimate)", False: ""}
    table = table_of("  on the device", *(f"{name}{kinds[figure.estimated]}" for name, figure in columns.items()))
    for row in rows:
        cells = (number(row.figures[name].value) if name in row.figures else "" for name in columns)
        table.add_row(f"   {row.name}", *cells)
    console.print(table)


def _margin(verdict: Any) -> str:
    """How far the measured value is from the limit, as a share of the limit: + is room, − is over."""
    if verdict.measured is None or not verdict.limit:
        return ""
    room = (verdict.limit - verdict.measured) / verdict.limit
    margin = -room if verdict.metric.endswith("_min") else room
    return f"{margin + 0.0:+.1%}"  # + 0.0 turns −0 into 0


def print_verdict(console: Console, verdict: str, what: str) -> None:
    console.print(f"[{COLOURS[verdict]}]{verdict}[/]: {escape(what)}", highlight=False)


def _share(noise: float | None) -> str:
    return "" if noise is None else f"{noise:.4%}"


def _decibel(sqnr: float | None) -> str:
    return "exact" if sqnr is None else f"{sqnr:.1f} dB"


def _shape(shape: Any) -> str:
    return "×".join(map(str, shape)) or "scalar"
