"""This project as `pip install` brings it: a wheel in a fresh virtual environment, and commands run there.

The environment borrows the libraries that this one has (TensorFlow takes minutes to install), but not
this project: it is importable there from the wheel alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel in it."""

    python: Path
    site: Path
    environment: dict[str, str]

    def run(self, *arguments: str, cwd: Path, expect: int = 0) -> str:
        """Run this environment's Python; return stdout."""
        done = subprocess.run(
            [str(self.python), *arguments],
            cwd=cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def invoke(self, *arguments: str, cwd: Path, expect: int = 0) -> str:
        return self.run("-m", "invoke", *arguments, cwd=cwd, expect=expect)

    def files(self) -> dict[str, bytes]:
        """Return what lies in site-packages; Python's own caches do not count."""
        paths = (path for path in self.site.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(self.site)): path.read_bytes() for path in paths}


def install(folder: Path) -> Installed:
    """Make the wheel and an environment with nothing in it but that."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _done(*pip, "wheel", str(REPOSITORY), "--no-deps", "--wheel-dir", str(folder / "wheels"))
    (wheel,) = (folder / "wheels").glob("*.whl")
    _done(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    _done(*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    # Named on PYTHONPATH, the borrowed libraries are seen in the interpreters' sandbox as well; .pth files
    # there, such as that of an editable installation of this project, are not read.
    environment = {**kept, "PYTHONPATH": sysconfig.get_path("purelib"), "NO_COLOR": "1"}
    found = Installed(python, next((folder / "venv" / "lib").glob("python*/site-packages")), environment)
    where = found.run("-c", "import pipeline; print(pipeline.__file__)", cwd=folder)
    assert where.strip() == str(found.site / "pipeline" / "__init__.py"), where
    return found


def _done(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
