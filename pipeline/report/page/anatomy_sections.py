"""Each part of a build's anatomy as a section; a part that is missing says why."""

from __future__ import annotations

from typing import Any

from pipeline.anatomy.document import Anatomy, Confusion, Curves, Disagreements, Histogram
from pipeline.operator_times import OperatorTimes
from pipeline.report.page.charts.class_balance import class_balance
from pipeline.report.page.charts.confusion import confusion
from pipeline.report.page.charts.coverage import coverage
from pipeline.report.page.charts.curves import curves
from pipeline.report.page.charts.histogram import histogram
from pipeline.report.page.charts.layer_noise import layer_noise
from pipeline.report.page.charts.operator_time import operator_time
from pipeline.report.page.charts.treemap import COLORS, KINDS, treemap
from pipeline.report.page.graph_drawing import graph_svg
from pipeline.report.page.pieces import (
    Chart,
    Charts,
    Drawing,
    Facts,
    Folded,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
)

HISTOGRAMS_OPEN = 12  # more are behind a line to click
LISTED_MAX = 40  # rows of the table beside the treemap
CLASSES_IN_TABLE = 20


def anatomy_sections(anatomy: Anatomy) -> list[Section]:
    """Return the sections in the order in which a build happens."""

    def section(part: str, anchor: str, title: str, lead: str, pieces: list[Any]) -> Section:
        why, note = anatomy.missing.get(part, ""), anatomy.notes.get(part, "")
        pieces = [Text(note), *pieces] if note and pieces else pieces
        return Section(anchor, title, lead, pieces, why or ("" if pieces else "this build has none"))

    calibration = anatomy.calibration
    return [
        section("curves", "training", "Training", "Epoch by epoch, as recorded.", curve_pieces(anatomy.curves)),
        section(
            "confusion",
            "confusion",
            "Confusion",
            "Rows are the true classes of the test split; colour is for errors alone, on one scale for both files.",
            confusion_pieces(anatomy.confusion) if anatomy.confusion else [],
        ),
        section(
            "disagreements",
            "disagreements",
            "Changed answers",
            "Test samples that the float32 file and the file that ships answer differently.",
            disagreement_pieces(anatomy.disagreements) if anatomy.disagreements else [],
        ),
        section(
            "calibration",
            "calibration",
            "Calibration coverage",
            "The band is the range that calibration gave a tensor; the line is what validation samples made of it.",
            coverage_pieces(calibration) if calibration else [],
        ),
        section("bytes", "bytes", "Where the bytes are", "All of the file by tensor and kind.", byte_pieces(anatomy)),
        section(
            "operator_times",
            "time",
            "Where the time is",
            "Whiskers are 95% intervals; grey is within noise.",
            time_pieces(anatomy.operator_times) if anatomy.operator_times else [],
        ),
        section("graph", "graph", "Graph", _graph_lead(anatomy), graph_pieces(anatomy)),
        section(
            "histograms",
            "values",
            "Values and the quantization grid",
            "Counts are drawn by their square root. Upright lines end the grid, short ones below are its values.",
            histogram_pieces(anatomy.histograms),
        ),
        section(
            "layer_noise",
            "noise",
            "Error by layer",
            "Bars are the error that comes in at a layer, ticks all of it from the input on.",
            noise_pieces(anatomy),
        ),
    ]


def curve_pieces(stages: list[Curves]) -> list[Any]:
    """Return a chart for each measure that any stage recorded, train and validation together."""
    named = [name.removeprefix("val_") for stage in stages for name in stage.series]
    charts: list[Chart] = []
    for measure in sorted(dict.fromkeys(named), key=_curve_order):
        rows: list[dict[str, Any]] = []
        starts: list[dict[str, Any]] = []
        epoch = 1
        for stage in stages:
            starts.append({"epoch": epoch, "stage": stage.stage})
            for name, series in ((measure, "training"), (f"val_{measure}", "validation")):
                values = stage.series.get(name, [])
                rows += [
                    {"epoch": epoch + i, "value": value, "series": series, "stage": stage.stage}
                    for i, value in enumerate(values)
                ]
            epoch += max(map(len, stage.series.values()), default=0)
        if len({row["series"] for row in rows}) == 1 and not any(f"val_{measure}" in s.series for s in stages):
            rows = [{**row, "series": measure.replace("_", " ")} for row in rows]
        title = measure.replace("_", " ")
        table = Table(
            ("stage", "series", "epoch", title),
            [(row["stage"], row["series"], str(row["epoch"]), f"{row['value']:.5g}") for row in rows],
            f"{title}, epoch by epoch",
            numbers=frozenset({2, 3}),
        )
        charts.append(
            Chart(
                f"curve-{len(charts)}", title, curves(rows, starts), f"{title} over the epochs of training", table, 220
            )
        )
    return [Charts(charts)] if charts else []


