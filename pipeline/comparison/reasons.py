"""Why a technique gained what it gained, or nothing: sentences computed from the two files' facts.

Each rule looks at a candidate and at the one that it is held against, and says one thing, with
the numbers that make it true; where they do not, it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.comparison.choice import SAME_SIZE

if TYPE_CHECKING:
    from pipeline.comparison.document import CandidateRow

MORE_ZEROS = 0.01  # share of the weights
FEWER_COMPUTATIONS = 0.1  # share of the multiply-accumulates


def reasons(row: CandidateRow, against: CandidateRow) -> list[str]:
    """Return what follows from the facts of both rows, first what the technique gained."""
    return [said for said in (rule(row, against) for rule in RULES) if said]


def gained(row: CandidateRow, against: CandidateRow) -> bool:
    """Whether the file is smaller as it lies, or faster beyond the intervals."""
    smaller = row.size_bytes < against.size_bytes * (1 - SAME_SIZE)
    return smaller or row.latency.p50_us_interval[1] < against.latency.p50_us_interval[0]


def _gain(row: CandidateRow, against: CandidateRow) -> str:
    if not gained(row, against):
        return f"no gain over {against.name} in bytes as they lie or in time"
    return (
        f"{row.size_bytes / against.size_bytes:.2f}× the bytes and {row.latency.p50_us / against.latency.p50_us:.2f}× "
        f"the time of {against.name}"
    )


def _zeros_are_stored(row: CandidateRow, against: CandidateRow) -> str:
    if row.zero_fraction < against.zero_fraction + MORE_ZEROS or not _same(row, against, "weight_bytes"):
        return ""
    return (
        f"dense storage keeps zeros: {row.zero_fraction:.0%} of the weights are zero instead of "
        f"{against.zero_fraction:.0%}, and each takes as much room as any other; " + _deflated(row, against)
    )


def _clusters_are_stored(row: CandidateRow, against: CandidateRow) -> str:
    ours, theirs = row.distinct_values_per_channel, against.distinct_values_per_channel
    if not ours or not theirs or ours > theirs / 2 or not _same(row, against, "weight_bytes"):
        return ""
    return (
        f"every weight is stored by itself: at most {ours} distinct values in a channel instead of {theirs} "
        "take as much room; " + _deflated(row, against)
    )


def _deflated(row: CandidateRow, against: CandidateRow) -> str:
    return f"deflated it is {row.deflated_bytes / against.deflated_bytes:.2f}× the size of {against.name}"


def _same_computation(row: CandidateRow, against: CandidateRow) -> str:
    same = (
        row.operators == against.operators
        and row.dtypes == against.dtypes
        and row.multiply_accumulates == against.multiply_accumulates
    )
    if not same or _faster(row, against) or _slower(row, against):
        return ""
    return (
        f"the same time: the same operators in the same number formats ({', '.join(row.dtypes)}), "
        f"{row.multiply_accumulates:,} multiply-accumulates in both"
    )


def _decoded_when_loaded(row: CandidateRow, against: CandidateRow) -> str:
    if "float16" not in row.weight_dtypes or _faster(row, against) or _slower(row, against):
        return ""
    return "the same time: float16 weights are decoded to float32 when the file is loaded, and computed with as such"


def _dispatch_dominates(row: CandidateRow, against: CandidateRow) -> str:
    """Fit time = fixed part + part by multiply-accumulates through the two files, which compute alike."""
    ours, theirs = row.multiply_accumulates, against.multiply_accumulates
    alike = row.dtypes == against.dtypes and row.latency.kernels.split(",")[0] == against.latency.kernels.split(",")[0]
    if not alike or ours >= theirs * (1 - FEWER_COMPUTATIONS) or _slower(row, against):
        return ""
    slope = max(0.0, (against.latency.p50_us - row.latency.p50_us) / (theirs - ours))
    fixed = row.latency.p50_us - slope * ours
    if fixed < row.latency.p50_us / 2:
        return ""
    return (
        f"time is dominated by dispatch: with {ours / theirs:.2f}× the multiply-accumulates it takes "
        f"{row.latency.p50_us / against.latency.p50_us:.2f}× the time, so about {fixed:.1f} of its "
        f"{row.latency.p50_us:.1f} µs do not depend on them (a line through both files)"
    )


def _not_delegated(row: CandidateRow, against: CandidateRow) -> str:
    if row.latency.kernels == against.latency.kernels or not _slower(row, against):
        return ""
    return f"slower: computed by {row.latency.kernels}; {against.name} by {against.latency.kernels}"


def _accuracy(row: CandidateRow, against: CandidateRow) -> str:
    test = row.mcnemar
    if row.name == "float32":
        return ""
    change = test.only_this_right - test.only_reference_right
    if test.p_value >= 0.05:
        return f"accuracy: no difference to float32 that chance would not make (McNemar p = {test.p_value:.2g})"
    more_or_less = "more" if change > 0 else "less"
    return f"{more_or_less} accurate than float32 by {abs(change)} samples (McNemar p = {test.p_value:.2g})"


def _same(row: CandidateRow, against: CandidateRow, field: str) -> bool:
    return abs(getattr(row, field) - getattr(against, field)) <= SAME_SIZE * getattr(against, field)


def _faster(row: CandidateRow, against: CandidateRow) -> bool:
    return row.latency.p50_us_interval[1] < against.latency.p50_us_interval[0]


def _slower(row: CandidateRow, against: CandidateRow) -> bool:
    return row.latency.p50_us_interval[0] > against.latency.p50_us_interval[1]


RULES: tuple[Callable[[CandidateRow, CandidateRow], str], ...] = (
    _gain,
    _zeros_are_stored,
    _clusters_are_stored,
    _same_computation,
    _decoded_when_loaded,
    _dispatch_dominates,
    _not_delegated,
    _accuracy,
)
