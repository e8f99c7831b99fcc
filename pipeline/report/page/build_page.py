"""The page of one build: its budgets, then every part of its anatomy, then where it comes from."""

from __future__ import annotations

from typing import Any

from pipeline.anatomy.document import Anatomy
from pipeline.documents import BuildDocument
from pipeline.learning_task import in_words
from pipeline.report.device import device_lines, number
from pipeline.report.page.anatomy_sections import anatomy_sections
from pipeline.report.page.measured import budget_pieces, words
from pipeline.report.page.pieces import Facts, Folded, Link, Page, Section, Table


def build_page(build: BuildDocument, anatomy: Anatomy, links: list[Link] | None = None) -> Page:
    """Return the page; what the anatomy lacks is named with its reason."""
    sections = [
        Section(
            "budgets",
            "Budgets",
            "Measured on the file that ships. A bar that ends before the line keeps its limit.",
            budget_pieces(build.verdicts, "build"),
            "" if build.verdicts else "the target has no budgets",
        ),
        *anatomy_sections(anatomy),
        Section("provenance", "Provenance", "What the file was made from.", provenance(build)),
    ]
    return Page(
        title=f"{build.workload} for {build.target}",
        eyebrow="build report",
        verdict=build.verdict,
        words=words(build.verdict, build.verdicts),
        sections=sections,
        figures=figures(build),
        links=links or [],
        missing=anatomy.missing,
    )


def figures(build: BuildDocument) -> list[tuple[str, str, str]]:
    """Return the few numbers at the top: name, value, detail."""
    found = [("size", f"{build.size_bytes:,} B", f"{build.deflated_bytes:,} B deflated")]
    if build.metric in build.scores:
        before = build.baseline_scores.get(build.metric)
        span = [in_words(build.metric, end) for end in build.score_intervals.get(build.metric, ())]
        detail = (" – ".join(span) + " on the " if span else "") + "test split"
        detail += f", float32 {in_words(build.metric, before)}" if before is not None else ""
        found.append((build.metric.replace("_", " "), in_words(build.metric, build.scores[build.metric]), detail))
    if latency := build.latency:
        (low, high), on = latency.p50_us_interval, latency.device.name
        found.append(("median latency", f"{latency.p50_us:,.1f} µs", f"{low:,.1f} – {high:,.1f} on {on}"))
        if latency.speedup:
            found.append(("speed-up", f"{latency.speedup.value:.2f}×", "over the float32 file"))
    if build.device.memory_bytes:
        found.append(
            ("memory", f"{build.device.memory_bytes.value / 1e6:,.2f} MB", "over the process without the file")
        )
    return found


def provenance(build: BuildDocument) -> list[Any]:
    """Return stages with keys, hits and seconds; versions; hashes; the device."""
    stages = Table(
        ("stage", "state", "seconds", "key"),
        [(stage.name, stage.state, f"{stage.seconds:,.1f}", stage.key) for stage in build.stages],
        "Stages in the order of the plan: hit is from the store, made is by this build; seconds are of the making",
        numbers=frozenset({2}),
        codes=frozenset({3}),
    )
    hashes = [("file", build.sha256), *build.device.files.items()]
    if build.calibration:
        hashes.append((f"{build.calibration.samples} calibration samples", build.calibration.sha256))
    made = [
        ("artifact", build.artifact),
        ("seed", str(build.seed)),
        ("workload", build.workload_file or build.workload),
        ("measured at", build.device.measured_at + (" (reused)" if build.device.reused else "")),
        *(
            (name, f"{number(one.value)}{' (estimate)' if one.estimated else ''}")
            for name, one in build.device.figures.items()
        ),
    ]
    lines = [line.partition(" ") for line in device_lines(build.latency, build.device)]
    return [
        stages,
        Facts(made),
        Folded("Device and conditions of the measurement", [Facts([(name, rest.strip()) for name, _, rest in lines])]),
        Folded("SHA-256", [Facts(hashes, codes=True)]),
        Folded("Versions", [Facts(list(build.versions.items()))]),
    ]
