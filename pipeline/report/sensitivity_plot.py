"""The layers' errors as a picture, PNG and SVG: what each adds, and what the output has by calibration size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LAYERS_MAX = 30  # more bars would not be read
KEPT_WIDER, AS_IT_IS, MENDED = "#c44e52", "#4c72b0", "#dd8452"


def draw(document: Any, folder: Path) -> None:
    """Write `sensitivity.png` and `.svg` of a SensitivityDocument."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = [row for row in document.layers if row.own_noise > 0 or row.weights][:LAYERS_MAX]
    sizes = document.calibration_sizes
    figure = Figure(figsize=(8, 1.8 + 0.32 * len(rows) + (3 if sizes else 0)), layout="constrained")
    ratios = [1.2 + 0.32 * len(rows), *([3] if sizes else [])]
    axes = figure.subplots(len(ratios), 1, squeeze=False, gridspec_kw={"height_ratios": ratios})[:, 0]
    _draw_layers(axes[0], document, rows)
    if sizes:
        _draw_sizes(axes[1], sizes)
    # Equal documents give equal bytes: no date, and identifiers that are not drawn at random. Text stays text.
    with matplotlib.rc_context({"svg.hashsalt": "sensitivity", "svg.fonttype": "none"}):
        figure.savefig(folder / "sensitivity.png", dpi=150, metadata={"Software": None})
        figure.savefig(folder / "sensitivity.svg", metadata={"Date": None})


def _draw_layers(axes: Any, document: Any, rows: list[Any]) -> None:
    mended = any(row.mended_own_noise is not None for row in rows)
    from matplotlib.patches import Patch

    height, places = 0.38 if mended else 0.7, range(len(rows))
    kept = [KEPT_WIDER if row.wider else AS_IT_IS for row in rows]
    shift = height / 2 if mended else 0
    added = [100 * row.own_noise for row in rows]
    axes.barh([place - shift for place in places], added, height, color=kept)
    if mended:
        after = [100 * (row.mended_own_noise or 0) for row in rows]
        axes.barh([place + shift for place in places], after, height, color=MENDED)
    labels = [f"{row.layer} ({row.weights or row.operator})" for row in rows]
    axes.set_yticks(list(places), labels)
    axes.invert_yaxis()
    axes.set_xlabel("own noise, % of the power of the layer's output")
    axes.set_title(f"{document.workload} for {document.target}: {document.step} {document.scheme} against float32")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [
        Patch(color=colour, label=label)
        for colour, label, shown in (
            (KEPT_WIDER, "kept wider by the mended recipe", any(row.wider for row in rows)),
            (AS_IT_IS, "as it is", any(not row.wider for row in rows)),
            (MENDED, "in the mended file", mended),
        )
        if shown
    ]
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)


def _draw_sizes(axes: Any, sizes: list[Any]) -> None:
    samples = [size.samples for size in sizes]
    for layer in sizes[0].layers:
        values = [float("nan") if size.layers[layer] is None else size.layers[layer] for size in sizes]
        axes.plot(samples, values, marker="o", label=layer)
    axes.set_xscale("log")
    axes.set_xticks(samples, [f"{size.samples}\n{size.quality.agreement:.2%}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("calibration samples, and share of validation answered as float32 does")
    axes.set_ylabel("SQNR, dB")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
