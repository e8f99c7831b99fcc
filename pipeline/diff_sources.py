"""Where the two builds of a diff lie, and what is still there of each: its document, file, records and answers.

Nothing is run, moved or mended here: a stored answer whose hash is not the recorded one counts as gone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError, RequestError, UnknownName
from pipeline.files import sha256_of
from pipeline.plan import EVALUATE, data_hashes
from pipeline.project import ARTIFACT, BUILD_DOCUMENT, Project, workload_of
from pipeline.store import Store
from pipeline.workload import Workload, load_workload

if TYPE_CHECKING:
    import numpy as np

    from pipeline.diff_document import Answers, BuildSide, DiffDocument
    from pipeline.documents import BuildDocument
    from pipeline.inspect import Inspection

ANSWERS = "test.npy"


@dataclass(frozen=True)
class Build:
    """A build, and the stores that may hold what it was made of."""

    path: Path
    document: BuildDocument
    stores: Sequence[Store]

    def stored(self, key: str) -> tuple[Path, dict[str, Any]] | None:
        """Return folder and document of a stage's entry, its files not yet verified; None where it is gone."""
        for store in self.stores:
            if (found := store.peek(key)) is not None:
                return store.root / "entries" / key, found
        return None

    def stages(self) -> list[tuple[str, str, Mapping[str, Any] | None]]:
        """Return name, key and the key's record of each stage."""
        found = [(stage.name, stage.key, self.stored(stage.key)) for stage in self.document.stages]
        return [(name, key, stored[1]["record"] if stored else None) for name, key, stored in found]

    def evaluation(self) -> tuple[Path, dict[str, Any]] | None:
        """Return folder and document of the entry with this build's own answers, None where it is gone.

        Another machine may have another output under the same key: scores and file must be the build's.
        """
        stage = next(stage for stage in self.document.stages if stage.name == EVALUATE)
        for store in self.stores:
            found = store.peek(stage.key)
            if found is not None and found["facts"] == stage.facts and self._file_is_in(store):
                return store.root / "entries" / stage.key, found
        return None

    def _file_is_in(self, store: Store) -> bool:
        """Whether a store's output of the file's stage is this build's file, or is no longer there to tell."""
        for stage in self.document.stages:
            if stage.facts.get("file", {}).get("sha256") == self.document.sha256 and (found := store.peek(stage.key)):
                return bool(found["facts"]["file"]["sha256"] == self.document.sha256)
        return True

    def model(self) -> Path | None:
        """Return the built file: beside build.json, or in a store."""
        folders = [self.path.parent]
        folders += [stored[0] for stage in self.document.stages if (stored := self.stored(stage.key))]
        paths = [folder / ARTIFACT for folder in folders if (folder / ARTIFACT).is_file()]
        return next((path for path in paths if sha256_of(path) == self.document.sha256), None)


def diff_builds(before: str, after: str, project: Project, *, target: str = "", workload: str = "") -> DiffDocument:
    """Compare two builds: names of targets, build.json files, or folders with one or with artifacts.

    target, workload: which build is meant where a folder of artifacts holds several.
    Raises RequestError or UnknownName for what names no build.
    """
    from pipeline import diff
    from pipeline.diff_document import DiffDocument

    names = [name for name in (before, after) if not _is_path(name, project)]
    meant = target or (names[0] if len(names) == 1 else "")
    first, second = (_open(named, project, meant, workload) for named in (before, after))
    missing: dict[str, str] = {}
    answers, other_data = _answers(first, second, project, missing)
    earlier, later = (_inspected(build, missing) for build in (first, second))
    versions = [{**build.document.versions, **_device_versions(build.document)} for build in (first, second)]
    return DiffDocument(
        before=_side(first, project),
        after=_side(second, project),
        metrics=diff.metric_changes(
            first.document, second.document, other_data=other_data, test=answers.mcnemar if answers else None
        ),
        recipe=diff.recipe_changes(first.stages(), second.stages()),
        versions=diff.field_changes(*versions),
        operators=diff.operator_changes(earlier, later) if earlier and later else [],
        file=diff.file_changes(earlier, later) if earlier and later else [],
        answers=answers,
        budgets=diff.budget_changes(first.document, second.document),
        missing=missing,
    )


def _is_path(name: str, project: Project) -> bool:
    """Whether a path is meant: a target that was built goes before a folder of its name."""
    if "/" in name or name.endswith(".json"):
        return True
    return Path(name).exists() and not any(project.artifacts.glob(f"*/{escape(name)}/{BUILD_DOCUMENT}"))


def _open(name: str, project: Project, target: str, workload: str) -> Build:
    """Return the build that is meant."""
    if _is_path(name, project):
        path = Path(name)
        path = path if not path.is_dir() else _in_folder(path, target, workload)
    else:
        path = _of_target(name, project, workload)
    stores = [project.store]
    beside = path.resolve().parent.parent.parent / "store"
    if beside.is_dir() and beside != project.store.root.resolve():
        stores.insert(0, Store(beside))
    return Build(path, _document(path, name), stores)


def _of_target(name: str, project: Project, workload: str) -> Path:
    built = sorted(project.artifacts.glob(f"*/*/{BUILD_DOCUMENT}"))
    of_it = [path for path in built if path.parent.name == name]
    if not of_it:
        from pipeline.target import load_target

        load_target(name, project.root)  # an unknown name suggests the nearest
        raise RequestError(
            f"there is no finished build for {name}",
            received=f"no {BUILD_DOCUMENT} in artifacts/*/{name}",
            expected=f"a target that was built: {', '.join(sorted({path.parent.name for path in built})) or 'none is'}",
            fix=f"invoke build --target={name}",
        )
    return _choose(of_it, name, name, workload)


