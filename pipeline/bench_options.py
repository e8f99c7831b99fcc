"""What `invoke bench`'s flags ask for, from the text of the command line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pipeline.benchmark import Least
from pipeline.errors import RequestError

THREADS_MAX = 256
RUNS_MAX = 10_000_000
SECONDS_MAX = 3600.0


@dataclass(frozen=True)
class BenchOptions:
    """How a benchmark is made."""

    profile: bool = False
    threads: tuple[int, ...] = ()  # empty: the target's own
    least: Least = Least()
    against: Path | None = None


def bench_options(*, profile: bool, threads: str, runs: str, min_time: str, against: str) -> BenchOptions:
    """Read the flags; "" is left out. Raises RequestError for a value that cannot be meant."""
    counts = tuple(
        dict.fromkeys(_whole("--threads", part, THREADS_MAX, "1,2,4") for part in threads.split(",") if threads)
    )
    return BenchOptions(
        profile=profile,
        threads=counts,
        least=Least(
            runs=_whole("--runs", runs, RUNS_MAX, "1000") if runs else 0,
            seconds=_seconds("--min-time", min_time) if min_time else 0.0,
        ),
        against=Path(against) if against else None,
    )


def refuse_beside_compare(**flags: str | bool) -> None:
    """Raise RequestError for the flags that are given: a comparison takes none of these."""
    if given := [f"--{name.replace('_', '-')}" for name, value in flags.items() if value]:
        raise RequestError(
            "--compare stands alone",
            received=", ".join(given),
            expected="--target and --json beside it",
            fix="leave them out: a comparison has its own number of processes and rounds",
        )


def _whole(flag: str, text: str, most: int, example: str) -> int:
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 12 and 1 <= int(text) <= most:
        return int(text)
    raise RequestError(
        f"{flag} cannot be used",
        received=text or "nothing",
        expected=f"whole numbers from 1 to {most}",
        fix=f"{flag}={example}",
    )


def _seconds(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 < value <= SECONDS_MAX:
        return value
    raise RequestError(
        f"{flag} cannot be used", received=text, expected=f"seconds, above 0 to {SECONDS_MAX:g}", fix=f"{flag}=5"
    )
