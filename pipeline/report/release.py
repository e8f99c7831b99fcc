"""A release in the terminal: what is in it, what was not measured on its device, and what comes next."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from pipeline.learning_task import in_words
from pipeline.release.documents import FetchDocument, ReleaseDocument, VerifyReleaseDocument
from pipeline.release.manifest import ReleasedTarget
from pipeline.report.folding_table import table_of
from pipeline.report.tables import console_on_stdout


def print_release(document: ReleaseDocument, console: Console | None = None) -> None:
    """Print a ReleaseDocument."""
    console = console or console_on_stdout()
    manifest = document.manifest
    table = table_of("target", "file", "size", manifest.targets[0].metric, "verdict")
    for target in manifest.targets:
        score = in_words(target.metric, target.scores[target.metric])
        table.add_row(target.target, target.model, f"{target.size_bytes:,}", score, target.verdict)
    console.print(table)
    for target in manifest.targets:
        for line in remarks(target):
            console.print(Text(f"{target.target}: {line}"))
    if manifest.allowed_regression:
        console.print(Text(f"worse than {manifest.previous}, allowed: {manifest.allowed_regression}"))
    console.print(Text(f"folder    {document.folder}"))
    console.print(Text(f"identity  {document.sha256sums} (SHA-256 of SHA256SUMS)"))
    console.print(Text(f"{document.state}: {manifest.version}" + (f" at {document.to}" if document.to else "")))


def remarks(target: ReleasedTarget) -> list[str]:
    """Return what a reader must know of a target's verdicts."""
    said = []
    if target.not_measured_on_device:
        said.append(f"not measured on device: {', '.join(target.not_measured_on_device)} (on {target.measured_on})")
    for verdict in target.verdicts:
        if verdict.verdict == "inconclusive":
            said.append(f"inconclusive: {verdict.metric} {verdict.note}".strip())
    return said


def print_fetched(document: FetchDocument) -> None:
    """Print a FetchDocument: the model's path last, so that it is easy to find."""
    console = console_on_stdout()
    console.print(Text(f"release    {document.version} of {document.source}"))
    console.print(Text(f"signature  {document.signature}"))
    console.print(Text(f"files      {len(document.files)}, {len(document.fetched)} of them fetched now"))
    console.print(Text(f"model      {document.model}"))


def print_verified(document: VerifyReleaseDocument) -> None:
    """Print a VerifyReleaseDocument, a line for each check."""
    console = console_on_stdout()
    for check in document.checks:
        console.print(Text(f"{check.name:<12}{check.detail}"))
    for one in document.remeasured:
        measured = in_words(one.metric, one.measured[one.metric])
        published = in_words(one.metric, one.published[one.metric])
        word = "as published" if one.agrees else f"published: {published}"
        console.print(Text(f"{one.target}: {one.metric} {measured} of {one.samples:,} test samples, {word}"))
    if not document.remeasured:
        console.print(Text("the files were not run again (--quick)"))
    console.print(Text(f"{document.verdict}: {document.version} of {document.source}"))
