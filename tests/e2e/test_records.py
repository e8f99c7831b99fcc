"""The committed records are what their logs say, on LiteRT and on TFLite Micro."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records"
sys.path.insert(0, str(RECORDS))

from measures import correct_in_litert, correct_in_micro, wilson_interval, zipped_bytes  # noqa: E402

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
    fitting = [seed for seed in log["seeds"] if seed["size_bytes"] <= (budgets.size_bytes or seed["size_bytes"])]
    best = max(fitting or log["seeds"], key=lambda seed: seed["validation_correct"])
    assert 1 <= len(log["seeds"]) <= 5
    assert (log["chosen_seed"], log["sha256"]) == (best["seed"], best["sha256"])
    assert log["sha256"] in [read["sha256"] for read in log["reads_of_test"]]
    passed = log["size_bytes"] <= (budgets.size_bytes or log["size_bytes"])
    passed = passed and log["test"]["accuracy"] >= (budgets.accuracy_min or 0)
    assert passed or log["verdict"] == "fail"


def test_wilson_intervals_are_those_of_the_books() -> None:
    assert wilson_interval(15, 20) == pytest.approx((0.5313, 0.8881), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