def _curve_order(name: str) -> tuple[int, str]:
    last = {"loss": 0, "sparsity": 2, "learning_rate": 3}
    return last.get(name, 1), name


def confusion_pieces(found: Confusion) -> list[Any]:
    classes = range(len(found.labels))
    both = (found.float_counts, found.file_counts)
    worst = max((counts[i][j] for counts in both for i in classes for j in classes if i != j), default=0)
    charts = []
    for name, title, counts in (("float", "float32", both[0]), ("file", "the file that ships", both[1])):
        errors = sum(counts[i][j] for i in classes for j in classes if i != j)
        table = None
        if len(found.labels) <= CLASSES_IN_TABLE:
            table = Table(
                ("true class", *found.labels),
                [(label, *map(str, counts[i])) for i, label in enumerate(found.labels)],
                f"Confusion matrix of {title}",
                numbers=frozenset(range(1, len(found.labels) + 1)),
            )
        charts.append(
            Chart(
                f"confusion-{name}",
                f"{title}: {errors:,} errors",
                confusion(found.labels, counts, worst),
                f"Confusion matrix of {title} with {errors} errors",
                table,
                340,
            )
        )
    return [Charts(charts)]


def disagreement_pieces(found: Disagreements) -> list[Any]:
    share = (found.lost + found.gained + found.both_wrong) / found.samples if found.samples else 0.0
    facts = Facts(
        [
            ("samples", f"{found.samples:,}"),
            ("changed", f"{found.lost + found.gained + found.both_wrong:,} ({share:.2%})"),
            ("right before, wrong now", f"{found.lost:,}"),
            ("wrong before, right now", f"{found.gained:,}"),
            ("wrong both times", f"{found.both_wrong:,}"),
        ]
    )
    pictures = [
        Picture(one.picture, f"{one.float_answer} → {one.file_answer}", f"truly {one.label}, no. {one.index}")
        for one in found.shown
    ]
    return [facts, *([Pictures(pictures)] if pictures else [])]


def coverage_pieces(found: Any) -> list[Any]:
    table = Table(
        ("tensor", "lowest", "highest", "seen lowest", "seen highest", "clipped"),
        [
            (
                tensor.name,
                *(f"{value:.4g}" for value in (tensor.low, tensor.high, tensor.seen_low, tensor.seen_high)),
                f"{tensor.clipped_share:.3%}",
            )
            for tensor in found.tensors
        ],
        "Calibrated ranges and the values that were seen",
        numbers=frozenset(range(1, 6)),
    )
    pieces: list[Any] = []
    if found.tensors:
        pieces.append(
            Chart(
                "coverage",
                f"Ranges over {found.samples:,} validation samples",
                coverage(found.tensors),
                "Calibrated range of each tensor and the values seen in it",
                table,
                24 * len(found.tensors) + 50,
            )
        )
    if found.classes:
        classes = Table(
            ("class", "samples"),
            [(name, str(count)) for name, count in found.classes.items()],
            "Calibration samples of each class",
            numbers=frozenset({1}),
        )
        pieces.append(
            Chart(
                "class-balance",
                "Calibration samples of each class",
                class_balance(found.classes),
                "Calibration samples of each class",
                classes,
                180,
            )
        )
    return pieces


def byte_pieces(anatomy: Anatomy) -> list[Any]:
    pieces = sorted(anatomy.bytes, key=lambda piece: -piece.bytes)
    if not pieces:
        return []
    total = sum(piece.bytes for piece in pieces)
    kinds = {kind: size for kind in KINDS if (size := sum(piece.bytes for piece in pieces if piece.kind == kind))}
    rest = pieces[LISTED_MAX:]
    rows: list[tuple[str, ...]] = [
        (p.name, p.layer, p.kind, f"{p.bytes:,}", f"{p.bytes / total:.1%}") for p in pieces[:LISTED_MAX]
    ]
    if rest:
        size = sum(piece.bytes for piece in rest)
        rows.append((f"{len(rest)} smaller ones", "", "", f"{size:,}", f"{size / total:.1%}"))
    table = Table(("tensor", "layer", "kind", "bytes", "share"), rows, "Bytes by tensor", numbers=frozenset({3, 4}))
    by_kind = Facts(
        [(kind, f"{size:,} B · {size / total:.1%}") for kind, size in kinds.items()],
        colors=[COLORS[kind] for kind in kinds],
    )
    return [
        by_kind,
        Chart("treemap", f"{total:,} bytes", treemap(pieces), f"Treemap of the file's {total} bytes", table, 300),
    ]


