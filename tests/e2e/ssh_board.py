"""An ssh server on loopback that stands in for a board: Debian's sshd with keys, folder and port of its own."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.runners.ssh import Config

SSHD = "/usr/sbin/sshd"


@dataclass
class Board:
    """A running server, and how to reach it."""

    folder: Path
    port: int = 0
    process: subprocess.Popen | None = None
    remote: Path = field(default_factory=Path)  # the folder in which the runner makes its own

    def start(self) -> Board:
        self.remote = self.folder / "remote"
        self.remote.mkdir()
        for name in ("host_key", "user_key", "other_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        authorized = self.folder / "authorized_keys"
        authorized.write_text((self.folder / "user_key.pub").read_text())
        authorized.chmod(0o600)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd separates its privileges there
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {authorized}\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"SetEnv {self._mark()}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        )
        self.know(self.folder / "host_key.pub")
        with (self.folder / "sshd.log").open("wb") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stderr=log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError((self.folder / "sshd.log").read_text())

    def know(self, key: Path) -> None:
        """Make this the host key that the client knows."""
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key.read_text()}")

    def settings(self) -> dict[str, object]:
        """Return the [device] table that reaches it, whatever the user's own configuration says."""
        empty = self.folder / "ssh_config"
        empty.touch()
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "key": str(self.folder / "user_key"),
            "known_hosts": str(self.folder / "known_hosts"),
            "config_file": str(empty),
            "remote_folder": str(self.remote),
            "connect_timeout_seconds": 10,
        }

    def config(self, **changes: object) -> Config:
        return Config.model_validate(self.settings() | changes)

    def processes(self) -> dict[int, str]:
        """Return the command lines of all that runs in this server's sessions, by process."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark().encode() in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found

    def left(self) -> list[str]:
        """Return what is left on the board: files and processes."""
        return [*map(str, self.remote.rglob("*")), *self.processes().values()]

    def _mark(self) -> str:
        return f"BOARD={self.folder}"

    def wait_until_clean(self, seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while self.left():
            assert time.monotonic() < deadline, f"left on the board: {self.left()}"
            time.sleep(0.05)

    def cut(self) -> None:
        """Cut every connection."""
        self.signal_sessions(signal.SIGKILL)

    def signal_sessions(self, number: signal.Signals) -> None:
        """Send a signal to the server's processes, one or two a connection, and not to what runs in its sessions."""
        for child in _children(self.process.pid):
            for process in (*_children(child), child):
                if Path(f"/proc/{process}/comm").read_text().strip().startswith("sshd"):
                    os.kill(process, number)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
