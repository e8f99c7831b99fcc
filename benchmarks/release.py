"""Figures of releases: how long the commands take when the builds are there, and what a full rebuild changes.

    python -m benchmarks.release times PROJECT --key=release.key --public-key=release.pub
        seconds of release (all built targets, to a folder), of the same once more, of verify-release and of fetch
    python -m benchmarks.release compare RELEASE RELEASE
        which files of two releases' folders differ, and in which fields their build.json do

PROJECT is a git repository with finished builds, a clean tree and a CHANGELOG.md that has 1.0.0. Each line of the
answer is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VERSION = "1.0.0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    timed = commands.add_parser("times")
    timed.add_argument("project", type=Path)
    timed.add_argument("--key", type=Path, required=True)
    timed.add_argument("--public-key", type=Path, required=True)
    timed.add_argument("--runs", type=int, default=5)
    compared = commands.add_parser("compare")
    compared.add_argument("first", type=Path)
    compared.add_argument("second", type=Path)
    given = parser.parse_args()
    if given.command == "times":
        times(given.project.resolve(), given.key.resolve(), given.public_key.resolve(), given.runs)
    else:
        compare(given.first, given.second)


def times(project: Path, key: Path, public_key: Path, runs: int) -> None:
    """Print the median and the range of whole commands, each in a fresh process."""
    found: dict[str, list[float]] = {}
    place = project / "artifacts" / "releases" / VERSION
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as temporary:
            shutil.rmtree(place, ignore_errors=True)
            shelf = f"{temporary}/shelf"
            release = ("release", f"--version={VERSION}", f"--key={key}", f"--to={shelf}")
            reading = (f"--from={shelf}", f"--key={public_key}")
            for name, arguments in (
                ("release", release),
                ("release again", release),
                ("verify-release --quick", ("verify-release", *reading, "--quick")),
                ("verify-release", ("verify-release", *reading)),
                ("fetch", ("fetch", *reading, "--target=mobile", f"--to={temporary}/fetched")),
            ):
                started = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "invoke", *arguments], cwd=project, check=True, capture_output=True
                )
                found.setdefault(name, []).append(time.perf_counter() - started)
    targets = len(json.loads((place / "manifest.json").read_text())["targets"])
    size = sum(path.stat().st_size for path in place.iterdir())
    print(json.dumps({"targets": targets, "files": len(list(place.iterdir())), "bytes": size}))
    for name, seconds in found.items():
        figures = {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds)}
        print(json.dumps({name: {figure: round(value, 2) for figure, value in figures.items()}}))


def compare(first: Path, second: Path) -> None:
    """Print which files two releases' folders have alike, and where their builds differ beyond what measures."""
    from pipeline.explain import differences
    from pipeline.release.reproducible import without_measured

    names = [{path.name for path in folder.iterdir()} for folder in (first, second)]
    both = sorted(names[0] & names[1])
    equal = [name for name in both if (first / name).read_bytes() == (second / name).read_bytes()]
    print(json.dumps({"only in one": sorted(names[0] ^ names[1]), "equal": equal}))
    for name in both:
        if name in equal or not name.endswith(".build.json"):
            continue
        builds = [json.loads((folder / name).read_text()) for folder in (first, second)]
        fields = [one["field"] for one in differences(*map(without_measured, builds))]
        print(json.dumps({name: {"differs beyond what measures": fields}}))
    print(json.dumps({"differ": sorted(set(both) - set(equal))}))


if __name__ == "__main__":
    main()
