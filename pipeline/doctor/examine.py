"""Whether the main job, `invoke build --target=mobile`, will work here, and what is missing for the others."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.doctor import interpreters, machine, optional, packages
from pipeline.doctor.finding import Finding

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Examination:
    """All findings. `model_dump_json` has a document's form, without pydantic, which may be what is missing."""

    findings: list[Finding]

    @property
    def main_job(self) -> bool:
        """Whether nothing that the main job needs has failed."""
        return not any(finding.state == "failed" for finding in self.findings)

    def model_dump_json(self, indent: int) -> str:
        """Return the document `doctor` as JSON."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        document = {"schema_version": SCHEMA_VERSION, "main_job": self.main_job, "findings": findings}
        return json.dumps(document, indent=indent, ensure_ascii=False)


def examine(root: Path, note: Callable[[str], None], *, quick: bool = False) -> Examination:
    """Look at everything. `note` is told what takes long; `quick` leaves out loading TensorFlow."""
    findings = [*machine.machine(root), *packages.packages(), interpreters.interpreter()]
    if not quick:
        note("TensorFlow loads, which takes up to half a minute; --quick leaves it out")
    findings += [interpreters.tensorflow(quick), *optional.optional()]
    return Examination(sorted(findings, key=lambda finding: not finding.needed))
