"""One HTML file that needs nothing beside it: styles, scripts, Vega and all numbers are in it, each once.

Its Content-Security-Policy forbids every connection and every script but those whose hashes it names, so that
a text which slipped through as markup would still run nothing. Vega's expressions are therefore interpreted
(vega-embed's `ast`), since compiling them needs 'unsafe-eval'; styles are free, as Vega's tooltip and the SVG
that it draws set some themselves.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.report.page.pieces import Page, charts_of, fronts_of

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
ASSETS = HERE / "assets"
LIBRARIES = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")
EVENTS = "events"  # where a page that is served asks for news, beside itself


def page_html(page: Page, made: str, *, live: str = "") -> str:
    """Return the whole file.

    made: when and by what, in words. live: a name of this very page, letters and digits, by which its own server
    knows whether it still shows the same; empty for a page that no server follows.
    """
    data = {
        "charts": {chart.name: {"spec": chart.spec, "title": chart.title} for chart in charts_of(page.sections)},
        "fronts": {
            front.name: {
                "points": front.points,
                "spec": front.spec,
                "axes": {key: list(value) for key, value in front.axes.items()},
            }
            for front in fronts_of(page.sections)
        },
        "live": f"{EVENTS}?{live}" if live else "",
    }
    scripts = [asset(name) for name in (*LIBRARIES, "page.js")]
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            made=made,
            policy=content_security_policy(scripts, live=bool(live)),
            styles=asset("page.css"),
            scripts=scripts,
            data=embedded_json(data),
            has_charts=bool(data["charts"] or data["fronts"]),
        )
    )


def content_security_policy(scripts: list[str], *, live: bool) -> str:
    """Return a policy under which these scripts alone run, and nothing is fetched but a live page's news."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded_json(data: Any) -> str:
    """Return JSON that is safe inside a script element: no `<` can end it or begin a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
