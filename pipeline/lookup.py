"""File name = registry: finds a step, runner, workload or target by its file's name.

The project's own folder (`./steps/`, `./runners/`, `./workloads/`, `./targets/`) wins over
what ships in this package, so that a repository adds one with one file and edits none.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from pipeline.errors import PipelineError, RequestError, UnknownName

PACKAGE = Path(__file__).parent


def project_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` that holds a tasks.py, as Invoke searches."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "tasks.py").is_file():
            return folder
    return start


def find_file(folder: str, name: str, suffix: str, root: Path | None) -> Path | None:
    """Return the path of `<folder>/<name><suffix>`: the project's own, or the shipped one."""
    for base in _bases(folder, root):
        path = base / f"{name}{suffix}"
        if is_plain_name(name) and path.is_file():
            return path
    return None


def known_names(folder: str, suffix: str, root: Path | None, marker: str = "") -> list[str]:
    """Return the sorted names of the files in `<folder>/`; `marker` must occur in the file."""
    names = set()
    for base in _bases(folder, root):
        for path in base.glob(f"*{suffix}"):
            if not path.stem.startswith("_") and (not marker or marker.encode() in path.read_bytes()):
                names.add(path.stem)
    return sorted(names)


def find_module(
    folder: str, name: str, root: Path | None, *, kind: str, marker: str = "", where: str = ""
) -> ModuleType:
    """Import `<folder>/<name>.py`. Raises UnknownName with the nearest known name."""
    path = find_file(folder, name, ".py", root)
    names = known_names(folder, ".py", root, marker)
    if path is None or name not in names:
        raise UnknownName(kind, name, names, where=where)
    return load_module(path, kind)


def load_module(path: Path, kind: str) -> ModuleType:
    """Import a module by its path: as a part of this package where it lies in it."""
    if path.is_relative_to(PACKAGE):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        return importlib.import_module(".".join(parts))
    return load_file(path, kind)


def load_file(path: Path, kind: str) -> ModuleType:
    """Import a Python file by its path; a fault in it is a RequestError that names the file."""
    name = f"_{kind}_{path.stem}"
    known, state = sys.modules.get(name), _state(path)
    if known is not None and known.__file__ == str(path) and getattr(known, "_state", state) == state:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"{path} is not a Python file", received=str(path), expected="a .py file")
    module = importlib.util.module_from_spec(spec)
    module._state = state  # type: ignore[attr-defined]  # a notebook lives on while the file is edited
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except PipelineError:  # it says itself what to mend: data that a workload opens, say
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:  # a script that ends itself must not end a build as passed
        del sys.modules[name]
        raise RequestError(
            f"the {kind} {path} cannot be imported: {type(error).__name__}: {error}",
            received=f"{type(error).__name__}: {error}",
            expected="a Python file that imports without an error",
            fix=f"python {path} shows the traceback",
        ) from error
    return module


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is edited; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def ships(path: Path) -> bool:
    """Whether a target's file is one of those that come with this package."""
    return path.parent == _shipped("targets")


def _shipped(folder: str) -> Path:
    shipped = PACKAGE / folder
    if folder == "targets" and not shipped.is_dir():
        return PACKAGE.parent / "targets"  # a checkout: the wheel carries them inside the package
    return shipped


def _bases(folder: str, root: Path | None) -> list[Path]:
    shipped = _shipped(folder)
    own = (root or project_root()) / folder
    return [own, shipped] if own != shipped else [shipped]


def is_plain_name(name: str) -> bool:
    """True for names such as `raspberry-pi`, false for paths."""
    return bool(name) and all(char.isalnum() or char in "-_" for char in name)