def time_pieces(times: OperatorTimes) -> list[Any]:
    table = Table(
        ("operator", "output", "µs", "95% interval", "share", "computed by"),
        [
            (
                f"{one.first + 1}. {one.name}",
                "×".join(map(str, one.output_shape)),
                f"{one.microseconds.value:.2f}",
                f"{one.microseconds.low:.2f} – {one.microseconds.high:.2f}",
                "within noise" if one.within_noise else f"{one.share:.1%}",
                one.kernels,
            )
            for one in times.operators
        ],
        "Estimated time of each operator, the longest first",
        numbers=frozenset({2, 3, 4}),
    )
    return [
        Chart(
            "operator-time",
            f"The whole file takes {times.whole_us.value:.1f} µs",
            operator_time(times),
            "Estimated time of each operator in microseconds",
            table,
            24 * (len(times.operators) + 1) + 50,
        ),
        Text(times.note[:1].upper() + times.note[1:] + "."),
    ]


def _graph_lead(anatomy: Anatomy) -> str:
    floats = [node for node in anatomy.graph if node.float_leftover]
    if not anatomy.graph:
        return ""
    if floats:
        return f"Float leftovers, {len(floats)}: red, in a double frame, marked FLOAT. The file is not full-integer."
    return "Operators in order of execution with shape and number formats. No float leftovers."


def graph_pieces(anatomy: Anatomy) -> list[Any]:
    if not anatomy.graph:
        return []
    rows = [
        (
            f"{position}. {node.name}",
            node.layer,
            "×".join(map(str, node.shape)),
            ", ".join(node.dtypes),
            node.weight_dtype or "—",
            "float leftover" if node.float_leftover else "float" if node.computes_in_float else "",
            ", ".join(map(str, node.follows)),
        )
        for position, node in enumerate(anatomy.graph)
    ]
    columns = ("operator", "layer", "output", "formats", "weights", "float", "follows")
    table = Table(columns, rows, "Operators in order of execution")
    return [Drawing(graph_svg(anatomy.graph), "Graph of the model"), Folded("The graph as a table", [table])]


def histogram_pieces(histograms: list[Histogram]) -> list[Any]:
    charts = [_histogram_chart(one, f"histogram-{position}") for position, one in enumerate(histograms)]
    first, rest = charts[:HISTOGRAMS_OPEN], charts[HISTOGRAMS_OPEN:]
    more = [Folded(f"{len(rest)} more", [Charts(rest)])] if rest else []
    return [*([Charts(first)] if first else []), *more]


def _histogram_chart(one: Histogram, name: str) -> Chart:
    grid = "float: no grid"
    if one.grid_low is not None and one.grid_high is not None and one.grid_step:
        values = round((one.grid_high - one.grid_low) / one.grid_step) + 1
        grid = f"{values:,} values, {one.grid_step:.3g} apart, {one.grid_low:.3g} to {one.grid_high:.3g}"
    title = f"{one.name}, {one.kind}"
    bins = zip(one.edges, one.edges[1:], one.counts, strict=False)
    table = Table(
        ("from", "to", "values"),
        [(f"{low:.4g}", f"{high:.4g}", f"{count:,}") for low, high, count in bins],
        f"Values of {title}",
        numbers=frozenset({0, 1, 2}),
    )
    return Chart(name, title, histogram(one), f"Histogram of {title}; {grid}", table, 170, grid)


def noise_pieces(anatomy: Anatomy) -> list[Any]:
    layers = anatomy.layer_noise
    if not layers:
        return []
    table = Table(
        ("layer", "operator", "own noise", "noise", "signal to noise"),
        [
            (
                one.layer,
                one.operator,
                f"{one.own_noise:.4%}",
                f"{one.noise:.4%}",
                "exact" if one.sqnr_db is None else f"{one.sqnr_db:.1f} dB",
            )
            for one in layers
        ],
        "Error of each layer, the worst first",
        numbers=frozenset({2, 3, 4}),
    )
    return [Chart("layer-noise", "Noise by layer", layer_noise(layers), "Error by layer", table, 24 * len(layers) + 50)]
