"""Results in a notebook: IPython's own formatter shows HTML, whatever names hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from IPython.core.formatters import DisplayFormatter

from pipeline.documents import (
    BenchDocument,
    BenchResult,
    BuildsDocument,
    CleanDocument,
    CompareDocument,
    InspectDocument,
)
from pipeline.inspect import float_leftovers, inspect_file
from tests.comparison_rows import row
from tests.unit.test_documents import ROOT, build_document, device, latency

HOSTILE = "<script>alert(1)</script>\"'&\udcff"


def shown(document: object) -> str:
    data, _ = DisplayFormatter().format(document)
    return data["text/html"]


class Tags(HTMLParser):
    """Collects tags, and notices what is closed that was not opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(html: str) -> set[str]:
    parser = Tags()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser.seen


def test_a_build_shows_verdict_budgets_and_hash() -> None:
    document = build_document()
    html = shown(document)
    assert f"✗ {document.verdict}: grey for null" in html
    assert document.sha256 in html
    assert "size_bytes" in html
    assert {"table", "th", "td"} <= tags(html)


def test_several_builds_and_a_bench_are_shown() -> None:
    build = build_document()
    html = shown(BuildsDocument(builds=[build, build], verdict="fail"))
    assert html.count(build.sha256) == 2
    result = BenchResult(
        **{"model": "any.tflite", "sha256": "0" * 64, "target": None, "workload": None, "size_bytes": 12},
        **{"latency": latency(), "device": device(), "verdicts": [], "verdict": "pass"},
    )
    assert "any.tflite" in shown(BenchDocument(results=[result], verdict="pass"))


def test_an_inspection_shows_operators() -> None:
    path = ROOT / "tests" / "data" / "tiny_int8.tflite"
    found = inspect_file(path)
    document = InspectDocument(path=str(path), inspection=found, float_leftovers=float_leftovers(found, False))
    html = shown(document)
    assert found.operators[0].name in html
    tags(html)


@pytest.mark.parametrize("field", ["target", "workload", "artifact"])
def test_names_are_escaped(field: str) -> None:
    document = build_document().model_copy(update={field: HOSTILE})
    html = shown(document)
    assert "script" not in tags(html)
    assert "&lt;script&gt;" in html
    html.encode()


def test_colours_are_the_notebooks() -> None:
    html = shown(build_document())
    assert set(re.findall(r"(?<![\w-])color:([^;\"]*)", html)) == {"inherit"}
    assert "background" not in html


def test_a_document_without_a_view_keeps_its_plain_form() -> None:
    fields = {name: [] for name, field in CleanDocument.model_fields.items() if name != "schema_version"}
    data, _ = DisplayFormatter().format(CleanDocument.model_construct(**fields))
    assert "text/html" not in data
    assert "CleanDocument" in data["text/plain"]


def test_a_comparison_marks_the_choice() -> None:
    document = CompareDocument(
        **{"target": "null", "workload": "grey", "seed": 0, "quick": False, "reference": "float32", "excluded": []},
        **{"candidates": [row("float32"), row("int8", reasons=[HOSTILE])], "choice": "int8"},
        **{"choice_verdicts": [], "verdict": "pass"},
    )
    html = shown(document)
    assert f"★ {document.choice}" in html
    assert all(row.name in html for row in document.candidates)
    assert "script" not in tags(html)
