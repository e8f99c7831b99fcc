"""Where a project's artifacts and store lie, and what lies there."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import BadTarget
from pipeline.files import sha256_of
from pipeline.store import Damage, Store
from pipeline.watch import Watch

if TYPE_CHECKING:
    from pipeline.documents import BuildDocument

ARTIFACT, BUILD_DOCUMENT, BENCH_DOCUMENT = "model.tflite", "build.json", "bench.json"
COMPARE_FOLDER, COMPARE_DOCUMENT = "compare", "compare.json"
# Steps, in the store's records, of what is kept of a built file.
BENCHMARK, ANATOMY, OPERATOR_TIMES, FLOAT_TWIN = "benchmark", "anatomy", "operator_times", "float_twin"
SENSITIVITY_FILES = tuple(f"sensitivity.{suffix}" for suffix in ("json", "toml", "png", "svg"))


@dataclass(frozen=True)
class Project:
    """A folder with `artifacts/` in it."""

    root: Path
    store: Store

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def folder(self, workload: str, target: str) -> Path:
        return self.artifacts / workload / target


def open_project(root: Path, watch: Watch) -> Project:
    """Return the project at `root`; damage found in its store is told to `watch`."""

    def damaged(damage: Damage) -> None:
        watch.note(f"the store's entry {damage.key[:12]}… is damaged ({damage.reason}): moved aside, made anew")

    return Project(root, Store(root / "artifacts" / "store", damaged))


def built_folders(project: Project) -> list[Path]:
    """Return the folders artifacts/<workload>/<target> that hold a build.json."""
    return sorted(path.parent for path in project.artifacts.glob(f"*/*/{BUILD_DOCUMENT}"))


def published_files(folder: Path) -> list[str]:
    """Return the names of what a device's tools made beside a built file, as its build.json says."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # not a whole document
        names = json.loads((folder / BUILD_DOCUMENT).read_text(encoding="utf-8"))["device"]["files"]
        return [name for name in names if name == Path(name).name and name != ARTIFACT]
    return []


def compared_keys(project: Project) -> set[str]:
    """Return the keys of all stages of the finished comparisons."""
    keys: set[str] = set()
    for path in project.artifacts.glob(f"*/*/{COMPARE_FOLDER}/{COMPARE_DOCUMENT}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # not a whole document
            rows = json.loads(path.read_text(encoding="utf-8"))["candidates"]
            keys.update(key for row in rows for key in row["stages"].values())
    return keys


def workload_of(document: BuildDocument, root: Path) -> str:
    """Return what a build's workload is loaded by: the path that it was given by, else its name."""
    # An absolute path stays as it is.
    return str(root / document.workload_file) if document.workload_file else document.workload


def load_build(folder: Path) -> BuildDocument:
    """Return the BuildDocument in `folder`. Raises BadTarget when there is none, or its file is another."""
    from pydantic import ValidationError

    from pipeline.documents import BuildDocument

    path = folder / BUILD_DOCUMENT
    fix = f"invoke build --target={folder.name} --workload={folder.parent.name}"
    try:
        document = BuildDocument.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError) as error:
        raise BadTarget(
            f"there is no finished build in {folder}",
            received=f"{path.name}: {str(error).splitlines()[0]}",
            expected=f"{ARTIFACT} and {BUILD_DOCUMENT}",
            fix=fix,
        ) from error
    model = folder / ARTIFACT
    if not model.is_file() or sha256_of(model) != document.sha256:
        raise BadTarget(
            f"{model} is not the file that {BUILD_DOCUMENT} describes",
            received="another SHA-256" if model.is_file() else "no file",
            expected=f"SHA-256 {document.sha256}",
            fix=fix,
        )
    return document
