"""Series out of the history, and their sparklines."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import RequestError, UnknownName
from pipeline.history import HISTORY, HistoryLine, append
from pipeline.project import Project, open_project
from pipeline.report.history import step_in_words
from pipeline.report.sparkline import ASCII, BLOCKS, sparkline
from pipeline.runner import Device
from pipeline.trends import history_document, scores_over_time, series_of
from pipeline.watch import Watch


def line(size: int, p50: float | None = None, *, device: str = "desk", accuracy: float = 0.9, **more: object):
    known = {
        "kind": "build",
        "at": "2026-01-01T00:00:00+00:00",
        "reused": False,
        "target": "null",
        "workload": "grey",
        "sha256": "0" * 64,
        "runner": "null",
        "device": Device(device_class="null", name=device, fingerprint={}),
        "threads": 1,
        "p50_us_interval": None if p50 is None else (p50 - 1, p50 + 1),
        "scores": {"accuracy": accuracy},
    }
    return HistoryLine.model_validate({**known, "size_bytes": size, "p50_us": p50, **more})


def project_with(root: Path, *lines: HistoryLine) -> Project:
    for one in lines:
        append(root / "artifacts" / HISTORY, one)
    return open_project(root, Watch())


def test_a_series_is_in_order_with_its_last_change() -> None:
    series = series_of("size_bytes", [line(100), line(200), line(150)])
    assert series is not None
    assert series.values == [100, 200, 150]
    assert (series.previous, series.latest, series.change) == (200, 150, -0.25)
    assert series.beyond_intervals is None


@pytest.mark.parametrize(("latest", "beyond"), [(12.5, True), (11.5, False), (7.5, True), (8.5, False)])
def test_a_change_is_held_against_both_intervals(latest: float, beyond: bool) -> None:
    series = series_of("p50_us", [line(1, 10.0), line(1, latest)])
    assert series is not None
    assert series.beyond_intervals is beyond


def test_times_of_another_device_are_left_out_and_counted_but_sizes_stay() -> None:
    lines = [line(1, 10.0), line(2, 99.0, device="phone"), line(3, 11.0, threads=4), line(4, 12.0)]
    times, sizes = series_of("p50_us", lines), series_of("size_bytes", lines)
    assert times is not None
    assert sizes is not None
    assert (times.values, times.left_out) == ([10.0, 12.0], 2)
    assert (sizes.values, sizes.left_out) == ([1, 2, 3, 4], 0)


def test_what_was_never_measured_has_no_series() -> None:
    assert series_of("p50_us", [line(1)]) is None


def test_a_document_has_each_workload_and_target_with_the_last_lines_only(tmp_path: Path) -> None:
    project = project_with(tmp_path, line(1), line(2, workload="other"), line(3), line(4), line(5, target=None))
    document = history_document(project, last="2")
    assert [(trend.workload, trend.target) for trend in document.trends] == [("grey", "null"), ("other", "null")]
    assert document.trends[0].series[0].values == [3, 4]
    assert [series.metric for series in document.trends[0].series] == ["size_bytes", "accuracy"]
    assert document.unnamed == 1
    alone = history_document(project, workload="workloads/other.py", metric="accuracy")
    assert [(trend.workload, [one.metric for one in trend.series]) for trend in alone.trends] == [
        ("other", ["accuracy"])
    ]


def test_unreadable_lines_are_counted(tmp_path: Path) -> None:
    project = project_with(tmp_path, line(1))
    with (project.artifacts / HISTORY).open("a") as stream:
        stream.write('{"format": 2}\nnot json\n')
    document = history_document(project)
    assert (document.unreadable, len(document.trends[0].lines)) == (2, 1)


def test_no_history_is_an_empty_document(tmp_path: Path) -> None:
    assert history_document(project_with(tmp_path)).trends == []


@pytest.mark.parametrize("flag", ["target", "workload", "metric"])
def test_an_unknown_name_suggests_the_nearest(tmp_path: Path, flag: str) -> None:
    known = {"target": "null", "workload": "grey", "metric": "accuracy"}[flag]
    with pytest.raises(UnknownName) as caught:
        history_document(project_with(tmp_path, line(1)), **{flag: known[:-1]})
    assert repr(known) in caught.value.fix


@pytest.mark.parametrize("last", ["0", "-1", "many", "1.5", "", "99999999999"])
def test_a_number_of_lines_that_cannot_be_meant_is_refused(tmp_path: Path, last: str) -> None:
    with pytest.raises(RequestError, match="--last"):
        history_document(project_with(tmp_path, line(1)), last=last)


def test_the_scores_of_builds_leave_out_benchmarks() -> None:
    lines = [line(1, accuracy=0.8), line(1, accuracy=0.1, kind="bench"), line(1, accuracy=0.9), line(1, target="x")]
    assert scores_over_time(lines, "null", "grey", "accuracy", 12) == [0.8, 0.9]
    assert scores_over_time(lines, "null", "grey", "accuracy", 1) == [0.9]


@pytest.mark.parametrize("levels", [BLOCKS, ASCII])
def test_a_sparkline_goes_from_the_lowest_to_the_highest_level(levels: str) -> None:
    assert len(set(levels)) == 8
    assert sparkline([0, 7, 3], levels) == levels[0] + levels[7] + levels[3]
    assert sparkline([5, 5], levels) == levels[3] * 2
    assert sparkline([], levels) == ""
    assert ASCII.isascii()


@pytest.mark.parametrize(
    ("metric", "before", "after", "words"),
    [
        ("accuracy", 0.9951, 0.9919, "-0.32 points"),
        ("f1", 0.5, 0.5, "+0.00 points"),
        ("auc", 0.5, 0.75, "+50.00%"),
        ("p50_us", 80.0, 40.0, "-50.00%"),
        ("arena_bytes", 0.0, 16.0, "+16"),
    ],
)
def test_a_change_of_a_share_is_told_in_points(metric: str, before: float, after: float, words: str) -> None:
    assert step_in_words(metric, before, after) == words
