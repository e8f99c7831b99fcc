"""How long the parts of a finished build take (`pipeline/anatomy/`): in a fresh process each, first made, then kept.

    PYTHONPATH=. python -P benchmarks/anatomy.py PROJECT WORKLOAD/TARGET… [--runs=3]

PROJECT is copied, so that its store stays as it is; a run is a median of so many copies.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ASK = """
import sys, time
started = time.perf_counter()
from pathlib import Path
from pipeline.anatomy.anatomy import anatomy_of
from pipeline.project import open_project
from pipeline.watch import Watch
root = Path(sys.argv[1])
found = anatomy_of(root / "artifacts" / sys.argv[2], open_project(root, Watch()), Watch())
print(time.perf_counter() - started, len(found.model_dump_json()))
"""


def ask(project: Path, build: str) -> tuple[float, int]:
    """Return seconds from the process's first import to the parts, and their bytes as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(project), build], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, size = done.stdout.split()
    return float(seconds), int(size)


def main(project: Path, builds: list[str], runs: int) -> None:
    for build in builds:
        rows = []
        for _ in range(runs):
            with tempfile.TemporaryDirectory(prefix="anatomy-") as folder:
                copy = Path(folder).resolve() / "project"
                shutil.copytree(project, copy, ignore=shutil.ignore_patterns("compare", ".git"))
                (first, size), (second, _) = ask(copy, build), ask(copy, build)
                rows.append((first, second, size))
        first, second, size = (statistics.median(row[column] for row in rows) for column in range(3))
        spread = f"{min(row[0] for row in rows):.2f}–{max(row[0] for row in rows):.2f}"
        print(f"| {build} | {first:.2f} s ({spread}) | {second:.2f} s | {size / 1e3:.0f} kB |")


if __name__ == "__main__":
    asked = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    count = next((int(argument[7:]) for argument in sys.argv if argument.startswith("--runs=")), 3)
    main(Path(asked[0]), asked[1:], count)
