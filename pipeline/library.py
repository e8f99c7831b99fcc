"""The tasks as functions, for notebooks and programs: `from pipeline import build, compare`.

They print nothing unless a watch is given, end no process, and raise the tree of errors.py. Steps and
interpreters run in processes of their own, so that the caller's TensorFlow, Keras and threads are left
alone. Artifacts and store lie under `root`: the nearest folder at or above the current one that holds a
`tasks.py`, else the current one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import DiskFull, RequestError, SystemRefused, is_disk_full
from pipeline.lookup import project_root
from pipeline.project import Project, open_project
from pipeline.source import forget
from pipeline.target import Target, load_target
from pipeline.watch import Watch
from pipeline.workload import Workload, load_workload

if TYPE_CHECKING:
    from pipeline.documents import BuildDocument, CompareDocument


def build(
    target: str | Path | Target = "mobile",
    workload: str | Path | Workload = "mnist",
    *,
    seed: int = 0,
    root: str | Path | None = None,
    force: bool = False,
    watch: Watch | None = None,
) -> BuildDocument:
    """Build, measure and judge a target's file, as `invoke build` does; return what build.json holds.

    Target and workload are names, paths (a .toml, a .py) or what `load_target`, `Target(…)` and
    `load_workload` give. `force` makes every stage anew. `watch` is told what happens;
    `pipeline.report.terminal.terminal_watch()` shows it on stderr.

    A failed budget is a verdict in the document. Raises RequestError where the request is wrong,
    StepFailed where a stage cannot be made, both with `received`, `expected` and `fix`.
    """
    from pipeline.build_target import build as build_target

    with _opened(root, seed, watch) as (project, told):
        found, learned = load_target(target, project.root), load_workload(workload, project.root)
        return build_target(found, learned, seed, project, told, force=force)


def compare(
    target: str | Path | Target = "mobile",
    workload: str | Path | Workload = "mnist",
    *,
    techniques: tuple[str, ...] = (),
    quick: bool = False,
    scenarios: bool = False,
    seed: int = 0,
    root: str | Path | None = None,
    watch: Watch | None = None,
) -> CompareDocument:
    """Try techniques over one training, as `invoke compare` does; return what compare.json holds.

    `techniques` are names from techniques.toml; none means all of them. Raises what `build` raises.
    """
    from pipeline.comparison.compare import compare as compare_techniques

    with _opened(root, seed, watch) as (project, told):
        found, learned = load_target(target, project.root), load_workload(workload, project.root)
        names = ",".join(techniques)
        return compare_techniques(
            found, learned, seed, project, told, techniques=names, quick=quick, scenarios=scenarios
        )


@contextlib.contextmanager
def _opened(root: str | Path | None, seed: int, watch: Watch | None) -> Iterator[tuple[Project, Watch]]:
    """Yield project and watch; what the system refuses meanwhile becomes an error of the tree."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise RequestError(
            "seed is not a seed", received=repr(seed), expected="a whole number, 0 to 2147483647", fix="seed=0"
        )
    told = watch or Watch()
    forget()  # a notebook lives on while its files are edited
    try:
        yield open_project(Path(root).resolve() if root is not None else project_root(), told), told
    except OSError as error:
        raise DiskFull.at(Path(error.filename or ".")) if is_disk_full(error) else SystemRefused.of(error) from error
    finally:
        told.close()
