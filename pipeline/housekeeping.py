"""What lies in a project: targets with their last verdicts, the store's entries, and clearing up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.errors import PipelineError, RequestError
from pipeline.explain import previous_keys
from pipeline.history import HISTORY, read
from pipeline.project import (
    ANATOMY,
    ARTIFACT,
    BENCH_DOCUMENT,
    BENCHMARK,
    BUILD_DOCUMENT,
    COMPARE_DOCUMENT,
    COMPARE_FOLDER,
    OPERATOR_TIMES,
    SENSITIVITY_FILES,
    Project,
    built_folders,
    compared_keys,
    load_build,
    open_project,
    published_files,
)
from pipeline.target import Budgets, load_target, target_names
from pipeline.trends import scores_over_time
from pipeline.watch import Watch

if TYPE_CHECKING:
    from pipeline.documents import CleanDocument, StoreDocument, TargetsDocument

TREND_BUILDS = 12


def target_rows(root: Path) -> TargetsDocument:
    """Return all targets; one whose file cannot be used says so in its row."""
    from pipeline.documents import TargetRow, TargetsDocument

    project = open_project(root, Watch())
    last: dict[str, dict[str, str]] = {}
    trends: dict[str, dict[str, list[float]]] = {}
    lines, _ = read(project.artifacts / HISTORY)
    for folder in built_folders(project):
        workload, verdicts = folder.parent.name, last.setdefault(folder.name, {})
        try:
            built = load_build(folder)
        except PipelineError:
            verdicts[workload] = "unreadable: build again"
            continue
        verdicts[workload] = built.verdict
        scores = scores_over_time(lines, folder.name, workload, built.metric, TREND_BUILDS)
        trends.setdefault(folder.name, {})[workload] = scores
    rows = []
    for name in target_names(root):
        try:
            target = load_target(name, root)
        except PipelineError as error:
            nothing = Budgets()
            row = TargetRow(
                name=name, path="", description="", runner="", recipe=[], budgets=nothing, last={}, error=error.message
            )
        else:
            row = TargetRow(
                name=name,
                path=str(target.path),
                description=target.description,
                runner=target.measured_by,
                recipe=[str(entry.get("step")) for entry in target.recipe],
                budgets=target.budgets,
                last=last.get(name, {}),
                trend=trends.get(name, {}),
            )
        rows.append(row)
    return TargetsDocument(targets=rows)


def store_document(root: Path, action: Literal["list", "verify", "gc"]) -> StoreDocument:
    """List, verify, or clear the store of what neither a finished build nor a running one uses."""
    from pipeline.documents import StoreDocument, StoreEntry

    project = open_project(root, Watch())
    store = project.store
    removed, freed = _gc(project) if action == "gc" else ([], 0)
    damage = {found.key: found.reason for found in store.verify()} if action == "verify" else {}
    entries = []
    for key in store.entries():
        known = store.peek(key) or {}
        entries.append(
            StoreEntry(
                key=key,
                step=known.get("record", {}).get("step", "unknown"),
                workload=known.get("record", {}).get("workload") or "",
                size_bytes=_size(store.root / "entries" / key),
                made_at=known.get("made_at", ""),
                damage=damage.get(key, ""),
            )
        )
    return StoreDocument(action=action, entries=entries, removed=removed, freed_bytes=freed)


def _size(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except FileNotFoundError:  # another process has just removed it
        return 0


def _gc(project: Project) -> tuple[list[str], int]:
    # The documents alone: a running build may be replacing the file that lies beside one.
    used = {key for folder in built_folders(project) for key in previous_keys(folder / BUILD_DOCUMENT).values()}
    used |= compared_keys(project)
    known = {key: document for key in project.store.entries() if (document := project.store.peek(key))}
    files = [known[key]["facts"].get("file", {}) for key in used & known.keys()]
    hashes = {file["sha256"] for file in files if "sha256" in file}
    for key, document in known.items():  # what is measured and known of the files that are kept
        of_a_file = document["record"].get("step") in (BENCHMARK, ANATOMY, OPERATOR_TIMES)
        if of_a_file and document["record"].get("model") in hashes:
            used.add(key)
    return project.store.gc(used)


def clean(root: Path, *, store: bool, dry_run: bool) -> CleanDocument:
    """Remove built files, analyses and logs; with `store` the store too, unless a build is running.

    The history stays: nothing makes it again.
    """
    from pipeline.documents import CleanDocument

    project = open_project(root, Watch())
    markers = (f"converted/{ARTIFACT}", f"{COMPARE_FOLDER}/{COMPARE_DOCUMENT}", SENSITIVITY_FILES[0])
    made = (BUILD_DOCUMENT, BENCH_DOCUMENT, *markers)
    folders = {path.parents[name.count("/")] for name in made for path in project.artifacts.glob(f"*/*/{name}")}
    doomed = [
        folder / name
        for folder in sorted(folders)
        for name in (
            *(ARTIFACT, BUILD_DOCUMENT, BENCH_DOCUMENT, "converted", COMPARE_FOLDER),
            *SENSITIVITY_FILES,
            *published_files(folder),
        )
        if (folder / name).exists()
    ]
    doomed += [path for path in (project.artifacts / "logs",) if path.is_dir()]
    if store and project.store.root.is_dir():
        if project.store.in_use():
            raise RequestError(
                "the store is in use", received="a running build", expected="no running build", fix="wait for it to end"
            )
        doomed.append(project.store.root)
    files = [file for path in doomed for file in (path, *path.rglob("*")) if file.is_file()]
    freed = sum(file.stat().st_size for file in files)
    if not dry_run:
        for path in doomed:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            for folder in path.parents[:2]:
                if (
                    folder != project.artifacts
                    and folder.is_relative_to(project.artifacts)
                    and not any(folder.iterdir())
                ):
                    folder.rmdir()
    return CleanDocument(removed=[str(path.relative_to(root)) for path in doomed], freed_bytes=freed)
