"""How long each operator takes: an estimate, since LiteRT's Python interpreter has no profiler to read.

The file is cut after each operator (`operator_cuts.py`). All prefixes, the file itself and a file of
one operator that does next to nothing take turns in the same processes; an operator's estimate is
the median time of the prefix that ends with it less that of the one before. So the estimates and
the floor add up to the file's own time. What is too small to be seen comes out on either side of
zero: it is shown as it is, and called within noise.

Cutting changes what is measured. Kernels that a delegate runs as one are cut apart, an activation
or a transpose that it would merge with its neighbour stands alone, and a prefix also hands out
every tensor that later operators read.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from pipeline.benchmark import ROUNDS
from pipeline.intervals import Interval, bootstrap_percentiles, difference_interval, interval
from pipeline.operator_cuts import DELEGATE, FLOOR, UNKNOWN
from pipeline.runner import RunResult, Settings
from pipeline.runners._child import answer_of
from pipeline.untrusted import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

BLOCKS = 5
ROWS_MAX = 64  # prefixes are all loaded at once; of a deeper graph several operators share a row
NOTE = (
    "estimates: differences of prefix models, on random samples; cutting a file changes what a delegate merges, "
    "and adds copies of outputs"
)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OperatorTime(_Strict):
    """The estimated time of one operator, or of several neighbours in a graph of very many."""

    first: int = Field(description="Position of the first operator in the graph's order of execution, from 0.")
    last: int = Field(description="Position of the last; that of the first where it is one operator.")
    name: str = Field(description="Builtin name such as CONV_2D, or a custom operator's; several joined by +.")
    output_shape: tuple[int, ...] = Field(description="Shape of the last one's first output, in elements.")
    kernels: str = Field(description="Who computes it in the whole file: a delegate, built-in kernels, or unknown.")
    microseconds: Interval = Field(description="Estimate, in microseconds; its lower end may be negative.")
    share: float = Field(description="The estimate as a share of the whole file's time; may be negative.")
    within_noise: bool = Field(description="True where the interval reaches zero: no time of its own was seen.")
    cut_alike: bool = Field(description="False where another computes an operator of the prefix than of the whole.")


class OperatorTimes(_Strict):
    """Where a file's time goes."""

    whole_us: Interval = Field(description="Median time of the whole file in the same processes, in microseconds.")
    dispatch_floor_us: Interval = Field(
        description="Median time of a file of one operator that computes next to nothing, in microseconds."
    )
    dispatch_floor_share: float = Field(description="That as a share of the whole.")
    operators: tuple[OperatorTime, ...] = Field(
        description="The longest first. All estimates and the floor add up to the whole."
    )
    rounds: int = Field(description="Rounds in which all took turns.")
    note: str = Field(NOTE, description="What the estimates leave out.")


def operator_times(
    runner: ModuleType, model: Path, settings: Settings, report: Callable[[dict], None], *, on_host: bool
) -> OperatorTimes:
    """Return the estimated times of a file's operators on a runner that gives times.

    on_host: whether the runner is this machine's LiteRT, which alone tells who computes.
    `report` gets {"done": share from 0 to 1}. Raises BadModelFile for a file that is no model, and
    what the runner raises.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-operators-") as name:
        folder = Path(name).resolve()
        answer, log = ask("cut", model, folder, cuts_max=ROWS_MAX)
        with answer_of(str(model)):
            cuts, alike = [int(cut) for cut in answer["cuts"]], [bool(one) for one in answer["alike"]]
            operators = [
                (str(o["name"]), tuple(map(int, o["output_shape"])), o["kernels"]) for o in answer["operators"]
            ]
            if cuts != sorted(set(cuts)) or cuts[-1] != len(operators) or len(alike) != len(cuts):
                raise ValueError(f"cuts {cuts} of {len(operators)} operators")
        paths = {str(cut): folder / f"after_{cut}.tflite" for cut in cuts[:-1]}
        paths |= {"floor": folder / FLOOR, "whole": model}
        asked = replace(
            settings, rounds=ROUNDS, outputs=False, resident_megabytes=settings.resident_megabytes * len(paths)
        )
        results: list[RunResult] = []
        for block in range(BLOCKS):
            results.append(runner.run(paths, None, asked))
            report({"done": (block + 1) / BLOCKS})
    times = {name: [result.models[name].times_ns for result in results] for name in paths}
    # The seed is fixed: resample for resample, all medians come from the same blocks and rounds.
    medians = {name: bootstrap_percentiles(blocks) for name, blocks in times.items()}
    values = {name: (float(found.values[0]) / 1e3, found.resampled[0] / 1e3) for name, found in medians.items()}
    whole = values["whole"]
    delegate = "XNNPACK delegate" if "XNNPACK delegate" in log else "unnamed delegate"

    def row(number: int) -> OperatorTime:
        first, last = cuts[number - 1] if number else 0, cuts[number] - 1
        before = values[str(cuts[number - 1])] if number else values["floor"]
        after = values[str(cuts[number])] if number + 1 < len(cuts) else whole
        estimate = _difference(before, after)
        who = {kernels for _, _, kernels in operators[first : last + 1]} if on_host else {UNKNOWN}
        return OperatorTime(
            first=first,
            last=last,
            name=" + ".join(name for name, _, _ in operators[first : last + 1]),
            output_shape=operators[last][1],
            kernels=" and ".join(sorted(delegate if one == DELEGATE else one for one in who)),
            microseconds=estimate,
            share=estimate.value / whole[0],
            within_noise=estimate.low <= 0,
            cut_alike=alike[number],
        )

    rows = sorted((row(number) for number in range(len(cuts))), key=lambda one: -one.microseconds.value)
    return OperatorTimes(
        whole_us=interval(*whole, BLOCKS),
        dispatch_floor_us=interval(*values["floor"], BLOCKS),
        dispatch_floor_share=values["floor"][0] / whole[0],
        operators=tuple(rows),
        rounds=BLOCKS * ROUNDS,
    )


def _difference(before: tuple[float, np.ndarray], after: tuple[float, np.ndarray]) -> Interval:
    return difference_interval(after[0] - before[0], after[1] - before[1], BLOCKS)
