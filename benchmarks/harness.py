"""The host runner's timing loop against others, on networks of about 5 µs, 50 µs and 5 ms, in one run.

    PYTHONPATH=. python -P benchmarks/harness.py [REPETITIONS]      12 by default, about 4 minutes

    host           pipeline/runners/host.py, as every measurement uses it
    loop           a minimal loop over Interpreter.invoke, written apart from it
    CompiledModel  the same over LiteRT's newer interface
    litert-benchmark   the tool that comes with ai-edge-litert, over that interface as well

Each is a fresh process of its own, and they take turns, in another order every time; what is printed are
medians over the repetitions, of each one's median and of the ratios within a repetition. The machine's
benchmark lock is held for each repetition. Prints Markdown rows.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.nets import NETS, make_net

ROUNDS = 10  # of the host runner
SECONDS = 0.3  # of the two loops; a quarter of it is warmed up before


def host(model: Path) -> float:
    """Return the median of the host runner, in microseconds."""
    from pipeline.runner import Settings
    from pipeline.runners import host as runner

    run = runner.run({"model": model}, None, Settings(rounds=ROUNDS, outputs=False)).models["model"]
    return float(statistics.median(run.times_ns.ravel().tolist())) / 1e3


def loop(model: Path) -> float:
    return _child("loop", model)


def compiled(model: Path) -> float:
    return _child("compiled", model)


def litert_benchmark(model: Path) -> float:
    """Return the median that litert-benchmark tells, in microseconds."""
    command = str(Path(sys.executable).with_name("litert-benchmark"))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        options = ["--num_runs=300", "--warmup_runs=50", "--num_threads=1", f"--result_json={result}"]
        subprocess.run([command, f"--model={model}", *options], check=True, capture_output=True)
        return json.loads(result.read_text())["latency"]["median_ms"] * 1e3


def _child(what: str, model: Path) -> float:
    command = [sys.executable, "-P", __file__, what, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def timed(invoke: Callable[[], object]) -> float:
    """Return the median of a minimal loop, in microseconds."""
    end = time.perf_counter() + SECONDS / 4
    while time.perf_counter() < end:
        invoke()
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter_ns()
        invoke()
        times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1e3


def run_loop(model: str) -> None:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    interpreter.set_tensor(entry["index"], _sample(entry["shape"], np.dtype(entry["dtype"])))
    print(timed(interpreter.invoke))


def run_compiled(model: str) -> None:
    import numpy as np
    from ai_edge_litert.compiled_model import CompiledModel

    compiled_model = CompiledModel.from_file(model)  # one thread
    signature = next(iter(compiled_model.get_signature_list()))
    (details,) = compiled_model.get_input_tensor_details(signature).values()
    inputs, outputs = compiled_model.create_input_buffers(0), compiled_model.create_output_buffers(0)
    inputs[0].write(_sample(details["shape"], np.dtype(details["dtype"])))
    print(timed(lambda: compiled_model.run_by_index(0, inputs, outputs)))


def _sample(shape: list[int], dtype):
    import numpy as np

    values = np.random.default_rng(0).random(shape)
    return (values * 100).astype(dtype) if dtype.kind in "iu" else values.astype(dtype)


def harness_adds() -> tuple[float, float]:
    """Return what the runner's loop shows for nothing, and what an invocation takes in it beyond that, in µs."""
    from pipeline.runners._host_child import _timed

    shown, besides = [], []
    for _ in range(50):
        started = time.perf_counter_ns()
        times = _timed(lambda: None, 2000)
        whole = time.perf_counter_ns() - started
        shown.append(statistics.median(times) / 1e3)
        besides.append((whole - sum(times)) / len(times) / 1e3)
    return statistics.median(shown), statistics.median(besides)


def main(repetitions: int) -> None:
    from pipeline.machine_lock import benchmarking

    ways = {"host": host, "loop": loop, "CompiledModel": compiled, "litert-benchmark": litert_benchmark}
    found: dict[str, dict[str, list[float]]] = {net: {way: [] for way in ways} for net in NETS}
    with tempfile.TemporaryDirectory() as name:
        models = {net: Path(name) / f"{net}.tflite" for net in NETS}
        for net, path in models.items():
            make_net(net, path)
        for repetition in range(repetitions):
            with benchmarking(lambda message: print(message, file=sys.stderr)):
                for net, path in models.items():
                    order = list(ways)[repetition % len(ways) :] + list(ways)[: repetition % len(ways)]
                    for way in order:
                        found[net][way].append(ways[way](path))
                print(f"repetition {repetition + 1}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
        with benchmarking(lambda message: print(message, file=sys.stderr)):
            shown, besides = harness_adds()
    print("| figure | measured | limit |\n| --- | --- | --- |")
    print(f"| the host's loop shows for an empty call | {shown:.2f} µs | at most 1 µs |")
    print(f"| and takes beside what it shows, an invocation | {besides:.2f} µs |  |")
    for net, ways_found in found.items():
        of = f"{net}, {statistics.median(ways_found['loop']):,.1f} µs"
        print(f"| host p50 over a minimal loop's, {of} | {ratio(ways_found, 'host', 'loop')} | 0.95 to 1.05 |")
        limit = "0.9 to 1.1" if net == "large" else ""
        print(f"| host p50 over litert-benchmark's, {of} | {ratio(ways_found, 'host', 'litert-benchmark')} | {limit} |")
        pairs = zip(ways_found["CompiledModel"], ways_found["loop"], strict=True)
        differences = sorted(theirs - ours for theirs, ours in pairs)
        low, high = differences[len(differences) // 4], differences[-1 - len(differences) // 4]
        middle = statistics.median(differences)
        print(f"| CompiledModel less Interpreter, {of} | {middle:+.2f} µs (half lie in {low:+.2f} to {high:+.2f}) |  |")


def ratio(found: dict[str, list[float]], ours: str, theirs: str) -> str:
    ratios = [one / other for one, other in zip(found[ours], found[theirs], strict=True)]
    return f"{statistics.median(ratios):.3f}"


if __name__ == "__main__":
    if sys.argv[1:2] in (["loop"], ["compiled"]):
        {"loop": run_loop, "compiled": run_compiled}[sys.argv[1]](sys.argv[2])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
