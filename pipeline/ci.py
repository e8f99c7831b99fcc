"""Builds targets for a continuous integration: every one is tried, whatever became of the others.

What `--junit` and `--summary` name is written in any case, so that the reports tell of a target that could not be
built as well. The exit code is the worst of the targets' own, in the order of WORST_FIRST: what could not be
known outranks what is known to fail.
"""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.build_target import build
from pipeline.ci_document import CiDocument, CiError, CiTarget
from pipeline.errors import (
    EXIT_BUDGET,
    EXIT_INCONCLUSIVE,
    EXIT_PASS,
    EXIT_REQUEST,
    EXIT_STEP,
    DiskFull,
    PipelineError,
    RequestError,
    SystemRefused,
    is_disk_full,
)
from pipeline.execute import Worker
from pipeline.files import write_whole
from pipeline.plan import EVALUATE
from pipeline.project import BUILD_DOCUMENT, Project
from pipeline.regression import changes, load_earlier
from pipeline.target import load_target
from pipeline.verdict import exit_code
from pipeline.watch import Watch
from pipeline.workload import load_workload

if TYPE_CHECKING:
    from pipeline.documents import BuildDocument

EXIT_DEFECT = 1
WORST_FIRST = (EXIT_DEFECT, EXIT_STEP, EXIT_REQUEST, EXIT_BUDGET, EXIT_INCONCLUSIVE, EXIT_PASS)


def ci(
    names: list[str],
    workload: str,
    project: Project,
    watch: Watch,
    *,
    against: str = "",
    junit: str = "",
    summary: str = "",
) -> tuple[CiDocument, int]:
    """Build the targets one after the other; return the document and the exit code.

    against: a folder with an earlier `artifacts/`, or with what lies in one; "" for none.
    junit, summary: paths of the reports; "" for none.
    Raises RequestError for a report or a folder that cannot be, before anything is built.
    """
    from pipeline.report.junit import junit as junit_of
    from pipeline.report.summary import summary as summary_of

    earlier = _earlier_folder(against)
    _refuse_reports(junit, summary)
    with Worker(project.root, project.artifacts / "logs" / "ci.log") as worker:
        targets = [_built(name, workload, project, watch, worker, earlier) for name in names]
    code = next(code for code in WORST_FIRST if code in [*(one.exit_code for one in targets), EXIT_PASS])
    worst = next(one.outcome for one in targets if one.exit_code == code) if targets else "pass"
    document = CiDocument(targets=targets, outcome=worst)
    if junit:
        write_whole(Path(junit), junit_of(document))
    if summary:
        write_whole(Path(summary), summary_of(document))
    return document, code


def _built(name: str, workload: str, project: Project, watch: Watch, worker: Worker, earlier: Path | None) -> CiTarget:
    """Build one target; what is in its way becomes a part of the answer, but for an interruption."""
    started = time.perf_counter()
    try:
        target, learned = load_target(name, project.root), load_workload(workload, project.root)
        watch.note(f"{target.name}: {target.description}")
        document = build(target, learned, 0, project, watch, worker=worker)
    except Exception as caught:
        code, error = _described(caught)
        watch.note(f"{name} could not be built: {error.message}")
        return CiTarget(
            target=name,
            workload=Path(workload).stem,
            outcome="error",
            exit_code=code,
            seconds=time.perf_counter() - started,
            error=error,
        )
    return CiTarget(
        target=name,
        workload=document.workload,
        outcome=document.verdict,
        exit_code=exit_code(document.verdict),
        seconds=time.perf_counter() - started,
        sha256=document.sha256,
        verdicts=document.verdicts,
        **_compared(document, earlier),
    )


def _described(caught: Exception) -> tuple[int, CiError]:
    """Return the exit code and the words for what kept a target from being built; a defect shows its traceback."""
    if isinstance(caught, OSError):
        place = Path(caught.filename or "the project's folder")
        caught = DiskFull.at(place) if is_disk_full(caught) else SystemRefused.of(caught)
    if isinstance(caught, PipelineError):
        return caught.exit_code, CiError(**caught.as_dict())
    traceback.print_exception(caught, file=sys.stderr)
    return EXIT_DEFECT, CiError(code="defect", message=repr(caught), fix="report it with the traceback on stderr")


def _compared(document: BuildDocument, earlier: Path | None) -> dict[str, object]:
    """Return the changes against an earlier build of the same target and workload, or why there are none."""
    if earlier is None:
        return {"not_compared": "no earlier build was given"}
    path = earlier / document.workload / document.target / BUILD_DOCUMENT
    if not path.is_file():
        return {"not_compared": "the earlier build has no such target"}
    try:
        before = load_earlier(path)
    except RequestError as error:  # of another version of the pipeline, say: that fails no gate
        return {"not_compared": f"the earlier {BUILD_DOCUMENT} cannot be read: {error.received}"}
    samples = next(stage.facts for stage in document.stages if stage.name == EVALUATE)["test"]["samples"]
    return {
        "changes": changes(document, before, (document.scores, samples)),
        "compared": f"SHA-256 {before.sha256}",
    }


def _earlier_folder(against: str) -> Path | None:
    """Return the folder in which <workload>/<target>/build.json lie. Raises RequestError where there is none."""
    if not against:
        return None
    folder = Path(against)
    if not folder.is_dir():
        raise RequestError(
            f"--against: {against} is no folder",
            received="nothing there" if not folder.exists() else "a file",
            expected=f"a folder with artifacts/<workload>/<target>/{BUILD_DOCUMENT}; an empty one has no earlier build",
            fix="correct the path, or leave --against out",
        )
    return folder / "artifacts" if (folder / "artifacts").is_dir() else folder


def _refuse_reports(junit: str, summary: str) -> None:
    """Raise RequestError for a report that is no plain file: minutes of building must not end there."""
    for flag, name in (("junit", junit), ("summary", summary)):
        path = Path(name)
        if name and path.exists() and not path.is_file():
            raise RequestError(
                f"--{flag}: {path} cannot be a report",
                received="a folder" if path.is_dir() else "a device",
                expected="the path of a file, which is written anew",
                fix=f"--{flag}=reports/{flag}.{'xml' if flag == 'junit' else 'md'}",
            )
    if junit and summary and Path(junit).resolve() == Path(summary).resolve():
        raise RequestError(
            "--junit and --summary name the same file",
            received=junit,
            expected="a file for each",
            fix="--junit=reports/junit.xml --summary=reports/summary.md",
        )
