"""All parts of a finished build, from its folder. They are kept in the store: running samples takes its time."""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path
from typing import Any

from pipeline.anatomy.curves import curves_of
from pipeline.anatomy.document import Anatomy
from pipeline.anatomy.sources import Sources, sources_of
from pipeline.anatomy.timed import measured_only, operator_times_of
from pipeline.project import ANATOMY, ARTIFACT, BUILD_DOCUMENT, Project, load_build
from pipeline.source import file_hash, source_hashes
from pipeline.store import key_of
from pipeline.watch import Watch

_FILE = "anatomy.json"
# With all that they import; parts.py, which imports half the project, alone.
_SOURCES = ("dissect.py", "answers.py", "calibration_coverage.py", "pictures.py")
_LIBRARIES = ("numpy", "ai-edge-litert", "pillow")


def anatomy_of(folder: Path, project: Project, watch: Watch, *, times: bool = False) -> Anatomy:
    """Return all parts of the build in `folder`, artifacts/<workload>/<target>.

    Parts that cannot be had are left out, and `missing` says why. times: estimate each operator's time where no
    estimate is kept, which takes some seconds on the device. Raises BadTarget where there is no finished build,
    or its file is another than the one that build.json describes.
    """
    if not (folder / BUILD_DOCUMENT).is_file() and (measured := measured_only(folder)):
        return measured
    document = load_build(folder)
    sources = sources_of(document, project, project.store.peek)
    entry = project.store.get(key_of(_record(sources)))
    kept = Anatomy.model_validate_json((entry.folder / _FILE).read_bytes()) if entry else None
    parts = kept or _made(folder / ARTIFACT, sources, project, watch)
    curves = curves_of(document.stages)
    profile, reason = operator_times_of(folder, document, project, watch, measure=times)
    missing = dict(parts.missing)
    if not curves:
        missing["curves"] = "no stage of the recipe recorded a training"
    if not profile:
        missing["operator_times"] = reason
    return parts.model_copy(update={"curves": curves, "operator_times": profile, "missing": missing})


def _record(sources: Sources) -> dict[str, Any]:
    """Return what the key is taken from. What build.json says itself is read anew each time, and not kept."""
    here = Path(__file__).parent
    return {
        "format": 1,
        "step": ANATOMY,
        "workload": sources.document.workload,
        "model": sources.document.sha256,
        "stages": sources.keys,
        "without_workload": sources.why_no_workload,
        "source": source_hashes(*(here / name for name in _SOURCES)) | {"parts.py": file_hash(here / "parts.py")},
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def _made(model: Path, sources: Sources, project: Project, watch: Watch) -> Anatomy:
    """Take the parts from their sources, and keep them unless a process failed that read the file."""
    from pipeline.anatomy.parts import parts_of

    watch.stage_started(ANATOMY, None)
    started = time.perf_counter()
    with project.store.pinned(sources.keys.values()):
        # Read whole this time: a damaged entry is moved aside, and then it is not there.
        entries = {name: project.store.get(key) for name, key in sources.keys.items()}
        if None in entries.values():
            sources = sources_of(sources.document, project, project.store.peek)
        folders = {name: entry.folder for name, entry in entries.items() if entry}
        parts, whole = parts_of(model, sources, folders, project, watch)
    seconds = time.perf_counter() - started
    if whole:
        record = _record(sources)
        key = key_of(record)
        with project.store.making(key), project.store.working_folder(key) as out:
            (out / _FILE).write_text(parts.model_dump_json(), encoding="utf-8")
            project.store.put(key, record, out, {}, seconds)
    watch.stage_done(ANATOMY, True, seconds, {})
    return parts
