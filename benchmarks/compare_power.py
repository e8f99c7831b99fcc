"""How often `invoke bench --compare` calls a file different: from itself, and from one that is 5% slower.

    PYTHONPATH=. python -P benchmarks/compare_power.py [REPETITIONS]     20 of each by default, about 15 minutes

The file is a chain of twenty equal convolutions (`small` of nets.py); in the slower one a convolution is
done twice. Both questions take turns, so that they meet the same machine. Prints a line a comparison, and
Markdown rows at the end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.nets import make_net, repeat_operator

REPOSITORY = Path(__file__).parents[1]
REPEATED = 9


def compare(first: Path, second: Path) -> tuple[dict, float]:
    """Return the document, and how many seconds the command took."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "bench", f"--compare={first},{second}", "--json"],
        cwd=first.parent,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout), time.perf_counter() - started


def main(repetitions: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tasks.py").write_text("from pipeline.tasks import namespace\n")
        file, slower = folder / "file.tflite", folder / "slower.tflite"
        make_net("small", file)
        slower.write_bytes(repeat_operator(file.read_bytes(), REPEATED))
        found: dict[str, list[tuple[dict, float]]] = {"itself": [], "slower": []}
        for number in range(repetitions):
            for kind, second in (("itself", file), ("slower", slower)):
                document, seconds = compare(file, second)
                found[kind].append((document, seconds))
                ratio, load = document["ratio"], os.getloadavg()[0]
                told = f"{ratio['value']:.4f} ({ratio['low']:.4f}-{ratio['high']:.4f}) {document['word']}"
                print(f"{number + 1} {kind}: {told}, {seconds:.0f} s, load {load:.1f}", flush=True)
    words = {kind: [document["word"] for document, _ in rows] for kind, rows in found.items()}
    differing = sum(word != "no difference shown" for word in words["itself"])
    ratios = statistics.median(document["ratio"]["value"] for document, _ in found["slower"])
    seconds = statistics.median(seconds for rows in found.values() for _, seconds in rows)
    print("\n| figure | measured | limit |\n| --- | --- | --- |")
    print(f"| a file called different from itself | {differing} of {repetitions} | at most 1 of 20 |")
    seen = words["slower"].count("slower")
    print(f"| a {ratios - 1:.1%} slower file called slower | {seen} of {repetitions} | at least 19 of 20 |")
    print(f"| time of a comparison, median | {seconds:.0f} s | about 30 s |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
