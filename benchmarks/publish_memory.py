"""Peak memory of publishing 10 MB and 1 GB of artifacts: it should not depend on which.

    python benchmarks/publish_memory.py [--megabytes=1000] [--folder=.]

Each publication runs in a process of its own; moto's S3 server, which keeps what it gets in its own memory or on
its disk, runs in another, so that only the publisher is measured. `--folder`: where the artifacts are written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def publish(folder: str, place: str) -> None:
    """Publish and print seconds and peak resident megabytes of this process."""
    from pipeline.release.open_destination import open_destination
    from pipeline.watch import Watch

    started = time.perf_counter()
    published = open_destination(place).publish(Path(folder), "1.2.0", Watch())
    # Not getrusage's maximum, which goes on from that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    print(json.dumps({"published": published, "seconds": time.perf_counter() - started, "peak_mib": peak}))


def main() -> None:
    from moto_s3 import make_bucket, moto_s3, s3_environment
    from release_folders import write_checksums, write_release

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as working, contextlib.ExitStack() as servers:
        url = servers.enter_context(moto_s3())
        make_bucket(url, "bench")
        print(f"{'to':8}{'artifacts':>12}{'seconds':>10}{'peak':>12}")
        for megabytes in (10, arguments.megabytes):
            folder = write_release(Path(working) / str(megabytes))
            with (folder / "big.bin").open("wb") as stream:
                for _ in range(megabytes):
                    stream.write(os.urandom(1_000_000))
            write_checksums(folder)
            for kind, place in (("folder", f"{working}/to-{megabytes}"), ("s3", f"s3://bench/{megabytes}")):
                command = [sys.executable, __file__, "--publish", str(folder), place]
                done = subprocess.run(
                    command, env=os.environ | s3_environment(url), check=True, stdout=subprocess.PIPE, text=True
                )
                facts = json.loads(done.stdout)
                print(f"{kind:8}{megabytes:9} MB{facts['seconds']:10.1f}{facts['peak_mib']:8.0f} MiB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--publish"]:
        publish(*sys.argv[2:])
    else:
        main()
