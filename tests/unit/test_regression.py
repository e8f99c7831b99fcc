"""Worse means worse beyond both intervals, under the same conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.documents import BenchResult
from pipeline.errors import RequestError
from pipeline.intervals import Interval
from pipeline.learning_task import METRICS
from pipeline.regression import Change, changes, load_earlier
from pipeline.runner import Figure
from tests.unit.test_documents import bench_document, build_document


def result(**changed: Any) -> BenchResult:
    """Return a measurement with p50 and p90 of 9 to 11 µs, and what is changed in it, its latency or its device."""
    found = bench_document().results[0]
    latency = {name: value for name, value in changed.items() if name in type(found.latency).model_fields}
    device = {name: value for name, value in changed.items() if name in ("runner", "figures", "memory_bytes", "device")}
    own = {name: value for name, value in changed.items() if name not in latency and name not in device}
    latency.pop("memory_bytes", None)
    latency.pop("device", None)
    return found.model_copy(
        update={
            "latency": found.latency.model_copy(update=latency),
            "device": found.device.model_copy(update=device),
            **own,
        }
    )


def outcome(metric: str, now: BenchResult, before: BenchResult) -> Change:
    return next(change for change in changes(now, before) if change.metric == metric)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((11.1, 13.0), "worse"),
        ((7.0, 8.9), "better"),
        ((10.9, 13.0), "no difference shown"),
        ((5.0, 20.0), "no difference shown"),
    ],
)
def test_a_latency_is_worse_beyond_both_intervals(interval: tuple[float, float], expected: str) -> None:
    now = result(p50_us=sum(interval) / 2, p50_us_interval=interval)
    assert outcome("p50_us", now, result()).outcome == expected
    assert outcome("p90_us", now, result()).outcome == "no difference shown"


@pytest.mark.parametrize("name", ["energy_uj", "p95_us"])
def test_what_varies_and_has_no_interval_is_no_regression(name: str) -> None:
    now, before = (result(figures={name: Figure(value=value)}) for value in (10.1, 10.0))
    assert name not in {change.metric for change in changes(now, before)}


def test_a_size_is_exact() -> None:
    assert outcome("size_bytes", result(size_bytes=13), result()).outcome == "worse"
    assert outcome("size_bytes", result(size_bytes=11), result()).outcome == "better"
    assert outcome("size_bytes", result(), result()).outcome == "no difference shown"


@pytest.mark.parametrize(
    ("name", "before", "now", "expected"),
    [
        ("arena_bytes", 5, 6, "worse"),
        ("arena_bytes", 6, 5, "better"),
        ("npu_operator_share", 1.0, 0.9, "worse"),
        ("npu_operator_share", 0.9, 1.0, "better"),
    ],
)
def test_a_figure_has_its_better_side(name: str, before: float, now: float, expected: str) -> None:
    found = outcome(name, result(figures={name: Figure(value=now)}), result(figures={name: Figure(value=before)}))
    assert found.outcome == expected


def test_memory_is_judged_by_its_interval() -> None:
    before = result(memory_bytes=Interval(value=10, low=9, high=11))
    assert outcome("memory_bytes", result(memory_bytes=Interval(value=13, low=12, high=14)), before).outcome == "worse"
    assert outcome("memory_bytes", before, before).outcome == "no difference shown"


def test_times_of_another_device_do_not_compare() -> None:
    other = bench_document().results[0].device.device.model_copy(update={"name": "another"})
    now = result(p50_us=100.0, p50_us_interval=(99.0, 101.0), device=other)
    assert outcome("p50_us", now, result()).outcome == "not applicable"
    threads = result(p50_us=100.0, p50_us_interval=(99.0, 101.0), threads=2)
    assert "1 threads before" in outcome("p50_us", threads, result()).note


def test_accuracy_is_judged_by_the_earlier_interval() -> None:
    before = build_document()
    found = {change.metric: change for change in changes(result(), before, scores=({"accuracy": 0.89}, 1000))}
    assert found["accuracy"].outcome == "no difference shown"  # 0.9 of 1,000 lies between 0.880 and 0.917
    assert changes(result(), before, scores=({"accuracy": 0.87}, 1000))[1].outcome == "worse"
    assert changes(result(), before, scores=({"accuracy": 0.92}, 1000))[1].outcome == "better"


@pytest.mark.parametrize(
    ("metric", "value", "outcome"),
    [
        ("f1", 0.88, "no difference shown"),
        ("f1", 0.87, "worse"),
        ("f1", 0.93, "better"),
        ("mean_absolute_error", 0.93, "worse"),
        ("mean_absolute_error", 0.87, "better"),
    ],
)
def test_a_score_is_judged_by_its_earlier_interval(metric: str, value: float, outcome: str) -> None:
    given = {"scores": {metric: 0.9}, "score_intervals": {metric: (0.875, 0.925)}}
    before = build_document().model_copy(update=given)
    assert changes(result(), before, scores=({metric: value}, 1000))[1].outcome == outcome
    exact = before.model_copy(update={"score_intervals": {}})
    worse = {"worse"} if METRICS[metric].higher_is_better == (value < 0.9) else {"better"}
    assert {changes(result(), exact, scores=({metric: value}, 1000))[1].outcome} == worse


def test_both_kinds_of_documents_are_read(tmp_path: Path) -> None:
    for name, document in (("build", build_document()), ("bench", bench_document().results[0])):
        path = tmp_path / f"{name}.json"
        path.write_text(document.model_dump_json())
        assert load_earlier(path) == document


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"target": "mobile"}'])
def test_anything_else_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "build.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RequestError, match="no earlier measurement") as caught:
        load_earlier(path)
    assert caught.value.received
