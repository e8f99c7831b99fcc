"""What `invoke ci` writes for machines and for people."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from pipeline.ci_document import CiDocument, CiError, CiTarget
from pipeline.regression import Change
from pipeline.report.junit import junit
from pipeline.report.summary import summary
from pipeline.verdict import Outcome, Verdict

# What readers of JUnit XML have in common (https://github.com/testmoapp/junitxml): {element: (attributes that must
# be there, others that may, elements that may lie in it)}.
STRUCTURE = {
    "testsuites": ({"name", "tests", "failures", "errors", "time"}, set(), {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time"}, set(), {"properties", "testcase"}),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": ({"name", "classname", "time"}, set(), {"failure", "error", "skipped"}),
    "failure": ({"message", "type"}, set(), set()),
    "error": ({"message", "type"}, set(), set()),
    "skipped": ({"message"}, set(), set()),
}
NASTY = 'a <b> & "c" ]]> | d \x00\x1b[31m\ud800 `e` [f](http://g) ä\nnext'


def read(document: CiDocument) -> ElementTree.Element:
    """Return the report's root, whose structure and counts are held against what readers expect."""
    content = junit(document)
    assert content.startswith(b"<?xml version='1.0' encoding='utf-8'?>")
    root = ElementTree.fromstring(content)
    assert root.tag == "testsuites"
    for element in root.iter():
        needed, allowed, inside = STRUCTURE[element.tag]
        assert needed <= set(element.attrib) <= needed | allowed, element.tag
        assert {child.tag for child in element} <= inside, element.tag
    for suite in root:
        cases = suite.findall("testcase")
        assert all(len(case) <= 1 for case in cases)
        assert len({case.get("name") for case in cases}) == len(cases) == int(suite.get("tests"))
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(attribute)) == len(suite.findall(f"testcase/{tag}"))
    for attribute in ("tests", "failures", "errors"):
        assert int(root.get(attribute)) == sum(int(suite.get(attribute)) for suite in root)
    assert float(root.get("time")) == pytest.approx(sum(float(suite.get("time")) for suite in root), abs=0.01)
    return root


def verdict(metric: str, outcome: Outcome, measured: float | None = 2.0, note: str = "", **more) -> Verdict:
    return Verdict(metric=metric, limit=1.5, measured=measured, interval=None, verdict=outcome, note=note, **more)


def target(name: str, *verdicts: Verdict, outcome: str = "pass", **more) -> CiTarget:
    facts = {"workload": "mnist", "exit_code": 0, "seconds": 1.25, "not_compared": "no earlier build was given"}
    return CiTarget(target=name, outcome=outcome, verdicts=list(verdicts), **{**facts, **more})


def document(*targets: CiTarget, outcome: str = "pass") -> CiDocument:
    return CiDocument(targets=list(targets), outcome=outcome)


MANY = (
    verdict("size_bytes", "pass"),
    verdict("accuracy_min", "fail"),
    verdict("speedup_min", "inconclusive").model_copy(update={"interval": (1.25, 2.75)}),
    verdict("memory_bytes", "inconclusive", measured=None, note="the device does not tell"),
    verdict("latency_p90_ms", "not applicable", note="binds on phone, measured on null"),
)


def test_each_verdict_is_a_testcase_and_what_is_undecided_passes_no_gate() -> None:
    root = read(document(target("mobile", *MANY, sha256="ab" * 32), target("browser", MANY[0])))
    mobile, browser = root
    assert (mobile.get("name"), browser.get("name")) == ("mnist.mobile", "mnist.browser")
    found = {case.get("name"): [child.tag for child in case] for case in mobile.findall("testcase")}
    assert found == {
        "size_bytes": [],
        "accuracy_min": ["failure"],
        "speedup_min": ["error"],
        "memory_bytes": ["error"],
        "latency_p90_ms": ["skipped"],
    }
    assert [root.get(name) for name in ("tests", "failures", "errors")] == ["6", "1", "2"]
    assert mobile.find("properties/property").attrib == {"name": "sha256", "value": "ab" * 32}
    texts = {case.get("name"): case[0].text for case in mobile.findall("testcase") if len(case)}
    assert texts["accuracy_min"] == "fail: measured 2, limit 1.5"
    assert texts["speedup_min"].splitlines()[1] == "95% interval 1.25 to 2.75"
    assert texts["memory_bytes"].splitlines() == [
        "inconclusive: not measured, limit 1.5",
        "the device does not tell",
    ]
    assert "binds on phone" in texts["latency_p90_ms"]


