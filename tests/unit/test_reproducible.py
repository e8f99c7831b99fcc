"""What a rebuild may change is what measures, and nothing that follows from the file's bytes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from release_facts import build_document, released_target

from pipeline.release.reproducible import MEASURED_FIELDS, without_measured


@pytest.fixture
def build() -> dict[str, Any]:
    document = build_document(released_target("mobile")).model_dump(mode="json")
    document["device"]["figures"] = {
        "load_ms": {"value": 12.5, "estimated": False, "note": ""},
        "arena_bytes": {"value": 14992.0, "estimated": False, "note": ""},
    }
    return document


def test_times_may_differ(build: dict[str, Any]) -> None:
    other = copy.deepcopy(build)
    other["latency"] = None
    other["device"]["figures"]["load_ms"]["value"] = 99.0
    other["device"]["measured_at"] = "2030-01-01T00:00:00+00:00"
    other["device"]["conditions"] = {"load": "high"}
    assert other != build
    assert without_measured(other) == without_measured(build)
    assert any("arena_bytes" in field for field in MEASURED_FIELDS)


@pytest.mark.parametrize("change", ["sha256", "scores", "size_bytes", "versions", "seed"])
def test_what_follows_from_the_file_may_not(build: dict[str, Any], change: str) -> None:
    other = {**build, change: "another"}
    assert without_measured(other) != without_measured(build)


def test_figures_of_the_file_and_its_exact_verdicts_may_not(build: dict[str, Any]) -> None:
    other = copy.deepcopy(build)
    other["device"]["figures"]["arena_bytes"]["value"] += 1
    assert without_measured(other) != without_measured(build)
    other = copy.deepcopy(build)
    other["verdicts"].append({"metric": "size_bytes", "limit": 1.0, "measured": 2.0})
    assert without_measured(other) != without_measured(build)
