"""`invoke doctor` in a healthy environment, and in broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor.document import DoctorDocument
from pipeline.doctor.requirements import plain_name
from tests.null.cli import Project

ABSENT = "raise ModuleNotFoundError(f'No module named {__name__!r}', name=__name__)\n"
CRASHES = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"


def shadow(project: Project, package: str, content: str) -> None:
    """Put a package of this name before the installed one."""
    folder = Path(project.environment["PYTHONPATH"].split(":")[0]) / package
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").write_text(content, encoding="utf-8")


def findings(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in document["findings"]}


def doctor(project: Project, *flags: str, expect: int = 0, **options: Any) -> dict[str, dict[str, Any]]:
    document = project.run("doctor", "--json", *flags, expect=expect, **options).json("doctor")
    assert document["main_job"] == (expect == 0)
    return findings(document)


def test_a_healthy_environment(project: Project) -> None:
    result = project.run("doctor", "--quick", "--json")
    document = DoctorDocument.model_validate(result.json("doctor"))
    assert document.model_dump_json(indent=2) + "\n" == result.stdout
    found = findings(json.loads(result.stdout))
    needed = ["python", "system", "processor", "memory", "disk", "artifacts", "temporary", "packages"]
    assert [name for name, finding in found.items() if finding["needed"]] == [
        *(*needed, "exact versions", "interpreter", "tensorflow")
    ]
    assert {found[name]["state"] for name in ("python", "system", "artifacts", "packages", "interpreter")} == {"ok"}
    assert "operators" in found["interpreter"]["found"]
    assert found["tensorflow"]["state"] == "left out"
    assert not (project.root / "artifacts").exists()


def test_each_line_that_is_not_well_ends_with_what_to_type(project: Project) -> None:
    shadow(project, "pydantic", ABSENT)
    document = json.loads(project.run("doctor", "--quick", "--json", expect=4, env={"PATH": ""}).stdout)
    lines = project.run("doctor", "--quick", expect=4, env={"PATH": ""}).stdout.splitlines()
    unwell = [finding for finding in document["findings"] if finding["state"] in ("failed", "missing", "warning")]
    assert {finding["name"] for finding in unwell} >= {"interpreter", "runner adb", "runner ssh", "sandbox", "git"}
    for finding in unwell:
        (line,) = [line for line in lines if line.startswith(f"  {finding['state']:<9} {finding['name']} ")]
        assert finding["fix"]
        assert line.endswith(f": {finding['fix']}")
    assert lines[-1].startswith("the main job will not work; begin with interpreter: pip install")


def test_what_was_found_is_one_column(project: Project) -> None:
    arguments = ("doctor", "--quick")
    found = json.loads(project.run(*arguments, "--json").stdout)["findings"]
    lines = project.run(*arguments).stdout.splitlines()
    columns = set()
    for finding in found:
        if finding["name"] not in ("memory", "disk"):  # which change between the two calls
            (line,) = [line for line in lines if line.startswith(f"  {finding['state']:<9} {finding['name']} ")]
            columns.add(line.index(f" {finding['found']}", 12 + len(finding["name"])))
    assert len(columns) == 1


def test_programs_that_only_some_tasks_need_do_not_fail_it(project: Project) -> None:
    found = doctor(project, "--quick", env={"PATH": ""})
    fixes = {name: found[name]["fix"] for name in ("sandbox", "runner adb", "runner ssh", "git")}
    assert {found[name]["state"] for name in fixes} == {"missing"}
    assert list(fixes.values()) == [
        *("apt-get install bubblewrap", "apt-get install adb", "apt-get install openssh-client", "apt-get install git")
    ]


@pytest.mark.parametrize(
    ("content", "told", "fix"),
    [
        ("raise RuntimeError('built for another NumPy')", "another NumPy", "pip install --force-reinstall"),
        (ABSENT, "No module named", "pip install -c constraints.txt -e ."),
        (CRASHES, "illegal instruction", "grep -m1 -w avx /proc/cpuinfo"),
    ],
)
def test_a_tensorflow_that_does_not_load(project: Project, content: str, told: str, fix: str) -> None:
    shadow(project, "tensorflow", content)
    finding = doctor(project, expect=4)["tensorflow"]
    assert finding["state"] == "failed"
    assert told in finding["found"]
    assert finding["fix"].startswith(fix)


def test_an_interpreter_that_does_not_load(project: Project) -> None:
    shadow(project, "ai_edge_litert", "raise ImportError('libfoo.so: cannot open shared object file')")
    finding = doctor(project, "--quick", expect=4)["interpreter"]
    assert (finding["state"], bool(finding["fix"])) == ("failed", True)


def test_a_place_that_cannot_be_written(project: Project) -> None:
    project.add("artifacts", "a file where the folder should be")
    finding = doctor(project, "--quick", expect=4)["artifacts"]
    assert finding["state"] == "failed"
    assert finding["fix"].startswith("ls -ld ")


def test_a_package_that_is_missing_or_too_old(project: Project) -> None:
    hidden = Path(project.environment["PYTHONPATH"].split(":")[0])
    for name, version in (("numpy", "1.26.4"), ("rich", "15.0.1")):
        (hidden / f"{name}-{version}.dist-info").mkdir()
        (hidden / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    found = doctor(project, "--quick", expect=4)
    assert "numpy 1.26.4 is not <3,>=2" in found["packages"]["found"]
    assert "rich" not in found["packages"]["found"]
    assert found["exact versions"]["state"] == "warning"
    assert {"numpy 1.26.4", "rich 15.0.1"} <= {
        one.strip().rpartition(" for ")[0] for one in found["exact versions"]["found"].partition(":")[2].split(",")
    }


def test_names_of_packages_compare_in_all_spellings() -> None:
    assert plain_name("importlib_resources") == plain_name("Importlib.Resources") == "importlib-resources"
