"""From what lies in a project's artifacts to the HTML file of its history, of a build or of a comparison."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadTarget, PipelineError
from pipeline.files import write_whole
from pipeline.project import BUILD_DOCUMENT, COMPARE_DOCUMENT, COMPARE_FOLDER, Project, built_folders, load_build
from pipeline.watch import Watch

if TYPE_CHECKING:
    from pipeline.documents import BuildDocument, CompareDocument, ReportDocument
    from pipeline.report.page.pieces import Link, Page

REPORT = "report.html"
AFTER_THE_RECIPE = ("evaluate", "baseline", "evaluate_baseline")  # stages that every build has
FILLED_IN = ("seed", "input_dtype", "output_dtype", "runner")


def report_path(project: Project, target: str, workload: str, *, compare: bool) -> Path:
    """Return where a report is written unless it is asked for elsewhere."""
    if not target:
        return project.artifacts / REPORT
    return project.folder(workload, target) / (COMPARE_FOLDER if compare else "") / REPORT


def write_report(
    project: Project,
    watch: Watch,
    target: str,
    workload: str,
    *,
    compare: bool = False,
    times: bool = False,
    out: Path | None = None,
    live: str = "",
) -> ReportDocument:
    """Write a report and return what was written; without a target that of the whole history.

    live: the name under which its own server knows this page; empty for one that is not served.
    Raises BadTarget where there is no finished build, or comparison, of the target.
    """
    from pipeline.documents import ReportDocument
    from pipeline.files import sha256_of
    from pipeline.report.page.page import page_html

    path = out or report_path(project, target, workload, compare=compare)
    if not target:
        page, kind = _history(project, watch, path), "history"
    elif compare:
        page, kind = _comparison(project, target, workload, path), "comparison"
    else:
        page, kind = _build(project, watch, target, workload, path, times=times), "build"
    write_whole(path, page_html(page, _made(), live=live))
    return ReportDocument(
        kind=kind,
        path=os.path.relpath(path, project.root) if path.is_relative_to(project.root) else str(path),
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        verdict=page.verdict,
        missing=page.missing,
    )


def _history(project: Project, watch: Watch, path: Path) -> Page:
    from pipeline.history import HISTORY, read
    from pipeline.report.page.history_page import history_page

    builds: list[BuildDocument] = []
    for folder in built_folders(project):
        try:
            builds.append(load_build(folder))
        except PipelineError as error:
            watch.note(f"{folder.name} is left out: {error.message}")
    lines, unreadable = read(project.artifacts / HISTORY)
    recipes = {f"{build.workload}/{build.target}": _recipe(project, build) for build in builds}
    return history_page(builds, lines, recipes=recipes, reports=_reports(project, path), unreadable=unreadable)


def _build(project: Project, watch: Watch, target: str, workload: str, path: Path, *, times: bool) -> Page:
    from pipeline.anatomy.anatomy import anatomy_of
    from pipeline.report.page.build_page import build_page

    folder = project.folder(workload, target)
    build = load_build(folder)
    anatomy = anatomy_of(folder, project, watch, times=times)
    links = _up(project, path)
    if (folder / COMPARE_FOLDER / REPORT).is_file():
        links.append(_link("comparison of techniques", folder / COMPARE_FOLDER / REPORT, path))
    return build_page(build, anatomy, links)


def _comparison(project: Project, target: str, workload: str, path: Path) -> Page:
    from pipeline.report.page.comparison_page import comparison_page

    folder = project.folder(workload, target)
    links = _up(project, path)
    if (folder / REPORT).is_file():
        links.append(_link("the target's build", folder / REPORT, path))
    return comparison_page(load_comparison(folder), links)


def load_comparison(folder: Path) -> CompareDocument:
    """Return the compare.json of a target's folder. Raises BadTarget when there is none that can be read."""
    from pipeline.documents import CompareDocument

    path = folder / COMPARE_FOLDER / COMPARE_DOCUMENT
    try:
        return CompareDocument.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadTarget(
            f"there is no finished comparison in {path.parent}",
            received=f"{path.name}: {str(error).splitlines()[0]}",
            expected=COMPARE_DOCUMENT,
            fix=f"invoke compare --target={folder.name} --workload={folder.parent.name}",
        ) from error


def _recipe(project: Project, build: BuildDocument) -> str:
    """Return the recipe in a line: of each step what its record in the store has beside its defaults."""
    from pipeline.report.page.measured import recipe_line

    steps = []
    for stage in build.stages:
        if stage.name in AFTER_THE_RECIPE:
            continue
        record = (project.store.peek(stage.key) or {}).get("record", {})
        set_here = _not_default(str(record.get("step", stage.name)), record.get("config") or {}, project.root)
        steps.append({"step": stage.name, **set_here})
    return recipe_line(steps)


def _not_default(step: str, config: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the plain parameters that are not the step's defaults, nor filled in by the target."""
    from pipeline.lookup import find_module

    try:
        fields = find_module("steps", step, root, kind="step").Config.model_fields
    except (PipelineError, AttributeError):  # a step that is here no longer
        fields = {}
    return {
        name: value
        for name, value in config.items()
        if name not in FILLED_IN
        and isinstance(value, int | float | str)
        and not (name in fields and fields[name].default == value)
    }


def _reports(project: Project, path: Path) -> dict[str, Link]:
    """Return the links to the reports of builds and comparisons that were written."""
    found = {}
    for pattern, suffix, words in (
        (f"*/*/{REPORT}", "", "report"),
        (f"*/*/{COMPARE_FOLDER}/{REPORT}", f"/{COMPARE_FOLDER}", "comparison"),
    ):
        for report in sorted(project.artifacts.glob(pattern)):
            folder = report.parents[1 if suffix else 0]
            if (folder / BUILD_DOCUMENT).is_file() or suffix:
                name = f"{folder.parent.name}/{folder.name}"
                found[name + suffix] = _link(f"{words} of {folder.parent.name} for {folder.name}", report, path)
    return found


def _up(project: Project, path: Path) -> list[Link]:
    history = project.artifacts / REPORT
    return [_link("every build", history, path)] if history.is_file() and path != history else []


def _link(text: str, to: Path, path: Path) -> Link:
    from urllib.parse import quote

    from pipeline.report.page.pieces import Link

    return Link(text, quote(os.path.relpath(to.resolve(), path.resolve().parent)))


def _made() -> str:
    from pipeline.documents import SCHEMA_VERSION

    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Made {now} by invoke report from artifacts/ (schema {SCHEMA_VERSION}). Nothing is loaded from elsewhere."
