"""The command line as a user has it: a project's folder and `invoke` in a process of its own.

TensorFlow cannot be imported in these processes: a package of that name that refuses stands in
front of it, so every test here shows that it is not needed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
DATA = REPOSITORY / "tests" / "data"
SCHEMAS = REPOSITORY / "docs" / "schemas"
BUILD = ("build", "--target=null", "--workload=grey")
TIMEOUT_SECONDS = 60  # a build takes a second; only what hangs reaches this


@dataclass(frozen=True)
class Result:
    """What a command left."""

    code: int
    stdout: str
    stderr: str

    def json(self, schema: str) -> dict[str, Any]:
        """Return stdout, which must be one JSON document that the published schema accepts."""
        document = json.loads(self.stdout)
        jsonschema.validate(document, json.loads((SCHEMAS / f"{schema}.json").read_text(encoding="utf-8")))
        return document


class Project:
    """A copy of the numpy-only project, and the commands run in it."""

    def __init__(self, root: Path, temporary: Path):
        self.root = root
        self.mark = secrets.token_hex(16)  # in the environment of every process that comes from here
        refusing = temporary / "no-tensorflow"
        for package in ("tensorflow", "tf_keras", "tensorflow_model_optimization"):
            (refusing / package).mkdir(parents=True, exist_ok=True)
            (refusing / package / "__init__.py").write_text(f"raise RuntimeError('{package} is not needed here')\n")
        kept = {name: value for name, value in os.environ.items() if name not in _TERMINAL_VARIABLES}
        self.environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join([str(refusing), str(REPOSITORY)]),
            "TMPDIR": str(temporary),  # where the machine-wide lock lies: these builds wait for no one else's
            "NULL_TEST_MARK": self.mark,
            "OPENBLAS_NUM_THREADS": "1",  # NumPy starts quicker without its threads
        }

    @classmethod
    def create(cls, folder: Path) -> Project:
        """Copy the committed project, with the models that its steps hand out, to `folder`."""
        shutil.copytree(HERE / "project", folder / "project", ignore=shutil.ignore_patterns("__pycache__"))
        for model in DATA.glob("tiny_*.tflite"):
            shutil.copy(model, folder / "project" / "steps")
        return cls(folder / "project", folder)

    def copy(self, folder: Path) -> Project:
        """Copy this project, with all that was built in it, to `folder`."""
        shutil.copytree(self.root, folder / "project")
        return Project(folder / "project", folder)

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = (), **options: Any
    ) -> subprocess.Popen[str]:
        """Start `invoke` with these arguments, in a process group of its own; the streams are pipes."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "invoke", *arguments],
            **{"cwd": self.root, "text": True, "start_new_session": True, **streams, **options},
            env={**self.environment, **(env or {})},
        )

    def run(self, *arguments: str, expect: int | None = 0, **options: Any) -> Result:
        """Run `invoke` to its end and hold its exit code against `expect`."""
        return finish(self.start(*arguments, **options), expect)

    def build(self, *arguments: str, expect: int = 0, **options: Any) -> Result:
        return self.run(*BUILD, *arguments, expect=expect, **options)

    def built(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """Build with `--json` and return the document."""
        return self.build("--json", *arguments, **options).json("build")

    def artifact(self, target: str = "null", name: str = "model.tflite") -> Path:
        return self.root / "artifacts" / "grey" / target / name

    def entry(self, key: str) -> Path:
        return self.root / "artifacts" / "store" / "entries" / key

    def entries(self) -> set[str]:
        folder = self.root / "artifacts" / "store" / "entries"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that occurs once in a file of the project."""
        content = (self.root / path).read_text(encoding="utf-8")
        assert content.count(old) == 1, f"{old!r} occurs {content.count(old)} times in {path}"
        (self.root / path).write_text(content.replace(old, new), encoding="utf-8")

    def configure(self, step: str, **parameters: object) -> None:
        """Give a step of the null target's recipe parameters."""
        lines = "".join(f"\n{name} = {json.dumps(value)}" for name, value in parameters.items())
        self.edit("targets/null.toml", f'\nstep = "{step}"', f'\nstep = "{step}"{lines}')

    def budget(self, **limits: object) -> None:
        """Make these the null target's only budgets; a value is TOML."""
        path = self.root / "targets" / "null.toml"
        head, _, rest = path.read_text(encoding="utf-8").partition("[budgets]\n")
        recipe = rest[rest.index("[[recipe]]") :]
        lines = "".join(f"{name} = {limit}\n" for name, limit in limits.items())
        path.write_text(f"{head}[budgets]\n{lines}\n{recipe}", encoding="utf-8")

    def add(self, path: str, content: str | bytes) -> Path:
        """Write a file into the project."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def processes(self) -> list[str]:
        """Return the command lines of the living processes that were started from here."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"NULL_TEST_MARK={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it ended meanwhile, or belongs to another user
        return found

    def wait_until_gone(self, seconds: float = 3.0) -> None:
        """Wait for the last process that was started from here; the kernel takes a moment to end one."""
        wait_for(lambda: not self.processes(), f"processes are left: {self.processes()}", seconds)


_TERMINAL_VARIABLES = {"NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES", "TTY_COMPATIBLE"}


def finish(process: subprocess.Popen[str], expect: int | None = 0) -> Result:
    """Wait for a started command and hold its exit code against `expect`."""
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    result = Result(process.returncode, stdout or "", stderr or "")
    assert expect in (None, result.code), f"exit {result.code}, expected {expect}\n{result.stdout}\n{result.stderr}"
    return result


def wait_for(condition: Any, failure: str, seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.01)


def made(document: dict[str, Any]) -> list[str]:
    """Return the names of the stages that the command made."""
    return [stage["name"] for stage in document["stages"] if stage["state"] == "made"]


def keys(document: dict[str, Any]) -> dict[str, str]:
    """Return {stage: key}."""
    return {stage["name"]: stage["key"] for stage in document["stages"]}
