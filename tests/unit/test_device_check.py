"""The device's answers against the evaluating runner's: stand-ins for both, which answer what they are told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest

from pipeline.benchmark import DeviceCheck, Measurement
from pipeline.device_check import check_device
from pipeline.errors import RunnerFailed
from pipeline.flatbuffer import read_model
from pipeline.learning_tasks import classification
from pipeline.runner import Device, ModelRun, RunResult, Settings
from pipeline.steps._pack import pack
from pipeline.target import Budgets
from pipeline.verdict import Verdict, judge

DATA = Path(__file__).parents[1] / "data"
TINY, TINY_FLOAT, BRANCHING = (DATA / f"{name}.tflite" for name in ("tiny_int8", "tiny_float32", "depthwise_int8"))
DEVICE = Device(device_class="microcontroller", name="stand-in", fingerprint={})
SAMPLES = 1000


def workload(validation: int = SAMPLES) -> Any:
    """Return one whose samples are their own numbers and whose labels are all 0."""

    def load(split: str) -> tuple[np.ndarray, np.ndarray]:
        count = validation if split == "validation" else SAMPLES
        return np.arange(count, dtype=np.float32).reshape(count, 1), np.zeros(count, np.int64)

    return SimpleNamespace(
        load=load, preprocess=lambda samples: samples, task=classification, metric="accuracy", threshold=0.5
    )


def answering(rows: dict[int, list[float]], step: float, prefixes: dict[str, float] | None = None) -> Any:
    """Return a runner that answers [3, 1, 0] steps, and for the samples of these numbers other rows.

    prefixes: how many steps beside 0 the output of the prefix of that name lies.
    """

    def run(models: dict[str, Path], samples: np.ndarray, settings: Settings) -> RunResult:
        outputs = np.tile(np.float32([3, 1, 0]), (len(samples), 1))
        for index, row in rows.items():
            outputs[index] = row
        found = {name: outputs * np.float32(step) for name in models}
        for name, path in models.items():
            if name != "model":
                found[name] = np.full((len(samples), 2), (prefixes or {}).get(name, 0) * scale_of(path), np.float32)
        runs = {name: ModelRun(values, np.empty((0, 0), np.int64), "none") for name, values in found.items()}
        return RunResult(DEVICE, None, runs)

    return SimpleNamespace(run=run)


def scale_of(path: Path) -> float:
    graph = read_model(path).subgraphs[0]
    return (graph.tensors[graph.outputs[0]].scale or (1.0,))[0]


def check(
    ours: dict[int, list[float]],
    theirs: dict[int, list[float]],
    *,
    model: Path = TINY,
    step: float = 0.0,
    validation: int = SAMPLES,
    prefixes: dict[str, float] | None = None,
) -> DeviceCheck:
    step = step or scale_of(model)
    device, host = answering(theirs, step, prefixes), answering(ours, step)
    found = check_device(device, Settings(), host, Settings(), model, workload(validation))
    assert found is not None
    return found


def verdict_on(found: DeviceCheck) -> Verdict:
    measurement = Measurement(
        model_sha256="0" * 64,
        baseline_sha256=None,
        device=DEVICE,
        latency=None,
        baseline_latency=None,
        speedup=None,
        memory_bytes=None,
        device_check=found,
        measured_at="2026-01-01T00:00:00+00:00",
    )
    judged = judge(Budgets(), size_bytes=1, scores={}, baseline_scores={}, measurement=measurement)
    return next(verdict for verdict in judged if verdict.metric == "device_differences_max")


def test_equal_answers_pass() -> None:
    found = check({}, {})
    assert (found.samples, found.differences, found.differences_max, found.steps_max) == (SAMPLES, 0, 2, 1)
    assert (found.largest_difference_steps, found.first_difference) == (0, "")
    assert verdict_on(found).verdict == "pass"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([5, 5, 0], [4, 5, 0]),  # a tie, of which the first is taken
        ([5, 4, 0], [5, 6, 0]),
        ([5, 4, 0], [4, 5, 0]),
        ([5, 5, 0], [4, 6, 0]),
    ],
    ids=["a tie", "one output moves by two", "both by one", "a tie that both part"],
)
def test_classes_one_step_apart_may_change_places(ours: list[float], theirs: list[float]) -> None:
    found = check({7: ours}, {7: theirs})
    assert (found.differences, found.beyond_steps_max) == (1, 0)
    assert verdict_on(found).verdict == "pass"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([5, 3, 0], [4, 5, 0]), ([5, 3, 0], [4, 4.5, 0])],
    ids=["two apart", "two apart, and less there"],
)
def test_one_answer_two_steps_away_fails(ours: list[float], theirs: list[float]) -> None:
    found = check({7: ours}, {7: theirs})
    assert (found.differences, found.beyond_steps_max) == (1, 1)
    verdict = verdict_on(found)
    assert verdict.verdict == "fail"
    assert "1 of them between classes more than 1 steps apart" in verdict.note
    assert "first at operator" in verdict.note


@pytest.mark.parametrize(("differing", "outcome"), [(2, "pass"), (3, "fail")])
def test_two_of_a_thousand_may_differ_by_a_step(differing: int, outcome: str) -> None:
    rows = range(differing)
    found = check({row: [5, 4, 0] for row in rows}, {row: [4, 5, 0] for row in rows})
    assert (found.differences, found.beyond_steps_max) == (differing, 0)
    assert verdict_on(found).verdict == outcome
    assert bool(found.first_difference) == (outcome == "fail")


def test_differences_on_test_samples_count_for_accuracy_alone() -> None:
    found = check({}, {SAMPLES + row: [0, 9, 0] for row in range(50)})
    assert found.differences == 0
    assert (found.test_samples, found.score, found.host_score) == (SAMPLES, 0.95, 1.0)
    assert found.largest_difference_steps == pytest.approx(8)


def test_a_tenth_of_the_samples_allows_one() -> None:
    assert check({}, {}, validation=100).differences_max == 1


def test_a_deeper_graph_may_differ_by_another_step_and_more_often(tmp_path: Path) -> None:
    model = schema.ModelT.InitFromPackedBuf(TINY.read_bytes())
    graph = model.subgraphs[0]
    graph.operators = [graph.operators[0]] * 8 + graph.operators  # nothing runs it
    deep = tmp_path / "deep.tflite"
    deep.write_bytes(pack(model))
    assert len(read_model(deep).subgraphs[0].operators) == 11
    rows = range(10)
    found = check({row: [5, 3, 0] for row in rows}, {row: [3, 5, 0] for row in rows}, model=deep)
    assert (found.differences_max, found.steps_max, found.differences, found.beyond_steps_max) == (10, 2, 10, 0)
    assert verdict_on(found).verdict == "pass"


def test_ten_operators_are_not_deep() -> None:
    found = check({}, {}, model=BRANCHING)
    assert (found.differences_max, found.steps_max) == (2, 1)


def test_a_float_output_has_steps_of_its_range() -> None:
    near, far, other = [3, 2.9999, 0], [3, 2.99, 0], [2.9, 3, 0]
    assert check({7: near}, {7: other}, model=TINY_FLOAT, step=1.0).beyond_steps_max == 0
    beyond = check({7: far}, {7: other}, model=TINY_FLOAT, step=1.0)
    assert (beyond.differences, beyond.beyond_steps_max) == (1, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_what_is_no_number_is_no_answer(value: float, place: int) -> None:
    row: list[float] = [3, 1, 0]
    row[place] = value
    found = check({}, {7: row})
    assert (found.differences, found.beyond_steps_max) == (1, 1)
    assert found.largest_difference_steps == 1e9
    assert verdict_on(found).verdict == "fail"


@pytest.mark.parametrize(
    ("prefixes", "named"),
    [
        ({"0": 1, "1": 2, "2": 3}, "operator 0 CONV_2D, by 1 steps"),  # rounding alone: where it grows most
        ({"0": 2, "1": 2, "2": 2}, "operator 0 CONV_2D, by 2 steps"),
        ({"0": 2, "1": 9, "2": 9}, "operator 0 CONV_2D, by 2 steps"),  # more than its own rounding, and grows later
        ({"0": 1, "1": 1, "2": 40}, "operator 2 FULLY_CONNECTED, by 40 steps"),
        ({"1": np.nan}, "operator 1 RESHAPE, by 1e+09 steps"),
        ({"2": 2}, "operator 2 FULLY_CONNECTED, by 2 steps"),
    ],
)
def test_the_operator_where_they_part_is_named(prefixes: dict[str, float], named: str) -> None:
    assert check({}, {0: [0, 9, 0]}, prefixes=prefixes).first_difference == named


def test_the_search_takes_the_samples_that_differ_most() -> None:
    asked: list[list[int]] = []
    device = answering({900: [0, 9, 0], 3: [3, 2, 0]}, scale_of(TINY))

    def run(models: dict[str, Path], samples: np.ndarray, settings: Settings) -> RunResult:
        if "model" not in models:
            asked.append(samples.reshape(-1).astype(int).tolist())
            return answering({}, 1.0).run(models, samples, settings)
        return device.run(models, samples, settings)

    host = answering({}, scale_of(TINY))
    check_device(SimpleNamespace(run=run), Settings(), host, Settings(), TINY, workload())  # type: ignore[arg-type]
    assert asked == [[900, 3, *range(3), *range(4, 15)]]


def test_a_device_that_fails_at_prefixes_still_has_its_verdict() -> None:
    def run(models: dict[str, Path], samples: np.ndarray, settings: Settings) -> RunResult:
        if "model" in models:
            return answering({0: [0, 9, 0]}, scale_of(TINY)).run(models, samples, settings)
        raise RunnerFailed("the cable was pulled")

    host = answering({}, scale_of(TINY))
    found = check_device(SimpleNamespace(run=run), Settings(), host, Settings(), TINY, workload())  # type: ignore[arg-type]
    assert found is not None
    assert found.first_difference == "an operator that was not found: the cable was pulled"
    assert verdict_on(found).verdict == "fail"


def test_no_outputs_are_no_check() -> None:
    def run(models: dict[str, Path], samples: np.ndarray, settings: Settings) -> RunResult:
        return RunResult(DEVICE, None, {"model": ModelRun(None, np.empty((0, 0), np.int64), "none")})

    device = SimpleNamespace(run=run)
    assert check_device(device, Settings(), device, Settings(), TINY, workload()) is None  # type: ignore[arg-type]


def test_outputs_of_another_shape_are_an_error() -> None:
    def run(models: dict[str, Path], samples: np.ndarray, settings: Settings) -> RunResult:
        outputs = np.zeros((len(samples), 4), np.float32)
        return RunResult(DEVICE, None, {"model": ModelRun(outputs, np.empty((0, 0), np.int64), "none")})

    host = answering({}, 1.0)
    with pytest.raises(RunnerFailed, match="other outputs") as caught:
        check_device(SimpleNamespace(run=run), Settings(), host, Settings(), TINY, workload())  # type: ignore[arg-type]
    assert (caught.value.received, caught.value.expected) == ("outputs [2000, 4]", "outputs [2000, 3]")
