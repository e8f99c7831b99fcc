"""What benchmark_model says when it cannot do what it was asked for, each with the way out."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import BadModelFile, PipelineError, RunnerFailed
from pipeline.runners._adb_parse import Report

ERROR_CHARACTERS = 800
OPTIONAL_FLAGS = {"enable_op_profiling", "max_secs"}  # of the former there is nothing to turn off where it is not known
_REFUSED_DELEGATE = re.compile(r"Failed to apply \S+ delegate")
_REFUSED_FILE = re.compile(
    r"Failed to (?:load|mmap|open) model|not a valid|Failed to construct interpreter|Failed to allocate tensors"
    r"|failed to prepare|Didn't find op|unresolved custom op"
)


def tool_error(text: str, model: Path, command: str) -> PipelineError:
    """Return why the tool, started by `command`, printed `text` and no report, or ended with another code than 0."""
    last = text[-ERROR_CHARACTERS:].strip()
    if _REFUSED_DELEGATE.search(text):
        return RunnerFailed(
            f"the device's delegate refuses {model}",
            received=last,
            expected="a file that the delegate of [device] takes",
            fix='give another delegate in [device] or devices.toml, such as "xnnpack"',
        )
    if _REFUSED_FILE.search(text):
        return BadModelFile(
            f"{model} cannot be loaded on the device",
            received=last,
            expected="a .tflite file with operators that this benchmark_model has",
            fix="take a newer benchmark_model, or build the file without that operator",
        )
    return RunnerFailed(
        f"benchmark_model did not come to its end with {model}",
        received=last or "nothing",
        expected="the line that begins with Inference timings in us, and exit code 0",
        fix="is it built for the device's processor, does it know these options, and does the device have the cores "
        f"of cpu_affinity? This was run: {command}",
    )


def check_report(report: Report, delegate: str, model: Path) -> None:
    """Raise RunnerFailed where the tool measured, but not what it was asked for: it goes on all the same.

    NNAPI and GPU that take no operator leave them all to the CPU, whose times would pass for theirs.
    """
    unknown = [flag for flag in report.ignored_flags if flag not in OPTIONAL_FLAGS]
    if unknown:
        raise RunnerFailed(
            f"this benchmark_model does not know {', '.join(f'--{flag}' for flag in unknown)}",
            received="its warning of unconsumed flags",
            expected="a benchmark_model that takes every option",
            fix='take a newer benchmark_model, or another delegate; of LiteRT\'s own tool, "default"',
        )
    if report.refused and delegate in ("nnapi", "gpu"):
        raise RunnerFailed(
            f"the delegate {delegate} takes no operator of {model}, and the CPU ran it",
            received=report.delegate,
            expected="a file that the delegate of [device] takes, at least in part",
            fix='give another delegate in [device] or devices.toml, such as "xnnpack", or build the file for this one',
        )
