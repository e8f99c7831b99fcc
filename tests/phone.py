"""A phone for tests: the recording stand-in of `adb_phone.py`, with a benchmark_model that prints what it is told."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from pipeline.files import sha256_of
from pipeline.runner import Settings
from pipeline.runners import adb

REPORT = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Initialized session in 5ms.
INFO: count=10 first=900 curr=410 min=400 max=900 avg=450 std=99 p5=400 median=420 p95=900

INFO: count=50 first=410 curr=405 min=390 max=900 avg=425 std=20 p5=395 median=TIME p95=800

INFO: Inference timings in us: Init: 5000, First inference: 900, Warmup (avg): 450, Inference (avg): 425
INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=2.25
"""
# Its first words tell the test that it runs, and under which number.
TOOL = """#!/bin/sh
echo "$$ $@" >> "$PHONE/started"
[ -f "$PHONE/gone_after" ] && touch "$PHONE/gone"
[ -f "$PHONE/hangs" ] && exec sleep 60
time=400
for argument in "$@"; do
    case "$argument" in
        --graph=*) [ -f "${argument#--graph=}" ] || exit 9; number="${argument#--graph=}" ;;
    esac
done
[ -f "$PHONE/time_${number%.tflite}" ] && read -r time < "$PHONE/time_${number%.tflite}"
sed "s/TIME/$time/" "$PHONE/says"
exit "$(cat "$PHONE/code")"
"""
_DUMPSYS = """#!/bin/sh
case "$1" in
    battery) printf 'Current Battery Service state:\\n  AC powered: false\\n  level: 87\\n  temperature: 315\\n' ;;
    thermalservice) printf 'IsStatusOverride: false\\nThermal Status: 1\\n' ;;
    *) echo "Can't find service: $1"; exit 20 ;;
esac
"""


class Phone:
    """Its programs, files and behaviour, in one folder. Put the folder first on PATH."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.data = folder / "data"  # what is /data/local/tmp there
        for part in (self.data, folder / "bin"):
            part.mkdir(parents=True)
        for core, governor in enumerate(("schedutil", "schedutil", "walt")):
            path = folder / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"
            path.parent.mkdir(parents=True)
            path.write_text(f"{governor}\n")
        stand_in = Path(__file__).with_name("adb_phone.py").read_text()
        self.tool = self._program("benchmark_model", TOOL)
        self._program("adb", f"#!{sys.executable} -IS\n{stand_in}")
        self._program("bin/dumpsys", _DUMPSYS)
        self._program("bin/taskset", '#!/bin/sh\nshift\nexec "$@"\n')
        self.behave()
        self.say(REPORT)

    def _program(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def path(self) -> str:
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    def behave(self, **behaviour: Any) -> None:
        """Say what the client does: see adb_phone.py."""
        (self.folder / "behaviour.json").write_text(json.dumps(behaviour))

    def say(self, text: str, code: int = 0) -> None:
        """Say what benchmark_model prints, and what it ends with."""
        (self.folder / "says").write_text(text)
        (self.folder / "code").write_text(str(code))

    def take(self, number: int, microseconds: int) -> None:
        """Say how long the model that was copied as such a number takes, as a median."""
        (self.folder / f"time_{number}").write_text(f"{microseconds}\n")

    def mark(self, name: str) -> None:
        """`hangs`: benchmark_model comes to no end; `gone_after`: the phone is disconnected while it runs."""
        (self.folder / name).touch()

    def config(self, **changes: Any) -> dict[str, Any]:
        given = {"benchmark_model": str(self.tool), "benchmark_model_sha256": sha256_of(self.tool)}
        return given | changes

    def settings(self, config: dict[str, Any] | None = None, **changes: Any) -> Settings:
        return Settings(config=adb.Config(**self.config(**(config or {}))), **changes)

    def calls(self) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def command_lines(self) -> list[str]:
        """Return those of the shell that start the tool."""
        return [call[-1] for call in self.calls() if "--graph=" in call[-1]]

    def started(self) -> list[tuple[int, list[str]]]:
        """Return number and options of each process of the tool."""
        path = self.folder / "started"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [(int(line.split()[0]), line.split()[1:]) for line in lines]

    def left(self) -> list[str]:
        """Return what lies on the phone, and which processes of the tool run there."""
        files = [str(path) for path in self.data.rglob("*")]
        return files + [str(number) for number, _ in self.started() if _runs(number)]


def _runs(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
