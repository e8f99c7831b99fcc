"""Make a record through the pipeline: python -P run.py RECORD [--seeds=0,1,2]

Builds the record's file for each seed, measures each on the validation split in LiteRT, takes the best
that keeps to the size (the first of equals), and only then lets the pipeline build and judge that one,
which reads the test split. Writes RECORD.tflite and RECORD.log.json. Every read of the test split stays
in the log, those of earlier runs too. What is in the store is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).resolve().parent
sys.path[:0] = [str(RECORDS), str(RECORDS.parents[1])]

from measures import choose, correct_in_litert, correct_in_micro, verdict, wilson_interval, zipped_bytes  # noqa: E402

from pipeline.build_target import build, executed  # noqa: E402
from pipeline.files import copy_whole  # noqa: E402
from pipeline.inspect import inspect_file  # noqa: E402
from pipeline.plan import EVALUATE, make_plan  # noqa: E402
from pipeline.project import Project, open_project  # noqa: E402
from pipeline.report.terminal import terminal_watch  # noqa: E402
from pipeline.target import load_target  # noqa: E402
from pipeline.watch import Watch  # noqa: E402
from pipeline.workload import load_workload  # noqa: E402

SEEDS_MAX = 5
TEACHER = "artifacts/teacher.h5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", choices=sorted(p.stem for p in (RECORDS / "targets").glob("*.toml")))
    parser.add_argument("--seeds", default="0,1,2", help="at most five, of which validation chooses one")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    if not 1 <= len(set(seeds)) == len(seeds) <= SEEDS_MAX:
        parser.error(f"--seeds={arguments.seeds}: one to {SEEDS_MAX} different seeds")
    os.chdir(RECORDS)
    watch = terminal_watch()
    project = open_project(RECORDS, watch)
    if TEACHER in (RECORDS / "targets" / f"{arguments.record}.toml").read_text() and not (RECORDS / TEACHER).exists():
        make_teacher(project, watch)
    log = make_record(arguments.record, seeds, project, watch)
    (RECORDS / f"{arguments.record}.log.json").write_text(json.dumps(log, indent=2) + "\n")
    print(json.dumps({name: log[name] for name in ("record", "size_bytes", "zipped_bytes", "chosen_seed", "test")}))


def make_teacher(project: Project, watch: Watch) -> None:
    """Train the teacher of all students and put it where their recipes load it from."""
    target, workload = load_target("teacher", RECORDS), load_workload("teacher", RECORDS)
    plan = make_plan(target, workload, 0, RECORDS).up_to("train")
    with executed(plan, target, workload, project, watch) as done:
        copy_whole(done[plan.final].entry.folder / "model.h5", RECORDS / TEACHER)


def make_record(record: str, seeds: list[int], project: Project, watch: Watch) -> dict[str, Any]:
    target, workload = load_target(record, RECORDS), load_workload(record, RECORDS)
    images, labels = workload.load("validation")
    samples = workload.preprocess(images)
    tried = []
    for seed in seeds:
        plan = make_plan(target, workload, seed, RECORDS).recipe_only()
        with executed(plan, target, workload, project, watch) as done:
            model = done[plan.final].entry.folder / "model.tflite"
            correct = correct_in_litert(model, samples, labels)
            tried.append(
                {
                    "seed": seed,
                    "validation_accuracy": correct / len(labels),
                    "validation_correct": correct,
                    "size_bytes": model.stat().st_size,
                    "zipped_bytes": zipped_bytes(model),
                    "sha256": done[plan.final].facts["file"]["sha256"],
                    "seconds": {name: round(stage.entry.seconds, 1) for name, stage in done.items()},
                }
            )
        watch.note(f"seed {seed}: {correct} of {len(labels)} on validation, {tried[-1]['size_bytes']} bytes")
    chosen = choose(record, tried, target.budgets.size_bytes)
    document = build(target, workload, chosen["seed"], project, watch)
    path = RECORDS / f"{record}.tflite"
    shutil.copyfile(RECORDS / document.artifact, path)
    images, labels = workload.load("test")
    test = {
        "correct": round(document.accuracy * len(labels)),
        "samples": len(labels),
        "accuracy": document.accuracy,
        "interval_95": wilson_interval(round(document.accuracy * len(labels)), len(labels)),
        "correct_in_tflite_micro": correct_in_micro(path, workload.preprocess(images), labels),
    }
    evaluated = next(stage for stage in document.stages if stage.name == EVALUATE)
    earlier = RECORDS / f"{record}.log.json"
    reads = json.loads(earlier.read_text())["reads_of_test"] if earlier.exists() else []
    if evaluated.state == "made" or not reads:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        reads.append({"at": now, "seed": chosen["seed"], "sha256": document.sha256, "accuracy": document.accuracy})
    lenet5 = against_lenet5(path)
    return {
        "record": record,
        "size_bytes": document.size_bytes,
        "zipped_bytes": zipped_bytes(path),
        "sha256": document.sha256,
        "parameters": inspect_file(path).parameters,
        "seeds": tried,
        "chosen_seed": chosen["seed"],
        "test": test,
        "reads_of_test": reads,
        "baseline_test_accuracy": document.baseline_accuracy,
        "lenet5": lenet5,
        "verdicts": [budget.model_dump(mode="json") for budget in document.verdicts],
        "verdict": verdict(record, document.verdict, zipped_bytes(path), lenet5["speedup"]["low"]),
        "seconds": round(sum(sum(entry["seconds"].values()) for entry in tried), 1),
        "cores": len(os.sched_getaffinity(0)),
        "processor": document.latency.device.name,
        "versions": {**document.versions, "platform": platform.platform()},
    }


def against_lenet5(path: Path) -> dict[str, Any]:
    """Return how much faster the file is than the float32 file of LeNet-5, interleaved in one process.

    LeNet-5 keeps its initial weights: what it has learned does not change its time.
    """
    from pipeline.benchmark import measure
    from pipeline.keras_legacy import keras
    from pipeline.machine_lock import benchmarking
    from pipeline.runner import Settings, find_runner
    from pipeline.steps import quantize
    from pipeline.steps._fit import save_model

    lenet5 = load_workload("mnist", RECORDS)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        source.mkdir()
        out.mkdir()
        keras.utils.set_random_seed(0)
        save_model(lenet5.build_model(), source)
        quantize.run(source, lenet5, quantize.Config(scheme="float32"), out, lambda progress: None)
        samples = lenet5.preprocess(lenet5.load("validation")[0][:64])
        settings = Settings(outputs=False)
        with benchmarking(lambda message: None):
            found = measure(
                find_runner("host"),
                "host",
                path,
                out / "model.tflite",
                samples,
                settings,
                lambda so_far: True,
                lambda progress: None,
            )
        size = (out / "model.tflite").stat().st_size
    return {
        "float32_bytes": size,
        "float32_p50_us": found.baseline_latency.p50_us,
        "p50_us": found.latency.p50_us,
        "kernels": found.latency.kernels,
        "speedup": found.speedup.model_dump(mode="json"),
    }


if __name__ == "__main__":
    main()
