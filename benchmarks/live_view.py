"""What the live view on a terminal costs: processor time of drawing it while a build would run.

    PYTHONPATH=. python -P benchmarks/live_view.py [--seconds=30]

A stage reports its progress ten times a second, six others are done: the view of a build near its end, drawn on a
pseudo-terminal that is read. Prints the processor time as a share of the time that passed.
"""

from __future__ import annotations

import os
import pty
import sys
import threading
import time


def main(seconds: float) -> None:
    master, terminal = pty.openpty()
    threading.Thread(target=drained, args=(master,), daemon=True).start()
    os.dup2(terminal, 2)
    sys.stderr = os.fdopen(os.dup(terminal), "w", encoding="utf-8")
    from pipeline.report.terminal import LiveWatch

    watch = LiveWatch()
    names = [f"stage_{number}" for number in range(7)]
    watch.plan([(name, False, seconds) for name in names], None, "as a benchmark")
    for name in names[:-1]:
        watch.stage_started(name, 1.0)
        watch.stage_done(name, True, 1.0, {})
    watch.stage_started(names[-1], seconds)
    begin, used = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - begin) < seconds:
        watch.progress({"done": passed / seconds, "epoch": 1, "epochs": 2, "loss": 0.1, "accuracy": 0.9})
        time.sleep(0.1)
    used = time.process_time() - used
    watch.close()
    print(f"{used:.2f} s of processor time in {seconds:.0f} s: {used / seconds:.2%} of one core")


def drained(descriptor: int) -> None:
    while os.read(descriptor, 65536):
        pass


if __name__ == "__main__":
    main(float(next((one.partition("=")[2] for one in sys.argv[1:]), 30)))
