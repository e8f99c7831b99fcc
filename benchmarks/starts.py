"""How long a person waits until a task does its own work.

    PYTHONPATH=. python -P benchmarks/starts.py PROJECT [--runs=5]

Whole commands in fresh processes, each of them the least that its task can be asked: a plan that is only shown, or a
request that is refused once the project was looked at. So each figure is an upper end of what comes before the work.
PROJECT has a finished build of `mobile`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LEAST = {
    "--list": "--list",
    "train, prune, quantize, convert, build": "build --target=mobile --dry-run",
    "ci": "ci --targets=nothing",
    "bench": "bench --target=nothing",
    "compare": "compare --target=nothing",
    "sensitivity": "sensitivity --target=nothing",
    "predict": "predict --image=nothing.png",
    "inspect": "inspect nothing.tflite",
    "check": "check nothing.keras",
    "new": "new --name=nothing --data=nothing",
    "data": "data nothing",
    "release": "release --version=nothing",
    "verify-release": "verify-release --from=nothing",
    "fetch": "fetch --from=nothing --target=nothing",
    "report": "report --target=nothing",
    "track": "track --target=nothing --tensorboard=nothing",
    "targets": "targets",
    "history": "history",
    "diff": "diff nothing mobile",
    "doctor": "doctor --quick",
    "store": "store",
    "clean": "clean --dry-run",
}


def main(project: str, runs: int) -> None:
    print("| task | whole command | median (range), s |\n| --- | --- | --- |")
    for name, command in LEAST.items():
        seconds = []
        for _ in range(runs):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-m", "invoke", *command.split()], cwd=project, capture_output=True)
            seconds.append(time.perf_counter() - begin)
        around = f"{statistics.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f})"
        print(f"| {name} | `invoke {command}` | {around} |")


if __name__ == "__main__":
    main(sys.argv[1], int(next((one.partition("=")[2] for one in sys.argv[2:]), 5)))
