"""What a page is made of: plain data that the templates turn into HTML.

Every text in here may come from a user's files; the templates escape all of it. Only `Drawing` is markup,
and only graph_drawing.py makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class Table:
    """Rows of texts; columns in `numbers` are aligned right, in `codes` set in the fixed-width face."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str
    numbers: frozenset[int] = frozenset()
    codes: frozenset[int] = frozenset()
    verdicts: frozenset[int] = frozenset()
    kind: str = "table"


@dataclass(frozen=True)
class Chart:
    """A specification, what it shows in a sentence, and the same numbers as a table for those who do not see it."""

    name: str
    title: str
    spec: dict[str, Any]
    description: str
    table: Table | None = None
    height: int = 200
    note: str = ""
    kind: str = "chart"


@dataclass(frozen=True)
class Charts:
    """Charts beside each other where there is room."""

    charts: Sequence[Chart]
    kind: str = "charts"


@dataclass(frozen=True)
class Facts:
    """Names with values. colors: a custom property for each, where the names are a chart's legend too."""

    facts: Sequence[tuple[str, str]]
    codes: bool = False
    colors: Sequence[str] = ()
    kind: str = "facts"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Folded:
    """Pieces that are behind a line to click."""

    summary: str
    pieces: Sequence[Any]
    kind: str = "folded"


@dataclass(frozen=True)
class Drawing:
    """SVG of our own in a box that scrolls by itself."""

    svg: Markup
    title: str
    kind: str = "drawing"


@dataclass(frozen=True)
class Picture:
    """One sample with what was said of it. `uri` is a data URI of a PNG, or empty."""

    uri: str
    text: str
    detail: str


@dataclass(frozen=True)
class Pictures:
    pictures: Sequence[Picture]
    kind: str = "pictures"


@dataclass(frozen=True)
class Front:
    """The points of an explorable Pareto front.

    points: one mapping a point with `name`, `group`, `recipe`, `device` and a number or None for each axis.
    axes: {field: (title, whether smaller is better)}, the first two are shown first.
    """

    name: str
    points: Sequence[dict[str, Any]]
    spec: dict[str, Any]
    axes: dict[str, tuple[str, bool]]
    kind: str = "front"


@dataclass(frozen=True)
class Link:
    text: str
    address: str
    detail: str = ""


@dataclass(frozen=True)
class Links:
    links: Sequence[Link]
    kind: str = "links"


@dataclass(frozen=True)
class Card:
    """One build on the page of many."""

    title: str
    verdict: str
    link: str
    facts: Sequence[tuple[str, str]]
    pieces: Sequence[Any]
    kind: str = "card"


@dataclass(frozen=True)
class Cards:
    cards: Sequence[Card]
    kind: str = "cards"


@dataclass(frozen=True)
class Section:
    """A heading with its pieces; `missing` says why there are none, or not all."""

    anchor: str
    title: str
    lead: str = ""
    pieces: Sequence[Any] = ()
    missing: str = ""


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    eyebrow: str
    verdict: str
    words: str
    sections: Sequence[Section]
    figures: Sequence[tuple[str, str, str]] = ()
    links: Sequence[Link] = ()
    missing: dict[str, str] = field(default_factory=dict)


def charts_of(pieces: Sequence[Any]) -> list[Chart]:
    """Return every chart among pieces, however deep, in their order."""
    found: list[Chart] = []
    for piece in pieces:
        if isinstance(piece, Chart):
            found.append(piece)
        elif isinstance(piece, Charts):
            found += piece.charts
        elif isinstance(piece, Folded | Card | Section):
            found += charts_of(piece.pieces)
        elif isinstance(piece, Cards):
            found += charts_of(piece.cards)
    return found


def fronts_of(sections: Sequence[Section]) -> list[Front]:
    return [piece for section in sections for piece in section.pieces if isinstance(piece, Front)]
