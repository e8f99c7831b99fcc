"""From what was made and measured to the rows of the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.comparison.choice import accuracy_is_sure, axes, mcnemar, pareto_front, why_not
from pipeline.comparison.document import Accuracy, CandidateRow
from pipeline.comparison.reasons import gained, reasons
from pipeline.evaluate import scores_of
from pipeline.inspect import inspect_file
from pipeline.plan import EVALUATE, EVALUATE_BASELINE, Plan, whole_recipe
from pipeline.project import ARTIFACT
from pipeline.score_intervals import wilson_interval
from pipeline.verdict import Verdict, judge, overall

if TYPE_CHECKING:
    import numpy as np

    from pipeline.benchmark import Measurement
    from pipeline.comparison.techniques import Candidate
    from pipeline.execute import Done
    from pipeline.target import Target
    from pipeline.workload import Workload


@dataclass(frozen=True)
class Made:
    """A candidate whose file lies in the store."""

    candidate: Candidate
    plan: Plan
    done: dict[str, Done]

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def final(self) -> Done:
        return self.done[self.plan.final]


def row_of(
    made: Made,
    reference: Made,
    measurement: Measurement,
    on_device: Measurement,
    target: Target,
    workload: Workload,
    file: str,
) -> CandidateRow:
    """Return the row of one candidate; what follows from other rows is left to `settle`.

    measurement: what is shown and compared, `on_device`: what the budgets are held against.
    """
    found, facts = inspect_file(made.final.entry.folder / ARTIFACT), made.done[EVALUATE].facts
    verdicts = verdicts_on("validation", made, target, on_device)
    values = [kernel.distinct_values_per_channel for kernel in found.kernels]
    return CandidateRow(
        name=made.name,
        description=made.candidate.technique.description,
        recipe=[dict(entry) for entry in whole_recipe(made.candidate.target)],
        stages={name: done.stage.key for name, done in made.done.items()},
        file=file,
        sha256=found.sha256,
        fits_target=(found.inputs[0].dtype, found.outputs[0].dtype) == (target.input_dtype, target.output_dtype),
        size_bytes=found.size_bytes,
        deflated_bytes=found.deflated_bytes,
        weight_bytes=found.weight_bytes,
        parameters=found.parameters,
        multiply_accumulates=found.multiply_accumulates,
        operators=found.operator_counts,
        dtypes=sorted({dtype for operator in found.operators for dtype in operator.dtypes}),
        weight_dtypes=sorted({kernel.dtype for kernel in found.kernels}),
        zero_fraction=round(found.zero_fraction, 6),
        distinct_values_per_channel=max(values, default=None),
        validation=_accuracy(facts["validation"]),
        test=_accuracy(facts["test"]),
        mcnemar=mcnemar(_right(reference, workload), _right(made, workload)),
        latency=measurement.latency,
        speedup=measurement.speedup,
        memory_bytes=measurement.memory_bytes,
        figures=on_device.figures,
        verdicts=verdicts,
        verdict=overall(verdicts),
        against=made.candidate.technique.against,
        seconds=round(sum(done.entry.seconds for done in made.done.values()), 1),
    )


def verdicts_on(split: str, made: Made, target: Target, measurement: Measurement) -> list[Verdict]:
    """Return the target's verdicts on a candidate, its accuracy taken from one split."""
    return judge(
        target.budgets,
        size_bytes=made.final.facts["file"]["size_bytes"],
        scores=scores_of(made.done[EVALUATE].facts, split),
        baseline_scores=scores_of(made.done[EVALUATE_BASELINE].facts, split),
        measurement=measurement,
    )


def settle(rows: list[CandidateRow]) -> None:
    """Fill in what follows from several rows: the front, what was gained and why, why a row is not the choice."""
    by_name = {row.name: row for row in rows}
    for row, on_front in zip(rows, pareto_front([axes(row) for row in rows]), strict=True):
        row.on_front = on_front
        row.not_chosen = why_not(row, rows[0])
        row.accuracy_sure = accuracy_is_sure(row)
        # Where the one that it belongs to was left out, the float file says what was gained.
        against = by_name.get(row.against or "", rows[0]) if row is not rows[0] else None
        row.against = against.name if against else None
        if against:
            row.gained, row.reasons = gained(row, against), reasons(row, against)


def _right(made: Made, workload: Workload) -> np.ndarray:
    """Return which validation samples the file classifies correctly, bool [samples]."""
    import numpy as np

    predicted = np.load(made.done[EVALUATE].entry.folder / "validation.npy")
    return predicted == workload.load("validation")[1]


def _accuracy(facts: dict[str, Any]) -> Accuracy:
    known = {name: facts[name] for name in Accuracy.model_fields if name in facts}
    return Accuracy(**known, interval=wilson_interval(facts["correct"], facts["samples"]))
