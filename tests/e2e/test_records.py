"""The committed records are what their logs say, on LiteRT and on TFLite Micro."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records"
sys.path.insert(0, str(RECORDS))

from measures import (  # noqa: E402
    choose,
    correct_in_litert,
    correct_in_micro,
    verdict,
    wilson_interval,
    zipped_bytes,
)

from pipeline.files import sha256_of  # noqa: E402
from pipeline.inspect import float_leftovers, inspect_file  # noqa: E402
from pipeline.target import load_target  # noqa: E402
from pipeline.workloads.mnist_data import load, preprocess  # noqa: E402

FILES = sorted(RECORDS.glob("*.tflite"))
MICRO_SAMPLES = 200


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_record_is_what_its_log_says(path: Path) -> None:
    log = json.loads(path.with_suffix(".log.json").read_text())
    found = inspect_file(path)
    assert found.sha256 == sha256_of(path) == log["sha256"]
    assert (found.size_bytes, zipped_bytes(path)) == (log["size_bytes"], log["zipped_bytes"])
    assert float_leftovers(found, float_io=False) == []
    images, labels = load("test")
    correct = correct_in_litert(path, preprocess(images), labels)
    assert correct == log["test"]["correct"]
    assert log["test"]["interval_95"] == list(wilson_interval(correct, len(labels)))
    micro = correct_in_micro(path, preprocess(images[:MICRO_SAMPLES]), labels[:MICRO_SAMPLES])
    assert micro >= MICRO_SAMPLES * log["test"]["correct_in_tflite_micro"] / len(labels) - 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_log_keeps_the_rules(path: Path) -> None:
    """At most five seeds, the best on validation taken, and every read of test noted."""
    log = json.loads(path.with_suffix(".log.json").read_text())
    budgets = load_target(path.stem, RECORDS).budgets
    best = choose(path.stem, log["seeds"], budgets.size_bytes)
    assert 1 <= len(log["seeds"]) <= 5
    assert (log["chosen_seed"], log["sha256"]) == (best["seed"], best["sha256"])
    assert log["sha256"] in [read["sha256"] for read in log["reads_of_test"]]
    kept = log["size_bytes"] <= (budgets.size_bytes or log["size_bytes"])
    kept = kept and log["test"]["accuracy"] >= (budgets.accuracy_min or 0)
    if budgets.accuracy_drop_max is not None:
        kept = kept and log["test"]["accuracy"] >= log["baseline_test_accuracy"] - budgets.accuracy_drop_max
    expected = verdict(path.stem, "pass" if kept else "fail", log["zipped_bytes"], log["lenet5"]["speedup"]["low"])
    assert log["verdict"] == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_readme_states_the_logs_figures(path: Path) -> None:
    log = json.loads(path.with_suffix(".log.json").read_text())
    row = next(line for line in (RECORDS / "README.md").read_text().splitlines() if f"| `{path.stem}` |" in line)
    size = log["zipped_bytes"] if "zipped" in path.stem else log["size_bytes"]
    low, high = log["test"]["interval_95"]
    stated = (f"{size:,} B", f"{log['test']['accuracy']:.2%}", f"{low:.2%}–{high:.2%}", log["verdict"])
    assert all(figure in row for figure in stated), stated


def seed(number: int, correct: int, size: int = 4000, zipped: int = 3000) -> dict[str, int]:
    return {"seed": number, "validation_correct": correct, "size_bytes": size, "zipped_bytes": zipped}


@pytest.mark.parametrize(
    ("tried", "record", "size_max", "expected"),
    [
        ([seed(0, 5900), seed(1, 5950), seed(2, 5950)], "any", 4000, 1),
        ([seed(0, 5900), seed(1, 5950, size=4001)], "any", 4000, 0),
        ([seed(0, 5900), seed(1, 5950, size=4001)], "any", None, 1),
        ([seed(0, 5900, size=4002), seed(1, 5950, size=4001)], "any", 4000, 1),
        ([seed(0, 5900), seed(1, 5950, zipped=5201)], "guide_zipped", None, 0),
    ],
    ids=["the first of the best", "one too large", "no limit", "all too large", "zipped too large"],
)
def test_validation_chooses_among_the_seeds(tried: list, record: str, size_max: int | None, expected: int) -> None:
    assert choose(record, tried, size_max)["seed"] == expected


def test_limits_that_no_budget_has_decide_too() -> None:
    assert verdict("guide_zipped", "pass", 5200, 1) == "pass"
    assert verdict("guide_zipped", "pass", 5201, 1) == "fail"
    assert verdict("mnist_fast", "pass", 9000, 5.99) == "fail"
    assert verdict("mnist_fast", "fail", 9000, 6.1) == "fail"


def test_wilson_intervals_are_those_of_the_books() -> None:
    assert wilson_interval(15, 20) == pytest.approx((0.5313, 0.8881), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
