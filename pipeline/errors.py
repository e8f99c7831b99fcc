"""The one exception tree. Only `tasks.py` turns one of these into an exit.

    PipelineError            exit code  `code` in JSON
    ├── RequestError             2      the request is wrong: nothing was run
    │   ├── UnknownName          2      no such target, workload, step, stage, …
    │   ├── BadTarget            2      a target's TOML cannot be used
    │   ├── BadWorkload          2      a workload's module breaks the contract
    │   ├── BadModelFile         2      a file given as .tflite is none
    │   ├── BadImage             2      a file given as picture is none
    │   ├── DataError            2      a data file is missing or altered
    │   └── ReleaseRefused       2      a release that must not be made, published or used
    ├── StepFailed               4      a step ran and could not give what it promised
    │   ├── RunnerFailed         4      the interpreter's process failed or overran a limit
    │   ├── DiskFull             4      no space left for an output
    │   ├── SystemRefused        4      the system refused a file operation
    │   ├── EnvironmentUnsuited  4      TensorFlow or Keras is not as needed
    │   ├── DestinationFailed    4      where a release is published or fetched from fails
    │   └── TrackingFailed       4      where builds are written to fails
    ├── Interrupted            130      Ctrl-C
    └── (verdicts are results, not errors: inconclusive exits 3, a failed budget exits 5)

Each message says what was received, what was expected and how to mend it.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

EXIT_PASS = 0
EXIT_REQUEST = 2
EXIT_INCONCLUSIVE = 3
EXIT_STEP = 4
EXIT_BUDGET = 5
EXIT_INTERRUPTED = 130


class PipelineError(Exception):
    """What went wrong, what was received, what was expected and how to mend it."""

    exit_code = EXIT_STEP
    code = "pipeline_error"

    def __init__(self, message: str, *, received: object = "", expected: str = "", fix: str = ""):
        super().__init__(message)
        self.message = message
        self.received = str(received)
        self.expected = expected
        self.fix = fix

    def as_dict(self) -> dict[str, str]:
        """Return code, message, received, expected and fix: the form of `--json`."""
        return {
            "code": self.code,
            "message": self.message,
            "received": self.received,
            "expected": self.expected,
            "fix": self.fix,
        }

    def __str__(self) -> str:
        parts = (("received", self.received), ("expected", self.expected), ("to mend", self.fix))
        return "\n".join([self.message, *(f"  {name}: {text}" for name, text in parts if text)])


class RequestError(PipelineError):
    exit_code = EXIT_REQUEST
    code = "bad_request"


class UnknownName(RequestError):
    """A name that is not known; suggests the nearest one that is."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "", listed_by: str = ""):
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        fix = listed_by or ("use one of these names" if known else "")
        if near and near[0] != name:
            fix = f"did you mean {near[0]!r}?" + (f" All of them: {listed_by}" if listed_by else "")
        super().__init__(
            f"unknown {kind} {name!r}" + (f" in {where}" if where else ""),
            received=name,
            expected=f"one of {', '.join(known)}" if known else f"a {kind}, but none was found",
            fix=fix,
        )


class BadTarget(RequestError):
    code = "bad_target"


class BadWorkload(RequestError):
    code = "bad_workload"


class BadModelFile(RequestError):
    code = "bad_model_file"


class BadImage(RequestError):
    code = "bad_image"


class DataError(RequestError):
    code = "bad_data"


class ReleaseRefused(RequestError):
    code = "release_refused"


class StepFailed(PipelineError):
    code = "step_failed"


class RunnerFailed(StepFailed):
    code = "runner_failed"


class DiskFull(StepFailed):
    code = "disk_full"

    @classmethod
    def at(cls, path: Path) -> DiskFull:
        return cls(
            f"no space left for {path}",
            received="a full disk (or quota)",
            expected="room for the stage's output",
            fix="free some space (`invoke store.gc` drops what no build uses) and run the command again",
        )


class EnvironmentUnsuited(StepFailed):
    code = "environment_unsuited"


class DestinationFailed(StepFailed):
    code = "destination_failed"


class TrackingFailed(StepFailed):
    code = "tracking_failed"


class SystemRefused(StepFailed):
    """The operating system said no to a file operation that is not about space."""

    code = "system_refused"

    @classmethod
    def of(cls, error: OSError) -> SystemRefused:
        return cls(
            f"the system refuses: {error}",
            received=error.strerror or type(error).__name__,
            expected=f"access to {error.filename}" if error.filename else "a file operation that works",
            fix="look at the permissions of the file or folder, and whether it is still there",
        )


class Interrupted(PipelineError):
    exit_code = EXIT_INTERRUPTED
    code = "interrupted"


def is_disk_full(error: BaseException) -> bool:
    """True for the system's own "no space left" or "quota exceeded"."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def error_from(described: dict[str, str]) -> PipelineError:
    """Return the exception that `as_dict` described, of its own class: errors cross processes so."""
    classes: list[type[PipelineError]] = [PipelineError]
    for known in classes:
        classes.extend(known.__subclasses__())
    kind = next(known for known in reversed(classes) if known.code == described["code"])
    error = kind.__new__(kind)
    PipelineError.__init__(
        error,
        described["message"],
        received=described["received"],
        expected=described["expected"],
        fix=described["fix"],
    )
    return error
