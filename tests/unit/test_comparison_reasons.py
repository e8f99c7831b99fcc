"""Each reason why a technique gained nothing, with the facts that produce it, and without them."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.comparison.reasons import gained, reasons
from tests.comparison_rows import row

INT8 = row("int8")


def said(changes: dict[str, Any], against: Any = INT8) -> str:
    return "\n".join(reasons(row("other", **changes), against))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "no gain over int8"),
        ({"size_bytes": 10_000}, "0.50× the bytes and 1.00× the time of int8"),
        ({"p50_us": 5.0}, "1.00× the bytes and 0.50× the time of int8"),
        (
            {"zero_fraction": 0.8, "deflated_bytes": 6_000},
            "dense storage keeps zeros: 80% of the weights are zero instead of 1%, and each takes as much room as any "
            "other; deflated it is 0.40× the size of int8",
        ),
        (
            {"distinct_values_per_channel": 16, "deflated_bytes": 9_000},
            "at most 16 distinct values in a channel instead of 200 take as much room; deflated it is 0.60×",
        ),
        ({}, "the same time: the same operators in the same number formats (int32, int8), 100,000"),
        (
            {"multiply_accumulates": 20_000, "p50_us": 9.0},
            "dominated by dispatch: with 0.20× the multiply-accumulates it takes 0.90× the time, so about 8.8 of its "
            "9.0 µs do not depend on them",
        ),
        (
            {"p50_us": 60.0, "kernels": "built-in kernels, 5 operators"},
            "slower: computed by built-in kernels, 5 operators; int8 by XNNPACK delegate, 5 of 5 operators",
        ),
        ({}, "no difference to float32 that chance would not make (McNemar p = 1)"),
        ({"lost": 40, "won": 10}, "less accurate than float32 by 30 samples (McNemar p = 2"),
        ({"lost": 10, "won": 40}, "more accurate than float32 by 30 samples (McNemar p = 2"),
    ],
)
def test_a_reason_follows_from_its_facts(changes: dict[str, Any], expected: str) -> None:
    assert expected in said(changes)


def test_float16_is_decoded_when_it_is_loaded() -> None:
    against = row("float32", dtypes=["float32"], weight_dtypes=["float32"], size_bytes=40_000)
    found = said({"dtypes": ["float16", "float32"], "weight_dtypes": ["float16"]}, against)
    assert "float16 weights are decoded to float32 when the file is loaded" in found
    for p50_us in (1.0, 20.0):
        assert "decoded" not in said({"weight_dtypes": ["float16"], "p50_us": p50_us}, against), "not the same time"


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"zero_fraction": 0.8, "weight_bytes": 5_000}, "dense storage"),  # its bytes did shrink
        ({"multiply_accumulates": 20_000, "kernels": "built-in kernels, 5 operators"}, "dispatch"),  # other kernels
        ({"multiply_accumulates": 20_000, "p50_us": 30.0}, "dispatch"),  # slower for another reason
        ({"multiply_accumulates": 0, "p50_us": 30.0}, "dispatch"),
        ({"distinct_values_per_channel": 150}, "distinct values"),
        ({"operators": {"CONV_2D": 3}}, "the same operators"),
        ({"multiply_accumulates": 90_000}, "the same operators"),
        ({"p50_us": 5.0}, "the same time"),
        ({"multiply_accumulates": 20_000, "p50_us": 2.5}, "dispatch"),
        ({"multiply_accumulates": 20_000, "p50_us": 9.0, "dtypes": ["float32"]}, "dispatch"),  # nothing to fit
        ({"kernels": "built-in kernels, 5 operators"}, "slower"),
    ],
)
def test_without_its_facts_it_is_not_said(changes: dict[str, Any], absent: str) -> None:
    assert absent not in said(changes)


def test_a_gain_is_bytes_or_time_beyond_the_noise() -> None:
    assert not gained(row("a"), INT8)
    assert not gained(row("a", size_bytes=19_900, p50_us=9.9), INT8)
    assert gained(row("a", size_bytes=19_000), INT8)
    assert gained(row("a", p50_us=9.0), INT8)
