"""A stored measurement that a build took again was made once."""

from __future__ import annotations

from pipeline.trends import series_of
from tests.unit.test_trends import line


def test_a_reused_measurement_is_no_second_one() -> None:
    lines = [line(1, 10.0), line(2, 10.0, reused=True), line(3, 12.5, at="2026-01-02T00:00:00+00:00")]
    times, sizes = series_of("p50_us", lines), series_of("size_bytes", lines)
    assert times is not None
    assert sizes is not None
    assert times.values == [10.0, 12.5]
    assert (times.previous, times.left_out) == (10.0, 0)
    assert sizes.values == [1, 2, 3]  # a build each


def test_a_reused_measurement_stands_where_its_own_line_is_gone() -> None:
    times = series_of("p50_us", [line(1, 10.0, reused=True), line(1, 10.0, reused=True)])
    assert times is not None
    assert times.values == [10.0]
