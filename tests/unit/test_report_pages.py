"""Reports as HTML text: what is in them, whatever the names are, and what is not."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_samples import HOSTILE, anatomy, build, comparison, history

from pipeline.anatomy.document import Anatomy
from pipeline.report.page.build_page import build_page
from pipeline.report.page.comparison_page import comparison_page
from pipeline.report.page.history_page import front_points, history_page
from pipeline.report.page.page import ASSETS, content_security_policy, embedded_json, page_html
from pipeline.report.page.pieces import Link, Page


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text outside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text.append(data)


def parsed(page: Page) -> tuple[str, Elements]:
    html = page_html(page, "made for a test")
    elements = Elements()
    elements.feed(html)
    return html, elements


def text_of(page: Page) -> str:
    return " ".join(" ".join(parsed(page)[1].text).split())


def pages(name: str) -> list[Page]:
    """Return the three kinds of page with `name` wherever a user's text can be."""
    named = build(versions={name: name}, workload=name, artifact=name)
    links = [Link(name, "report.html")]
    return [
        build_page(named, anatomy(name), links),
        comparison_page(comparison(name), links),
        history_page([named], history(), recipes={f"{name}/mobile": name}, reports={}),
    ]


@pytest.mark.parametrize("position", range(3))
def test_hostile_names_stay_text(position: int) -> None:
    plain, hostile = (parsed(pages(name)[position]) for name in ("name", HOSTILE))
    for tag in ("script", "img", "iframe", "a", "style"):
        assert sum(t == tag for t, _ in hostile[1].tags) == sum(t == tag for t, _ in plain[1].tags), tag
    assert not any(key.startswith("on") for _, attributes in hostile[1].tags for key in attributes)
    assert HOSTILE in "".join(hostile[1].text)


def test_embedded_json_cannot_end_its_element() -> None:
    data = {"a": HOSTILE, "b": "<!--\u2028"}
    text = embedded_json(data)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == data
    with pytest.raises(ValueError, match="JSON"):
        embedded_json({"a": float("nan")})


@pytest.mark.parametrize("position", range(3))
def test_nothing_is_asked_of_anywhere(position: int) -> None:
    html, elements = parsed(pages("name")[position])
    for tag, attributes in elements.tags:
        for key in ("src", "srcset", "data", "action"):
            assert (attributes.get(key) or "data:").startswith("data:"), (tag, attributes)
        assert tag not in ("link", "iframe", "object", "embed", "form", "base")
        if tag == "a":
            assert not re.match(r"[a-z]+:|//", attributes["href"] or ""), attributes
    assert len(html.encode()) < 5_000_000
    policy = next(a["content"] for t, a in elements.tags if t == "meta" and "http-equiv" in a) or ""
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe-eval" not in policy


def test_a_live_page_alone_may_ask_its_own_server() -> None:
    assert "connect-src 'self'" in content_security_policy([], live=True)
    assert "connect-src 'none'" in content_security_policy([], live=False)


def test_libraries_are_embedded_once() -> None:
    html, _ = parsed(pages("name")[0])
    for name in ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js"):
        assert html.count((ASSETS / name).read_text(encoding="utf-8")) == 1


def test_the_verdict_is_at_the_top_in_words() -> None:
    told = text_of(build_page(build(size=500), anatomy()))
    assert "fail: missed: size_bytes. 1 binds on another device." in told[:400]
    told = text_of(build_page(build(), anatomy()))
    assert "pass: all 4 budgets that bind here are kept." in told[:400]
    worst = history_page([build(), build("browser", size=600)], history(), recipes={}, reports={})
    assert "fail: 1 of 2 targets keep every budget that binds; 1 fail." in text_of(worst)[:400]
    assert "nothing has been built here" in text_of(history_page([], [], recipes={}, reports={}))


def test_the_score_has_its_interval() -> None:
    assert "99.34% – 99.62% on the test split, float32 99.45%" in text_of(build_page(build(), anatomy()))
    without = text_of(build_page(build(score_intervals={}), anatomy()))
    assert "test split, float32 99.45%" in without
    assert "on the test split" not in without


def test_a_missing_part_says_why() -> None:
    reasons = {
        part: f"{part} is not there" for part in Anatomy.model_fields if part not in ("sha256", "missing", "notes")
    }
    page = build_page(build(), Anatomy(sha256="0" * 64, missing=reasons))
    told = text_of(page)
    assert all(reason in told for reason in reasons.values())
    assert page.missing == reasons
    noted = anatomy().model_copy(update={"notes": {"graph": "of another kind"}})
    assert "of another kind" in text_of(build_page(build(), noted))


def test_a_build_shows_every_part_and_where_it_comes_from() -> None:
    told = text_of(build_page(build(), anatomy()))
    for text in (
        "right before, wrong now 1",
        "truly one, no. 3",
        "0.002%",
        "FLOAT",
        "Float leftovers, 1",
        "256 values",
        "a" * 64,
        "151.1",
        "numpy 2.4.6",
        "estimate",
    ):
        assert text in told, text


def test_the_front_has_the_last_measurement_of_each_file() -> None:
    again = history() + [history()[1].model_copy(update={"p50_us": 65.0})]
    points = front_points([build()], again, {"mnist/mobile": "train → quantize"})
    assert [(point["size_bytes"], point["p50_us"]) for point in points] == [(500, 90.0), (444, 65.0), (600, 60.0)]
    assert [point["recipe"] for point in points] == ["of an earlier build", "train → quantize", "of an earlier build"]


def test_reused_measurements_are_no_points_of_the_trend() -> None:
    once = history()
    twice = once + [one.model_copy(update={"reused": True}) for one in once]
    page = {"recipes": {}, "reports": {}}
    assert page_html(history_page([], twice, **page), "") == page_html(history_page([], once, **page), "")


def test_what_is_vendored_is_unaltered_and_licensed() -> None:
    rows = re.findall(r"^\| (\S+\.js) \| (\S+) \| ([\d.]+) \| `([0-9a-f]{64})` \|$", _vendored(), re.MULTILINE)
    assert {name for name, *_ in rows} == {path.name for path in ASSETS.glob("*.min.js")}
    for name, package, version, sha256 in rows:
        content = (ASSETS / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256, name
        assert package == "vega-embed" or f'"{version}"'.encode() in content
        assert "Redistribution and use" in (ASSETS / f"{package}.LICENSE").read_text(encoding="utf-8")


def _vendored() -> str:
    return (ASSETS / "VENDORED.md").read_text(encoding="utf-8")


def test_style_sheet_has_the_dark_colour_of_every_light_one() -> None:
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    light, dark = (
        set(re.findall(r"(--[\w-]+):", block)) for block in re.findall(r"^:root[^{]*\{(.*?)^\}", style, re.M | re.S)
    )
    assert light == dark
    charts = Path(ASSETS.parent / "charts").glob("*.py")
    used = {name for path in charts for name in re.findall(r"var\((--[\w-]+)\)", path.read_text(encoding="utf-8"))}
    assert used <= light
