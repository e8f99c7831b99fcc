"""Two builds held against each other, from what is known of both: pure functions.

Numbers with intervals differ when the intervals do not meet. Accuracy differs when McNemar's exact test on
the two files' answers says so; without the answers it is held against the intervals, as other scores are.
Times and memory compare only where device, runner and threads are the same, scores only of one workload with
the same data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.comparison.choice import SIGNIFICANT, mcnemar
from pipeline.diff_document import (
    AnswerChange,
    Answers,
    BudgetChange,
    FieldChange,
    MetricChange,
    OperatorChange,
    StageChange,
)
from pipeline.explain import differences
from pipeline.learning_task import METRICS
from pipeline.regression import EXACT, HIGHER_IS_BETTER, not_comparable, score_interval

if TYPE_CHECKING:
    import numpy as np

    from pipeline.comparison.choice import McNemar
    from pipeline.documents import BuildDocument
    from pipeline.inspect import Inspection
    from pipeline.intervals import Interval

Span = tuple[float, float]
Record = Mapping[str, Any]
FILE_FACTS = ("parameters", "multiply_accumulates", "weight_bytes", "zero_fraction")


def metric_changes(
    before: BuildDocument, after: BuildDocument, *, other_data: str = "", test: McNemar | None = None
) -> list[MetricChange]:
    """Return every number that either build has.

    other_data: why scores do not compare; "" where they do. test: of the two files' answers, if these are there.
    """
    found = [_change(name, (getattr(before, name), getattr(after, name))) for name in ("size_bytes", "deflated_bytes")]
    for name in METRICS:
        if name in before.scores or name in after.scores:
            values = (before.scores.get(name), after.scores.get(name))
            spans = (_score_span(before, name), _score_span(after, name))
            judged = test if name == "accuracy" else None
            higher = METRICS[name].higher_is_better
            alone = "" if judged or any(spans) or values[0] == values[1] else "it has no interval"
            found.append(_change(name, values, spans, higher=higher, note=other_data or alone, test=judged))
    note = not_comparable(after, before)
    pair = (before.latency, after.latency)
    for name in ("p50_us", "p90_us", "p99_us"):
        values, spans = _both(pair, name), _both(pair, f"{name}_interval")
        if any(value is not None for value in values):
            found.append(_change(name, values, spans, note=note))
    for owners, name in ((pair, "speedup"), ((before.device, after.device), "memory_bytes")):
        intervals = _both(owners, name)
        if any(intervals):
            spans = _span(intervals[0]), _span(intervals[1])
            found.append(_change(name, _both(intervals, "value"), spans, higher=name == "speedup", note=note))
    figures = (before.device.figures, after.device.figures)
    for name in sorted({*figures[0], *figures[1]}):
        values = _both([side.get(name) for side in figures], "value")
        varies = "" if name in EXACT else "it varies, and has no interval"
        found.append(_change(name, values, higher=name in HIGHER_IS_BETTER, note=varies))
    return found


def recipe_changes(
    before: Sequence[tuple[str, str, Record | None]], after: Sequence[tuple[str, str, Record | None]]
) -> list[StageChange]:
    """Return the stages of both builds, each given as name, key and the key's record, None where that is gone."""
    earlier, later = ({name: (key, record) for name, key, record in side} for side in (before, after))
    found = []
    for name in _merged(list(earlier), list(later)):
        if name not in later or name not in earlier:
            record = (later.get(name) or earlier[name])[1]
            state = "only after" if name in later else "only before"
            found.append(StageChange(name=name, state=state, parameters=_given(record, name in later), inputs=[]))
        else:
            found.append(_stage_change(name, earlier[name], later[name]))
    return found


def field_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FieldChange]:
    """Return the names whose values differ, null where one is missing."""
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return [FieldChange(field=name, before=before.get(name), after=after.get(name)) for name in names]


def operator_changes(before: Inspection, after: Inspection) -> list[OperatorChange]:
    """Return the operators, told apart by their number formats, that one file has more often."""
    earlier, later = (
        Counter(f"{operator.name} {'/'.join(operator.dtypes)}" for operator in found.operators)
        for found in (before, after)
    )
    return [
        OperatorChange(operator=name, before=earlier[name], after=later[name])
        for name in sorted(earlier | later)
        if earlier[name] != later[name]
    ]


def file_changes(before: Inspection, after: Inspection) -> list[FieldChange]:
    """Return what differs of the two files' totals."""
    earlier, later = ({name: getattr(found, name) for name in FILE_FACTS} for found in (before, after))
    return field_changes(earlier, later)


