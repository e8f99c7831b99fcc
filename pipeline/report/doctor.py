"""The doctor's findings as text. No package is needed, as one that is may be what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.doctor.examine import Examination
    from pipeline.doctor.finding import Finding


def print_examination(examination: Examination) -> None:
    """Print a line for each finding, which ends with the command that mends it, and the verdict last."""
    width = max(len(finding.name) for finding in examination.findings)
    for heading, needed in (("needed by invoke build --target=mobile", True), ("needed by other tasks", False)):
        print(heading)
        for finding in examination.findings:
            if finding.needed == needed:
                print(_line(finding, width))
    if examination.main_job:
        print("the main job will work: invoke build --target=mobile")
    else:
        first = next(finding for finding in examination.findings if finding.state == "failed")
        print(f"the main job will not work; begin with {first.name}: {first.fix}")


def _line(finding: Finding, width: int) -> str:
    line = f"  {finding.state:<9} {finding.name:<{width}}  {finding.found}"
    return f"{line}: {finding.fix}" if finding.fix else line
