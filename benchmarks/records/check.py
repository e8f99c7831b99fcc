"""Verify the committed records as they lie: python -P check.py [--all]

For each RECORD.tflite: its bytes and SHA-256 are the log's, no operator or tensor is float, and its
accuracy on the test split in LiteRT is the log's. TFLite Micro, whose reference kernels are slow,
classifies the first 1,000 test pictures; with --all, the whole split.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

RECORDS = Path(__file__).resolve().parent
sys.path[:0] = [str(RECORDS), str(RECORDS.parents[1])]

from measures import correct_in_litert, correct_in_micro, wilson_interval, zipped_bytes  # noqa: E402

from pipeline.inspect import float_leftovers, inspect_file  # noqa: E402
from pipeline.workloads.mnist_data import load, preprocess  # noqa: E402

MICRO_SAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="the whole test split in TFLite Micro too")
    micro_samples = None if parser.parse_args().all else MICRO_SAMPLES
    images, labels = load("test")
    samples = preprocess(images)
    wrong = []
    print("| record | bytes | zipped | parameters | LiteRT | 95% | TFLite Micro | verdict |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for path in sorted(RECORDS.glob("*.tflite")):
        log = json.loads(path.with_suffix(".log.json").read_text())
        found = inspect_file(path)
        correct = correct_in_litert(path, samples, labels)
        micro = correct_in_micro(path, samples[:micro_samples], labels[:micro_samples])
        low, high = wilson_interval(correct, len(labels))
        columns = (
            path.stem,
            found.size_bytes,
            zipped_bytes(path),
            found.parameters,
            f"{correct / len(labels):.2%}",
            f"{low:.2%}–{high:.2%}",
            f"{micro / len(labels[:micro_samples]):.2%} of {len(labels[:micro_samples])}",
            log["verdict"],
        )
        print("|", " | ".join(str(column) for column in columns), "|", flush=True)
        facts = {"sha256": found.sha256, "size_bytes": found.size_bytes, "zipped_bytes": zipped_bytes(path)}
        wrong += [
            f"{path.stem}: {name} is {value}, not the log's" for name, value in facts.items() if log[name] != value
        ]
        wrong += [f"{path.stem}: computes in float: {label}" for label in float_leftovers(found, float_io=False)]
        if correct != log["test"]["correct"]:
            wrong.append(f"{path.stem}: {correct} correct in LiteRT, {log['test']['correct']} in the log")
        if micro_samples is None and micro != log["test"]["correct_in_tflite_micro"]:
            wrong.append(f"{path.stem}: {micro} correct in TFLite Micro, not the log's")
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
