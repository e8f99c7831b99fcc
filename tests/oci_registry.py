"""Debian's docker-registry on a free port, with storage of its own: `.ci/devices/registry.sh` installs it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = "docker-registry"


@contextmanager
def running_registry(folder: Path, *, htpasswd: str = "") -> Iterator[str]:
    """Run a registry that stores in `folder/storage`; yield its `127.0.0.1:port`."""
    folder.mkdir(parents=True, exist_ok=True)
    auth = ""
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {folder / 'htpasswd'}\n"
    for _ in range(5):  # the port may be taken between asking for it and using it
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        (folder / "config.yml").write_text(
            "version: 0.1\nlog:\n  level: error\n"
            f"storage:\n  filesystem:\n    rootdirectory: {folder / 'storage'}\n{auth}"
            f"http:\n  addr: {address}\n"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([COMMAND, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
        try:
            if _answers(process, address):
                yield address
                return
        finally:
            process.kill()
            process.wait()
    raise RuntimeError((folder / "log").read_text())


def _answers(process: subprocess.Popen, address: str) -> bool:
    host, _, port = address.partition(":")
    for _ in range(200):
        if process.poll() is not None:
            return False
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.05)
    return False