def test_what_could_not_be_built_is_an_error_beside_the_others() -> None:
    error = CiError(code="step_failed", message="no <model>", received="NaN", expected="a loss", fix="train on")
    broken = target("mobile", outcome="error", error=error, exit_code=4)
    first, second = read(document(broken, target("browser", MANY[0]), outcome="error"))
    (case,) = first.findall("testcase")
    assert (case.get("name"), case[0].get("type"), case[0].get("message")) == ("build", "step_failed", "no <model>")
    assert case[0].text.splitlines() == ["no <model>", "received: NaN", "expected: a loss", "to mend: train on"]
    assert second.get("errors") == "0"


def test_texts_of_users_stay_texts_in_xml() -> None:
    root = read(document(target(NASTY, verdict("size_bytes", "fail", note=NASTY))))
    assert root[0].get("name").startswith('mnist.a <b> & "c" ]]> | d \ufffd\ufffd[31m\ufffd')
    assert '<b> & "c" ]]>' in root.find(".//failure").text


def test_nothing_to_build_is_a_report_of_nothing() -> None:
    assert len(read(document())) == 0


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each Markdown table; every row has as many as its head."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in block.splitlines()]
        assert {len(row) for row in rows} == {len(rows[0])}
        assert set("".join(rows[1]).replace(" ", "")) == {"-"}
        found.append([[cell.strip() for cell in row] for row in (rows[0], *rows[2:])])
    return found


def test_the_summary_shows_verdicts_and_the_change_against_main() -> None:
    change = {"before": 1000, "now": 1250.0}
    changes = [
        Change(metric="size_bytes", outcome="worse", **change),
        Change(metric="accuracy", before=0.9, now=0.95, outcome="better"),
        Change(metric="p50_us", before=1, now=2, outcome="not applicable", note="measured with 2 threads before"),
    ]
    text = summary(document(target("mobile", *MANY, changes=changes, compared="SHA-256 ab"), outcome="fail"))
    assert text.startswith("# Budgets: fail\n")
    overview, budgets, against = tables(text)
    assert overview[1] == ["mobile", "mnist", "pass", "worse: size_bytes; better: accuracy"]
    assert budgets[1] == ["size_bytes", "1.5", "2", "", "pass", ""]
    assert budgets[3] == ["speedup_min", "1.5", "2", "1.25 to 2.75", "inconclusive", ""]
    assert budgets[4] == ["memory_bytes", "1.5", "", "", "inconclusive", "the device does not tell"]
    assert against[1] == ["size_bytes", "1,000", "1,250", "worse"]
    assert against[3] == ["p50_us", "1", "2", "not applicable: measured with 2 threads before"]


def test_without_an_earlier_build_there_is_nothing_to_compare_with() -> None:
    text = summary(document(target("mobile", MANY[0])))
    assert tables(text)[0][1][3] == "nothing to compare with"
    assert "Nothing to compare with: no earlier build was given." in text


def test_texts_of_users_stay_texts_in_markdown() -> None:
    error = CiError(code="bad_target", message=f"</pre><script>{NASTY}")
    text = summary(
        document(
            target("x|y", verdict("size_bytes", "fail", note=NASTY)),
            target("broken", outcome="error", error=error),
            outcome="error",
        )
    )
    assert text.encode().decode() == text
    assert tables(text)[1][1][5].startswith(r'a &lt;b&gt; &amp; "c" \]\]&gt; \| d')
    assert "<script>" not in text
    assert "<b>" not in text
    assert r"\[f\](http://g)" in text
    assert text.count("</pre>") == 1
