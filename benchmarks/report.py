"""Times of the report: written, opened in Chromium, and watching a build.

    PYTHONPATH=. python -P benchmarks/report.py times PROJECT [--runs=5]
    PYTHONPATH=. python -P benchmarks/report.py live PROJECT [--runs=12]

`times`: whole `invoke report` commands in fresh processes, and from navigation until the first chart is drawn and a
control answers, in a fresh browser each. `live`: a forced build of the null project in PROJECT, in turns with and
without `invoke report --serve` and one reader; and the processor time that the server takes by itself.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

INVOKE = [sys.executable, "-m", "invoke"]
ANSWERED = """() => new Promise((done) => {
  const control = document.querySelector('[data-axis=x], #theme');
  const wait = () => {
    if (!document.querySelector('[data-drawn]')) return requestAnimationFrame(wait);
    const drawn = performance.now();
    control.focus();
    requestAnimationFrame(() => setTimeout(() => done([drawn, performance.now()])));
  };
  wait();
})"""


def seconds(project: Path, *arguments: str) -> float:
    begin = time.perf_counter()
    subprocess.run([*INVOKE, *arguments], cwd=project, check=True, capture_output=True)
    return time.perf_counter() - begin


def show(name: str, values: list[float], unit: str) -> None:
    around = f"({min(values):.3f}–{max(values):.3f})"
    print(f"{name:<44} {statistics.median(values):8.3f} {unit} {around}, {len(values)} runs")


def times(project: Path, runs: int) -> None:
    from playwright.sync_api import sync_playwright

    target = next(iter(sorted(project.glob("artifacts/*/mobile/build.json")))).parent
    kinds = {
        "history": ((), project / "artifacts" / "report.html"),
        "build": (("--target=mobile",), target / "report.html"),
    }
    if (target / "compare" / "compare.json").is_file():
        kinds["comparison"] = (("--target=mobile", "--compare"), target / "compare" / "report.html")
    for kind, (arguments, path) in kinds.items():
        first = seconds(project, "report", *arguments)
        show(f"{kind}: invoke report", [seconds(project, "report", *arguments) for _ in range(runs)], "s")
        print(f"{'':<44} {first:8.3f} s the first time; {path.stat().st_size:,} bytes")
        drawn, answered = [], []
        for _ in range(runs):
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", chromium_sandbox=False)
                page = browser.new_page()
                page.goto(path.as_uri(), wait_until="commit")
                one, two = page.evaluate(ANSWERED)
                drawn.append(one / 1000)
                answered.append(two / 1000)
                browser.close()
        show(f"{kind}: first chart drawn", drawn, "s")
        show(f"{kind}: a control answers after that", answered, "s")


def live(project: Path, runs: int) -> None:
    """Alternate builds with and without a server that is watched by one reader; count the server's own time."""
    build = ("build", "--target=null", "--workload=grey", "--force")
    seconds(project, *build)
    without, beside, used, lasted = [], [], 0.0, 0.0
    for _ in range(runs):
        without.append(seconds(project, *build))
        server = subprocess.Popen(
            [*INVOKE, "report", "--serve", "--port=0"], cwd=project, stderr=subprocess.PIPE, text=True
        )
        assert server.stderr
        address = re.search(r"http://\S+/", server.stderr.readline())
        assert address
        reader = subprocess.Popen(["curl", "-sN", f"{address[0]}events"], stdout=subprocess.DEVNULL)
        time.sleep(1.5)
        begin, before = time.perf_counter(), processor_seconds(server.pid)
        beside.append(seconds(project, *build))
        time.sleep(2)
        used += processor_seconds(server.pid) - before
        lasted += time.perf_counter() - begin
        server.send_signal(2)
        server.wait()
        reader.kill()
    show("build of the null target alone", without, "s")
    show("beside invoke report --serve", beside, "s")
    ratios = [two / one for one, two in zip(without, beside, strict=True)]
    show("paired ratio", ratios, "")
    print(f"the server's processor time: {used / runs * 1000:.0f} ms a build, its page written anew included")
    print(f"which is {used / runs / 180:.3%} of a build of 180 s, and {used / lasted:.2%} of the time watched here")
    idle(project)


def idle(project: Path, watched_seconds: float = 20.0) -> None:
    command = [*INVOKE, "report", "--serve", "--port=0"]
    server = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    server.stderr.readline()
    time.sleep(1)
    before = processor_seconds(server.pid)
    time.sleep(watched_seconds)
    share = (processor_seconds(server.pid) - before) / watched_seconds
    server.send_signal(2)
    server.wait()
    print(f"while nothing changes it uses {share:.3%} of one core")


def processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    action, folder, *rest = sys.argv[1:]
    count = int(next((one.partition("=")[2] for one in rest if one.startswith("--runs=")), 5))
    {"times": times, "live": live}[action](Path(folder).resolve(), count)
