"""A table that no width breaks: where its columns do not fit, each row is a block of `column value` lines."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pipeline.report.plain_text import in_plain_words

ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


class FoldingTable(Table):
    """Numbers and names are never cut or broken: a narrow terminal gets lines instead of columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.ascii_only:  # spelled before it is measured: `->` is wider than the sign that it stands for
            for column in self.columns:
                column._cells = [in_plain_words(cell) if isinstance(cell, str) else cell for cell in column.cells]
        if Measurement.get(console, options.update(max_width=10_000), self).minimum <= options.max_width:
            self.box = ASCII_HEAD if options.ascii_only else box.SIMPLE_HEAD
            yield from super().__rich_console__(console, options)
            return
        for cells in zip(*(list(column.cells) for column in self.columns), strict=True):
            for column, cell in zip(self.columns, cells, strict=True):
                text = _text(cell)
                if text.plain.strip():
                    name = _text(column.header).plain.strip()
                    yield Text.assemble(f"{name}  " if name else "", text)
            yield Text("")


def table_of(*columns: str) -> Table:
    table = FoldingTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=place == 0)
    return table


def _text(cell: Any) -> Text:
    return Text.from_markup(cell) if isinstance(cell, str) else Text(str(cell))
