"""The targets of `invoke ci` as JUnit XML, which continuous integrations show.

A target is a testsuite and a budget a testcase. What was not decided is an error, so that no gate lets it through;
what binds elsewhere is skipped. There is no standard but what the readers have in common:
https://github.com/testmoapp/junitxml.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from pipeline.report.device import number

if TYPE_CHECKING:
    from pipeline.ci_document import CiDocument, CiTarget
    from pipeline.verdict import Verdict

# What XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS = {"fail": "failure", "inconclusive": "error", "not applicable": "skipped"}


def junit(document: CiDocument) -> bytes:
    """Return the XML in UTF-8; counts and times of the whole are sums over the targets."""
    suites = [_suite(target) for target in document.targets]
    root = ElementTree.Element("testsuites", name="budgets")
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, 0)) for suite in suites)))
    root.set("time", f"{sum(target.seconds for target in document.targets):.3f}")
    root.extend(suites)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _suite(target: CiTarget) -> ElementTree.Element:
    name = _clean(f"{target.workload}.{target.target}")
    cases = [_case(name, verdict) for verdict in target.verdicts]
    if target.error:
        case = ElementTree.Element("testcase", name="build", classname=name, time=f"{target.seconds:.3f}")
        told = (target.error.received, target.error.expected, target.error.fix)
        lines = [
            f"{label}: {text}" for label, text in zip(("received", "expected", "to mend"), told, strict=True) if text
        ]
        _result(case, "error", target.error.message, target.error.code, "\n".join([target.error.message, *lines]))
        cases.append(case)
    suite = ElementTree.Element("testsuite", name=name, tests=str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{target.seconds:.3f}")
    if target.sha256:
        properties = ElementTree.SubElement(suite, "properties")
        ElementTree.SubElement(properties, "property", name="sha256", value=target.sha256)
    suite.extend(cases)
    return suite


def _case(suite: str, verdict: Verdict) -> ElementTree.Element:
    case = ElementTree.Element("testcase", name=_clean(verdict.metric), classname=suite, time="0.000")
    if verdict.verdict in _ELEMENTS:
        measured = "not measured" if verdict.measured is None else f"measured {number(verdict.measured)}"
        message = f"{verdict.verdict}: {measured}, limit {number(verdict.limit)}"
        lines = [message]
        if verdict.interval:
            lines.append("95% interval {} to {}".format(*map(number, verdict.interval)))
        _result(
            case,
            _ELEMENTS[verdict.verdict],
            message,
            verdict.verdict,
            "\n".join([*lines, *filter(None, [verdict.note])]),
        )
    return case


def _result(case: ElementTree.Element, tag: str, message: str, kind: str, text: str) -> None:
    result = ElementTree.SubElement(case, tag, message=_clean(message))
    if tag != "skipped":  # which has no type
        result.set("type", _clean(kind))
    result.text = _clean(text)


def _clean(text: str) -> str:
    """Return the text with what XML cannot hold replaced; ElementTree escapes the rest."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