def _in_folder(folder: Path, target: str, workload: str) -> Path:
    """Return the build.json in a folder of one build, or the one that is meant in a folder of artifacts."""
    if (folder / BUILD_DOCUMENT).is_file():
        return folder / BUILD_DOCUMENT
    found = sorted(folder.glob(f"*/*/{BUILD_DOCUMENT}")) or sorted(folder.glob(f"artifacts/*/*/{BUILD_DOCUMENT}"))
    if not found:
        raise RequestError(
            f"{folder} holds no finished build",
            received="no build.json",
            expected=f"{BUILD_DOCUMENT}, or <workload>/<target>/{BUILD_DOCUMENT}, in it",
            fix=f"give the path of a {BUILD_DOCUMENT}",
        )
    return _choose(found, str(folder), target, workload)


def _choose(found: list[Path], name: str, target: str, workload: str) -> Path:
    learned = Path(workload).stem if workload.endswith(".py") else workload
    meant = [("workload", learned, -3)] if learned else []
    meant += [("target", target, -2)] if target and len(found) > 1 else []
    for kind, wanted, place in meant:
        known = {path.parts[place] for path in found}
        if wanted not in known:
            raise UnknownName(kind, wanted, known, where=name)
        found = [path for path in found if path.parts[place] == wanted]
    if len(found) == 1:
        return found[0]
    raise RequestError(
        f"{name} holds several builds",
        received=", ".join(f"{path.parts[-3]} for {path.parts[-2]}" for path in found),
        expected="one of them",
        fix=f"--target={found[0].parts[-2]} --workload={found[0].parts[-3]}",
    )


def _document(path: Path, name: str) -> BuildDocument:
    from pydantic import ValidationError

    from pipeline.documents import BuildDocument

    try:
        return BuildDocument.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError) as error:
        raise RequestError(
            f"{name} is no finished build",
            received=f"{path}: {str(error).splitlines()[0]}",
            expected=f"a {BUILD_DOCUMENT} of this version, a folder that holds one, or the name of a built target",
            fix="invoke diff mobile path/to/an/earlier/build.json",
        ) from error


def _side(build: Build, project: Project) -> BuildSide:
    from pipeline.diff_document import BuildSide

    document, path = build.document, build.path.resolve()
    shown = path.relative_to(project.root) if path.is_relative_to(project.root) else build.path
    names = ("target", "workload", "seed", "sha256", "verdict")
    device = f"{document.device.device.name} ({document.device.runner})"
    return BuildSide(path=str(shown), device=device, **{name: getattr(document, name) for name in names})


def _device_versions(document: BuildDocument) -> dict[str, str]:
    return {f"device: {name}": value for name, value in document.device.device.fingerprint.items()}


def _inspected(build: Build, missing: dict[str, str]) -> Inspection | None:
    from pipeline.untrusted import inspect_untrusted

    path = build.model()
    if path is None:
        missing["operators"] = f"the file of {build.path} lies neither beside it nor in the store"
        return None
    try:
        return inspect_untrusted(path)
    except PipelineError as error:
        missing["operators"] = error.message
        return None


def _answers(first: Build, second: Build, project: Project, missing: dict[str, str]) -> tuple[Answers | None, str]:
    """Return what the two files answered, and why their scores do not compare; "" where they do."""
    from pipeline.diff import answer_changes

    if first.document.workload != second.document.workload:
        missing["answers"] = reason = "the workloads are not the same"
        return None, reason
    stored = [build.evaluation() for build in (first, second)]
    if stored[0] is None or stored[1] is None:
        gone = (first if stored[0] is None else second).path
        missing["answers"] = (
            f"the store no longer has the evaluation of {gone}, or another one of its key: build it again"
        )
        return None, ""
    earlier, later = stored[0], stored[1]
    files = later[1]["record"].get("files")
    if earlier[1]["record"].get("files") != files:
        missing["answers"] = reason = "the data are not the same"
        return None, reason
    before, after = _loaded(*earlier), _loaded(*later)
    if before is None or after is None or before.shape != after.shape:
        missing["answers"] = "the stored answers are damaged, or are no class for each sample"
        return None, ""
    learned, labels, note = _labels(second, project, files)
    counts = [entry[1]["facts"]["test"].get("correct") for entry in (earlier, later)]
    if labels is not None and [int((answers == labels).sum()) for answers in (before, after)] != counts:
        labels, note = None, "the workload's labels are not those of the builds: it changed since"
    return answer_changes(before, after, learned.labels if learned else (), labels, note), ""


def _loaded(folder: Path, document: dict[str, Any]) -> np.ndarray | None:
    """Return the verified answers to the test split, integers [n]; None where they are not so, or not as recorded."""
    import numpy as np

    try:
        content = (folder / ANSWERS).read_bytes()
        if hashlib.sha256(content).hexdigest() != document["files"][ANSWERS]:
            return None
        answers: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, KeyError, ValueError):
        return None
    return answers if answers.ndim == 1 and answers.dtype.kind == "i" else None


def _labels(build: Build, project: Project, files: Mapping[str, str]) -> tuple[Workload | None, np.ndarray | None, str]:
    """Return workload and true classes of the test split, or None and why not."""
    document = build.document
    try:
        workload = load_workload(workload_of(document, project.root), project.root)
        if not workload.task.HAS_CLASSES or data_hashes(workload) != files:
            return None, None, "the data changed since the builds, so that the true classes are not known"
        return workload, workload.load("test")[1], ""
    except PipelineError as error:
        return None, None, error.message
    except Exception as error:  # the project's own code, which may raise anything
        return None, None, f"the workload {document.workload} fails: {type(error).__name__}: {error}"
