"""Figures of the pipeline itself. Ratios come from one run, since machines differ and drift.

    python benchmarks/pipeline.py            all of them, about 15 minutes on 2 cores
    python benchmarks/pipeline.py latency    one or more by name

    build     a cold mobile build: its file's figures, wall time against bare.py, same bytes twice,
              time until a person sees how long it takes, evaluation of the test split,
              browser after mobile, and the build where nothing changed
    list      `invoke --list` against the same command on an empty tasks.py
    targets   all five targets from a cold store, in one command, against mobile alone; their limits
    latency   `invoke bench` against a minimal loop over Interpreter.invoke, and litert-benchmark

Prints Markdown rows: figure, measured, limit. They are kept in RESULTS.md.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
TASKS = "from pipeline.tasks import namespace\n"


def run(*command: str, cwd: Path, check: bool = True) -> tuple[float, subprocess.CompletedProcess[str]]:
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started, done


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"}


def invoke(*arguments: str, cwd: Path) -> tuple[float, subprocess.CompletedProcess[str]]:
    return run(sys.executable, "-m", "invoke", *arguments, cwd=cwd)


def row(figure: str, measured: str, limit: str) -> None:
    print(f"| {figure} | {measured} | {limit} |", flush=True)


def project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "tasks.py").write_text(TASKS)
    return folder


def measure_build(work: Path) -> None:
    first, second = project(work / "first"), project(work / "second")
    seen, cold, document = cold_build(first)
    bare, done = run(
        sys.executable, "-P", str(REPOSITORY / "benchmarks" / "bare.py"), str(work / "bare.tflite"), cwd=work
    )
    again, _ = invoke("build", "--target=mobile", "--json", cwd=second)
    bare_again, _ = run(
        sys.executable, "-P", str(REPOSITORY / "benchmarks" / "bare.py"), str(work / "b.tflite"), cwd=work
    )
    other = json.loads((second / "artifacts/mnist/mobile/build.json").read_text())
    files = {stage["name"]: stage["facts"].get("file") for stage in document["stages"]}
    deflated = document["deflated_bytes"] / files["baseline"]["deflated_bytes"]
    row("test accuracy of the int8 file", f"{document['accuracy']:.2%}", "at least 99.3%")
    drop = (document["baseline_accuracy"] - document["accuracy"]) * 100
    row("points under its float32 file", f"{drop:.2f}", "at most 0.2")
    row("raw bytes", f"{document['size_bytes']:,}", "at most 460,000")
    row("deflated, share of the float32 file's", f"{deflated:.3f}", "at most 0.1")
    row("speed-up over the float32 file", f"{document['latency']['speedup']['value']:.2f}×", "")
    row("time until the plan and its length are shown", f"{seen:.1f} s", "at most 15 s")
    row("cold build", f"{cold:.0f} s and {again:.0f} s", "about 3 min")
    row(
        f"cold build over bare.py ({bare:.0f} s and {bare_again:.0f} s)", ratio(cold + again, bare + bare_again), "1.15"
    )
    row("bare.py", done.stdout.strip(), "")
    row("same bytes from two processes and folders", str(other["sha256"] == document["sha256"]), "True")
    evaluation = next(stage for stage in document["stages"] if stage["name"] == "evaluate")
    row("16,000 images evaluated on the file", f"{evaluation['seconds']:.1f} s", "10,000 in at most 5 s")
    unchanged = [invoke("build", "--target=mobile", cwd=first)[0] for _ in range(9)]
    row("nothing changed: whole process, median of 9", f"{statistics.median(unchanged):.2f} s", "at most 0.8 s")
    _, traced = run(sys.executable, "-X", "importtime", "-m", "invoke", "build", cwd=first)
    row("TensorFlow imported then", str(bool(re.search(r"\| +tensorflow", traced.stderr))), "False")
    browser, _ = invoke("build", "--target=browser", cwd=first)
    row("browser after mobile, share of mobile's time", ratio(browser, cold), "at most 0.5")


def measure_targets(work: Path) -> None:
    one, five = project(work / "one"), project(work / "five")
    alone, _ = invoke("build", "--target=mobile", cwd=one)
    together, _ = invoke("build", "--target=mobile,raspberry-pi,microcontroller,ethos-u55,browser", cwd=five)
    row(f"five targets, cold ({together:.0f} s), over mobile alone ({alone:.0f} s)", ratio(together, alone), "1.5")
    invoke("build", "--target=tutorial", "--workload=mnist_dense", cwd=five)
    print_limits(five)


def print_limits(folder: Path) -> None:
    """Print each shipped limit beside what was measured, and how much looser it is (a test reads this)."""
    print("\n| target | budget | limit | measured | looser by |\n| --- | --- | --- | --- | --- |")
    for path in sorted(folder.glob("artifacts/*/*/build.json")):
        document = json.loads(path.read_text())
        for verdict in document["verdicts"]:
            name, limit, measured = verdict["metric"], verdict["limit"], verdict["measured"]
            looser = measured / limit if name.endswith("_min") else limit / measured if measured > 0 else None
            shown = f"{looser:.2f}×" if looser else "no loss at all"
            print(f"| {document['target']} | `{name}` | {limit:g} | {measured:.6g} | {shown} |", flush=True)


def cold_build(folder: Path) -> tuple[float, float, dict]:
    """Return seconds until the expected time is on stderr, seconds in all, and the document."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", "build", "--target=mobile", "--json"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = 0.0
    for line in process.stderr:
        if "about" in line and not seen:
            seen = time.perf_counter() - started
    document = json.loads(process.stdout.read())
    if process.wait() not in (0, 3):
        sys.exit(f"the build ended with {process.returncode}")
    return seen, time.perf_counter() - started, document


