"""What `invoke new` wrote, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from pipeline.documents import NewDocument

SHOWN = 8  # labels


def print_new(document: NewDocument) -> None:
    """Print what was found in the data, the two files, and the next command."""
    console = Console(highlight=False, soft_wrap=True)
    more = f", … {len(document.labels)} in all" if len(document.labels) > SHOWN else ""
    labels = ", ".join(document.labels[:SHOWN]) + more
    shape = "×".join(map(str, document.input_shape))
    console.print(escape(f"{document.kind} {document.data}: {document.task} of {labels}"))
    console.print(escape(f"{document.training_samples} training samples of {shape}; model {document.model}"))
    console.print(escape(f"wrote {document.workload} and {document.target}"))
    console.print(escape(f"next: {document.next}"))
