"""Which source files enter a key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import RequestError
from pipeline.lookup import PACKAGE
from pipeline.source import source_hashes


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write the files and return the first one's path."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder / next(iter(files))


def test_imports_are_followed_to_their_end_and_round_a_circle(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"mine.py": "import first", "first.py": "from second import x", "second.py": "import mine", "idle.py": ""},
    )
    found = source_hashes(path)
    assert found == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("mine.py", "first.py", "second.py")
    }


@pytest.mark.parametrize(
    "source",
    [
        "import neighbour",
        "import neighbour as other, json",
        "from neighbour import thing",
        "def load():\n    import neighbour",
        "class A:\n    def f(self):\n        if True:\n            from neighbour import thing",
        "try:\n    import neighbour\nexcept ImportError:\n    pass",
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import json\nelse:\n    import neighbour",
        "from . import neighbour",
        "from .neighbour import thing",
    ],
)
def test_wherever_the_import_stands(tmp_path: Path, source: str) -> None:
    path = write(tmp_path, {"mine.py": source, "neighbour.py": "thing = 1"})
    assert set(source_hashes(path)) == {"mine.py", "neighbour.py"}


@pytest.mark.parametrize(
    "source",
    [
        "if TYPE_CHECKING:\n    import neighbour",
        "if typing.TYPE_CHECKING:\n    from neighbour import thing",
        "# import neighbour",
        "text = 'import neighbour'",
        "import numpy, json, os.path",
    ],
)
def test_what_is_not_imported_does_not_count(tmp_path: Path, source: str) -> None:
    path = write(tmp_path, {"mine.py": source, "neighbour.py": ""})
    assert set(source_hashes(path)) == {"mine.py"}


def test_packages_count_with_what_is_run_on_the_way_in(tmp_path: Path) -> None:
    """Python runs every `__init__.py` above a module that it imports."""
    files = {
        "mine.py": "from helpers.deep.layers import x",
        "helpers/__init__.py": "SIZE = 3",
        "helpers/deep/__init__.py": "import helpers.side",
        "helpers/deep/layers.py": "from .. import up",
        "helpers/up.py": "",
        "helpers/side.py": "",
        "helpers/idle.py": "",
    }
    path = write(tmp_path / "before", files)
    before = source_hashes(path)
    for name in files:
        other = write(tmp_path / f"after {name.replace('/', '-')}", {**files, name: files[name] + "\n# another"})
        assert (source_hashes(other) != before) == (name != "helpers/idle.py"), name


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """A step and a workload of one name, or two packages' `__init__.py`: both count."""
    step = write(tmp_path, {"steps/grey.py": "a = 1", "workloads/grey.py": "b = 1"})
    other = write(tmp_path / "1", {"steps/grey.py": "a = 2", "workloads/grey.py": "b = 1"})
    third = write(tmp_path / "2", {"steps/grey.py": "a = 1", "workloads/grey.py": "b = 2"})
    swapped = write(tmp_path / "3", {"steps/grey.py": "b = 1", "workloads/grey.py": "a = 1"})
    found = [source_hashes(path, path.parents[1] / "workloads" / "grey.py") for path in (step, other, third, swapped)]
    assert all(found.count(one) == 1 for one in found)


def test_a_moved_folder_keeps_its_keys(tmp_path: Path) -> None:
    files = {"a/mine.py": "import helpers.x", "a/helpers/x.py": "", "a/helpers/__init__.py": ""}
    first, second = write(tmp_path / "here", files), write(tmp_path / "there" / "deeper", files)
    assert source_hashes(first) == source_hashes(second)


def test_a_projects_modules_are_found_from_its_root(tmp_path: Path) -> None:
    """Invoke and the worker can import from the folder with tasks.py, so what lies there counts."""
    path = write(
        tmp_path,
        {
            "workloads/mine.py": "from workloads.common import x\nimport shared",
            "workloads/common.py": "x = 1",
            "shared.py": "",
            "tasks.py": "",
        },
    )
    assert {"mine.py", "common.py", "shared.py"} == set(source_hashes(path))


def test_a_step_of_this_package_brings_what_it_computes_with() -> None:
    found = set(source_hashes(PACKAGE / "steps" / "quantize.py"))
    assert {
        "pipeline/steps/quantize.py",
        "pipeline/steps/_fit.py",
        "pipeline/calibration.py",
        "pipeline/keras_legacy.py",
        "pipeline/workload.py",
    } <= found
    assert not found & {"pipeline/errors.py", "pipeline/lookup.py", "pipeline/steps/prune.py", "pipeline/target.py"}
    assert found.isdisjoint({"pipeline/workloads/mnist.py"})


def test_a_neighbour_that_is_no_python_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"mine.py": "def f():\n    import neighbour", "neighbour.py": "x = = 1"})
    with pytest.raises(RequestError) as caught:
        source_hashes(path)
    assert str(tmp_path / "neighbour.py") in caught.value.message
    assert "line 1" in caught.value.received
