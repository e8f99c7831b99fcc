"""What the parts of a build are taken from: its files and records as far as they are still there, else why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.anatomy.float_twin import float_stage, trained_since
from pipeline.errors import PipelineError
from pipeline.plan import BASELINE, EVALUATE, EVALUATE_BASELINE, data_hashes
from pipeline.project import Project, workload_of
from pipeline.source import source_hashes
from pipeline.workload import Workload, load_workload

if TYPE_CHECKING:
    from pipeline.documents import BuildDocument, StageRecord

# What shapes samples, of the source that enters a key; a project's own files have no folder in front.
_SHAPES_SAMPLES = ("pipeline/workloads/", "pipeline/data/")


@dataclass(frozen=True)
class Sources:
    """Stages whose output is in the store, by name; and the workload, as it was when they ran."""

    document: BuildDocument
    keys: dict[str, str]
    earlier: tuple[str, ...]  # stages of the recipe that gave a file before the last, the latest first
    workload: Workload | None
    why_no_workload: str
    float_stage: str  # whose model the float32 file is made of that layers are compared with

    def why_not(self, stage: str, what: str) -> str:
        """Return why a stage's output cannot be had; "" where it can."""
        return "" if stage in self.keys else f"the store no longer has {what}: build again"

    @property
    def trained_since(self) -> list[str]:
        """The stages that trained behind the model of that float32 file."""
        return trained_since(recipe_of(self.document), self.float_stage)


def sources_of(document: BuildDocument, project: Project, peek: Callable[[str], dict[str, Any] | None]) -> Sources:
    """Return what can be had of a finished build.

    peek: the stored document of a key, None where the store has none.
    """
    earlier = _earlier(document)
    wanted = {stage.name: stage.key for stage in document.stages}
    stage = float_stage(recipe_of(document))
    names = dict.fromkeys((BASELINE, EVALUATE, EVALUATE_BASELINE, stage, *earlier))
    wanted = {name: wanted[name] for name in names if name in wanted}
    found = {name: stored for name, key in wanted.items() if (stored := peek(key)) is not None}
    evaluated = found.get(EVALUATE)
    workload, why = _workload(document, project, evaluated["record"] if evaluated else None)
    return Sources(
        document=document,
        keys={name: wanted[name] for name in found},
        earlier=tuple(name for name in earlier if name in found),
        workload=workload,
        why_no_workload=why,
        float_stage=stage,
    )


def recipe_of(document: BuildDocument) -> list[StageRecord]:
    """Return the stages that lead to the file."""
    return [stage for stage in document.stages if stage.name not in (BASELINE, EVALUATE, EVALUATE_BASELINE)]


def _earlier(document: BuildDocument) -> list[str]:
    """Return the names of the recipe's stages that gave a file, without the last, the latest first."""
    return [stage.name for stage in recipe_of(document) if "file" in stage.facts][-2::-1]


def _workload(
    document: BuildDocument, project: Project, evaluated: dict[str, Any] | None
) -> tuple[Workload | None, str]:
    """Return the workload, or None and why its samples are not those of the build."""
    if evaluated is None:
        return None, "the store no longer has the evaluation, which says what the data were: build again"
    try:
        workload = load_workload(workload_of(document, project.root), project.root)
        files, sources = data_hashes(workload), source_hashes(workload.source)
    except PipelineError as error:
        return None, error.message
    except Exception as error:  # the project's own code, which may raise anything
        return None, f"the workload {document.workload} fails: {type(error).__name__}: {error}"
    changed = {name for name, _ in files.items() ^ evaluated["files"].items()}
    changed |= {
        name
        for name, value in sources.items()
        if ("/" not in name or name.startswith(_SHAPES_SAMPLES)) and evaluated["source"].get(name) != value
    }
    if changed:
        return None, f"data or workload changed since the build ({', '.join(sorted(changed))}): build again"
    return workload, ""