def answer_changes(
    before: np.ndarray, after: np.ndarray, names: Sequence[str], labels: np.ndarray | None, note: str = ""
) -> Answers:
    """Return which samples changed class: integers [n] each.

    labels: the true classes, None where they cannot be had, and `note` says why.
    """
    import numpy as np

    def named(number: int) -> str:
        return names[number] if 0 <= number < len(names) else str(number)

    changed = np.flatnonzero(before != after)
    test = None if labels is None else mcnemar(before == labels, after == labels)
    return Answers(
        samples=len(before),
        changed=len(changed),
        lost=test.only_reference_right if test else None,
        gained=test.only_this_right if test else None,
        mcnemar=test,
        shown=[
            AnswerChange(
                index=int(index),
                label=None if labels is None else named(int(labels[index])),
                before=named(int(before[index])),
                after=named(int(after[index])),
            )
            for index in changed
        ],
        note=note,
    )


def budget_changes(before: BuildDocument, after: BuildDocument) -> list[BudgetChange]:
    """Return every budget of either build with both verdicts."""
    earlier, later = ({verdict.metric: verdict for verdict in side.verdicts} for side in (before, after))
    names = _merged(list(earlier), list(later))
    return [BudgetChange(metric=name, before=earlier.get(name), after=later.get(name)) for name in names]


def _change(
    metric: str,
    values: Sequence[float | None],
    spans: Sequence[Span | None] = (None, None),
    *,
    higher: bool = False,
    note: str = "",
    test: McNemar | None = None,
) -> MetricChange:
    outcome: Any = "not applicable"
    before, after = values
    if before is None or after is None:
        note = f"not measured {'before' if before is None else 'after'}"
    elif not note:
        earlier, later = spans[0] or (before, before), spans[1] or (after, after)
        above, below = later[0] > earlier[1], later[1] < earlier[0]
        if test:
            lost, gained = test.only_reference_right, test.only_this_right
            above, below = (test.p_value < SIGNIFICANT and side for side in (gained > lost, gained < lost))
            note = f"McNemar's p {test.p_value:.2g}"
        better, worse = (above, below) if higher else (below, above)
        outcome = "better" if better else "worse" if worse else "no difference shown"
    return MetricChange(
        metric=metric,
        before=before,
        after=after,
        before_interval=spans[0],
        after_interval=spans[1],
        outcome=outcome,
        note=note,
    )


def _score_span(document: BuildDocument, metric: str) -> Span | None:
    facts: Any = next((stage.facts.get("test") for stage in document.stages if stage.name == "evaluate"), None) or {}
    samples = facts.get("samples", 0) if "correct" in facts else 0  # several answers a sample are no Wilson's
    return score_interval(document.scores, document.score_intervals, metric, samples)


def _span(interval: Interval | None) -> Span | None:
    return (interval.low, interval.high) if interval else None


def _both(owners: Sequence[Any], name: str) -> tuple[Any, Any]:
    first, second = owners
    return (getattr(first, name) if first else None), (getattr(second, name) if second else None)


def _stage_change(name: str, before: tuple[str, Record | None], after: tuple[str, Record | None]) -> StageChange:
    if before[0] == after[0]:
        return StageChange(name=name, state="same", parameters=[], inputs=[])
    if before[1] is None or after[1] is None:
        which = "both builds" if before[1] is after[1] else "the first build" if before[1] is None else "the second"
        note = f"the store has no record of it any more, for {which}"
        return StageChange(name=name, state="unknown", parameters=[], inputs=[], note=note)
    parameters, inputs = [], []
    for change in differences(before[1], after[1]):
        field = change["field"]
        if field.startswith("config.") or field == "seed":
            shown = field.removeprefix("config.")
            parameters.append(FieldChange(field=shown, before=change["before"], after=change["after"]))
        elif field != "follows":
            inputs.append(field)
    state = "changed" if parameters or inputs else "follows a change"
    return StageChange(name=name, state=state, parameters=parameters, inputs=inputs)


def _given(record: Record | None, added: bool) -> list[FieldChange]:
    """Return the parameters of a stage that one build lacks: those that say something."""
    known = {name: value for name, value in (record or {}).get("config", {}).items() if value is not None}
    return [
        FieldChange(field=name, before=None if added else value, after=value if added else None)
        for name, value in sorted(known.items())
    ]


def _merged(before: list[str], after: list[str]) -> Iterator[str]:
    """Give the later names in order, and each one that is gone before the one it stood in front of."""
    waiting = list(before)
    for name in after:
        if name in waiting:
            place = waiting.index(name)
            yield from (gone for gone in waiting[:place] if gone not in after)
            waiting = [kept for kept in waiting[:place] if kept in after] + waiting[place + 1 :]
        yield name
    yield from (gone for gone in waiting if gone not in after)
