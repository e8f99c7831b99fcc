"""The README's table of tasks, made of the tasks' own words: `python -m pipeline.report.task_table README.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from invoke import Collection

BEGIN, END = "<!-- tasks: made by python -m pipeline.report.task_table -->", "<!-- end of tasks -->"


def task_table(collection: Collection) -> str:
    """Return a Markdown table: every task's name, what it does, and its example."""
    rows = ["| task | what it does | for example |", "| --- | --- | --- |"]
    for name in sorted(collection.task_names):
        summary, example = words_of(collection, name)
        rows.append(f"| `{name}` | {summary} | `{example}` |")
    return "\n".join(rows)


def words_of(collection: Collection, name: str) -> tuple[str, str]:
    """Return a task's first sentence, and the command line of its example; empty where it has none."""
    paragraphs = (collection[name].__doc__ or "").strip().split("\n\n")
    example = next((part.strip() for part in paragraphs if part.strip().startswith("Example: ")), "")
    return " ".join(paragraphs[0].split()), example.removeprefix("Example: ")


def with_table(text: str, collection: Collection) -> str:
    """Return a page with the table between its markers made anew. Raises ValueError where the markers are missing."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{task_table(collection)}\n{END}{after}"


if __name__ == "__main__":
    from pipeline.tasks import namespace

    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(with_table(page.read_text(encoding="utf-8"), namespace), encoding="utf-8")