def measure_list(work: Path) -> None:
    full, empty = project(work / "full"), work / "empty"
    empty.mkdir()
    (empty / "tasks.py").write_text("from invoke import Collection\n\nnamespace = Collection()\n")
    pairs = []
    for _ in range(15):
        # An empty collection makes Invoke end with 1 after it has said so.
        bare, _ = run(sys.executable, "-m", "invoke", "--list", cwd=empty, check=False)
        ours, _ = invoke("--list", cwd=full)
        pairs.append(ours - bare)
    row("invoke --list over an empty tasks.py, median of 15", f"{statistics.median(pairs):.3f} s", "at most 0.15 s")


def measure_latency(work: Path) -> None:
    folder = project(work / "latency")
    for name in ("mobile.tflite", "float32.tflite", "large.tflite"):
        model = folder / name
        make_model(name, model)
        ratios = []
        for _ in range(5):  # interleaved: ours, theirs, ours, …
            _, done = invoke("bench", f"--model={model}", "--json", cwd=folder)
            ours = json.loads(done.stdout)["results"][0]["latency"]["p50_us"]
            _, loop = run(sys.executable, __file__, "loop", str(model), cwd=folder)
            ratios.append((ours / float(loop.stdout), ours))
        middle = statistics.median(value for value, _ in ratios)
        microseconds = statistics.median(value for _, value in ratios)
        row(f"p50 over a minimal loop, {name} ({microseconds:,.0f} µs), median of 5", f"{middle:.3f}", "0.95 to 1.05")
    command = str(Path(sys.executable).with_name("litert-benchmark"))
    ratios = []
    for number in range(3):
        _, done = invoke("bench", f"--model={model}", "--json", cwd=folder)
        ours = json.loads(done.stdout)["results"][0]["latency"]["p50_us"]
        result = folder / f"result{number}.json"
        options = ["--num_runs=300", "--warmup_runs=20", "--num_threads=1", f"--result_json={result}"]
        run(command, f"--model={model}", *options, cwd=folder)
        ratios.append(ours / litert_median_us(result))
    row("p50 over litert-benchmark's, large.tflite, median of 3", f"{statistics.median(ratios):.3f}", "0.9 to 1.1")


def litert_median_us(result: Path) -> float:
    """Return the median latency that litert-benchmark wrote, in microseconds."""
    return json.loads(result.read_text())["latency"]["median_ms"] * 1000


def make_model(name: str, path: Path) -> None:
    """Convert LeNet-5 (int8 or float32), or a float32 network of a few milliseconds, untrained."""
    code = f"""
import numpy as np
from pipeline.keras_legacy import keras, tf
from pipeline.workloads import mnist
keras.utils.set_random_seed(0)
layers = keras.layers
model = keras.Sequential(
    [layers.Conv2D(48, 3, padding="same", activation="relu", input_shape=(64, 64, 8))]
    + [layers.Conv2D(48, 3, padding="same", activation="relu") for _ in range(3)]
    + [layers.GlobalAveragePooling2D(), layers.Dense(10)]
) if {name == "large.tflite"} else mnist.build_model()
spec = tf.TensorSpec([1, *model.input_shape[1:]], tf.float32)
function = tf.function(lambda batch: model(batch, training=False), input_signature=[spec]).get_concrete_function()
converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
if {name == "mobile.tflite"}:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.random.rand(1, 28, 28, 1).astype("float32")] for _ in range(50))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
open({str(path)!r}, "wb").write(converter.convert())
"""
    run(sys.executable, "-c", code, cwd=path.parent)


def loop(model: str) -> None:
    """Print the median of a minimal loop over Interpreter.invoke, in microseconds."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    random = np.random.default_rng(0).random(entry["shape"])
    interpreter.set_tensor(entry["index"], (random * 100).astype(entry["dtype"]))
    times, end = [], time.perf_counter() + 2
    while time.perf_counter() < end:
        started = time.perf_counter_ns()
        interpreter.invoke()
        times.append(time.perf_counter_ns() - started)
    print(float(np.median(times[len(times) // 10 :])) / 1000)


FIGURES = {"build": measure_build, "targets": measure_targets, "list": measure_list, "latency": measure_latency}


def ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["loop"]:
        loop(sys.argv[2])
    else:
        print("| figure | measured | limit |\n| --- | --- | --- |")
        for figure in sys.argv[1:] or FIGURES:
            with tempfile.TemporaryDirectory() as name:
                FIGURES[figure](Path(name))
