"""The flags of `invoke report`, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import RequestError
from pipeline.target import load_target
from pipeline.task_frame import DEFAULT_WORKLOAD

DEFAULT_PORT = "8377"


@dataclass(frozen=True)
class ReportRequest:
    """target: a known name, or empty for the history. port: 0 to 65535."""

    target: str
    workload: str
    port: int


def checked_report_request(
    root: Path, target: str, workload: str, *, compare: bool, out: str, serve: bool, port: str, json: bool
) -> ReportRequest:
    """Return what is asked for. Raises RequestError for flags that do not go together, UnknownName for a target."""
    if compare and not target:
        raise _refused("--compare needs a target", "--compare alone", "the target that was compared", "--target=mobile")
    if workload and not target:
        raise _refused("--workload needs a target", f"--workload={workload}", "a target, or neither", "--target=mobile")
    if serve and json:
        raise _refused("--serve gives no document", "--serve --json", "one of them", "leave one out")
    if port and not serve:
        raise _refused("--port needs --serve", f"--port={port}", "both, or neither", f"--serve --port={port}")
    port = port or DEFAULT_PORT
    if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise _refused("--port is not a port", port, "a whole number, 0 to 65535", f"--port={DEFAULT_PORT}")
    if out and Path(out).is_dir():
        raise _refused("--out is a folder", f"--out={out}", "the file to write", f"--out={Path(out) / 'report.html'}")
    name = load_target(target, root).name if target else ""
    return ReportRequest(name, Path(workload or DEFAULT_WORKLOAD).stem, int(port))


def _refused(message: str, received: str, expected: str, fix: str) -> RequestError:
    return RequestError(message, received=received, expected=expected, fix=fix)
