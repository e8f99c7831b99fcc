"""The first errors of somebody who is new here: each names the command that comes next."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.null.cli import REPOSITORY, Project

OTHER_PYTHON = "import sys; sys.version_info = (3, 9, 2, 'final', 0); from invoke import Program; "
NO_TENSORFLOW = """
import importlib.metadata as metadata
found = metadata.version
def version(name):
    if name == "tensorflow":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
"""


def before_the_installed(project: Project, path: str, content: str) -> None:
    file = Path(project.environment["PYTHONPATH"].split(":")[0]) / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(content, encoding="utf-8")


def last_line(text: str) -> str:
    return text.rstrip().splitlines()[-1].strip()


def test_no_argument_shows_where_to_begin(project: Project) -> None:
    lines = project.run().stdout.splitlines()
    assert lines[-1].startswith("invoke build --target=mobile ")
    for line in lines:
        flags = {"--list", "--help"} & set(line.split())
        assert flags or line.split()[1] in project.run("--list").stdout


def test_wrong_folder_is_mended_as_the_readme_says(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    told = last_line(project.run("build", expect=1, cwd=folder).stderr)
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if told in line]
    command = row.split("`")[-2]
    assert command.endswith("> tasks.py")
    subprocess.run(["bash", "-c", command], cwd=folder, check=True)
    assert "mobile" in project.run("targets", cwd=folder).stdout


@pytest.mark.parametrize("task", ["inspect", "check", "data", "predict", "diff"])
def test_a_missing_argument_is_mended_as_the_readme_says(project: Project, task: str) -> None:
    told = last_line(project.run(task, expect=1).stderr)
    assert told.startswith(f"'{task}' did not receive required positional arguments: ")
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "| `'inspect' did not receive required positional arguments` | `invoke --help inspect`, which has" in readme
    assert f"Example: invoke {task} " in project.run("--help", task).stdout


@pytest.mark.parametrize("command", ["invoke build", "invoke --list", "invoke"])
def test_wrong_python_is_one_line(project: Project, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{OTHER_PYTHON}Program().run({command!r})"],
        **{"cwd": REPOSITORY, "env": project.environment, "capture_output": True, "text": True},
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the pipeline needs Python 3.11, and this is 3.9: python3.11 -m venv .venv && ")


@pytest.mark.parametrize("name", ["tasks.py", "pipeline/__init__.py"])
def test_older_pythons_can_read_what_refuses_them(name: str) -> None:
    assert ast.parse((REPOSITORY / name).read_text(encoding="utf-8"), feature_version=(3, 6))


def test_unknown_target_says_what_lists_them(project: Project) -> None:
    error = project.run("build", "--target=nul", "--workload=grey", expect=2).stderr
    assert "did you mean 'null'?" in error
    assert last_line(error).endswith(": invoke targets")
    assert "null" in project.run(*last_line(error).rpartition(": invoke ")[2].split()).stdout


@pytest.mark.parametrize(
    "arguments",
    [("predict", "--image=digit.png", "--target=null", "--workload=grey"), ("bench", "--target=null")],
)
def test_no_build_yet_says_how_to_build(project: Project, arguments: tuple[str, ...]) -> None:
    line = last_line(project.run(*arguments, expect=2).stderr)
    assert line.startswith("to mend: invoke build --target=null")


def test_a_missing_build_is_made_by_what_is_said(project: Project) -> None:
    arguments = ("predict", "--image=missing.png", "--target=null", "--workload=grey")
    command = last_line(project.run(*arguments, expect=2).stderr).removeprefix("to mend: invoke ")
    project.run(*shlex.split(command))
    assert "no finished build" not in project.run(*arguments, expect=2).stderr


def test_missing_extra_names_it(project: Project) -> None:
    project.edit("steps/null_train.py", 'LIBRARIES = ("numpy",)', 'LIBRARIES = ("not-there",)\nEXTRA = "onnx"')
    line = last_line(project.build(expect=4).stderr)
    assert line == "to mend: pip install 'edge-deployment-pipeline[onnx]'"


def test_tensorflow_missing_says_what_installs_it(project: Project) -> None:
    before_the_installed(project, "sitecustomize.py", NO_TENSORFLOW)
    error = project.run("build", "--target=mobile", "--workload=mnist", expect=4).stderr
    assert "tensorflow, which is not installed" in error
    assert last_line(error).endswith(" -e .; what else is missing says: invoke doctor")


@pytest.mark.parametrize("package", ["pydantic", "rich", "filelock"])
def test_a_missing_package_is_no_traceback(project: Project, package: str) -> None:
    before_the_installed(project, f"{package}/__init__.py", f"raise ModuleNotFoundError('no', name='{package}')")
    error = project.build(expect=4).stderr
    assert f"the package {package} is not installed" in error
    assert last_line(error).endswith("invoke doctor")


@pytest.mark.parametrize("package", ["pydantic", "filelock"])
def test_a_missing_package_is_a_document_too(project: Project, package: str) -> None:
    before_the_installed(project, f"{package}/__init__.py", f"raise ModuleNotFoundError('no', name='{package}')")
    document = project.build("--json", expect=4).json("error")
    assert document["error"]["code"] == "environment_unsuited"


@pytest.mark.parametrize(
    ("task", "missing"),
    [
        ("new", "--name and --data"),
        ("new --name=a", "--data"),
        ("release", "--version"),
        ("verify-release", "--from"),
        ("fetch --target=mobile", "--from"),
    ],
)
def test_a_missing_flag_is_answered_by_a_whole_command(project: Project, task: str, missing: str) -> None:
    error = project.run(*task.split(), "--json", expect=2).json("error")["error"]
    assert error["message"] == f"{task.split()[0]} needs {missing}"
    assert error["fix"].startswith(f"invoke {task.split()[0]} ")
    assert all(flag in error["fix"] for flag in missing.split(" and "))
