"""`invoke ci`: every target is tried, the reports are there in any case, and the exit code is the worst."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.null.cli import Project

OTHER = "targets/other.toml"


@pytest.fixture
def two(project: Project) -> Project:
    """A project with the targets `null` and `other`, which are alike."""
    project.add(OTHER, (project.root / "targets" / "null.toml").read_text(encoding="utf-8"))
    return project


def ci(project: Project, *arguments: str, targets: str = "null,other", expect: int | None = 0, workload: str = "grey"):
    flags = (f"--targets={targets}", f"--workload={workload}", "--junit=out/junit.xml", "--summary=out/summary.md")
    return project.run("ci", *flags, *arguments, expect=expect)


def reports(project: Project) -> tuple[dict[str, dict[str, int]], str]:
    """Return {suite: counts} of the JUnit XML, and the summary; no half-written file lies beside them."""
    folder = project.root / "out"
    assert sorted(path.name for path in folder.iterdir()) == ["junit.xml", "summary.md"]
    root = ElementTree.parse(folder / "junit.xml").getroot()
    counts = {
        str(suite.get("name")): {name: int(suite.get(name, "")) for name in ("tests", "failures", "errors", "skipped")}
        for suite in root
    }
    return counts, (folder / "summary.md").read_text(encoding="utf-8")


PASSED = {"tests": 7, "failures": 0, "errors": 0, "skipped": 1}  # the null target's budgets; one binds on phones


def test_passing_targets(two: Project) -> None:
    document = ci(two, "--json").json("ci")
    counts, summary = reports(two)
    assert counts == {"grey.null": PASSED, "grey.other": PASSED}
    assert document["outcome"] == "pass"
    assert [target["outcome"] for target in document["targets"]] == ["pass", "pass"]
    built = json.loads((two.root / "artifacts/grey/null/build.json").read_text(encoding="utf-8"))
    assert document["targets"][0]["verdicts"] == built["verdicts"]
    assert "Nothing to compare with" in summary


def test_a_failed_budget_exits_5_and_is_a_failure(two: Project) -> None:
    two.budget(size_bytes=1)
    ci(two, expect=5)
    counts, summary = reports(two)
    assert counts == {"grey.null": {"tests": 1, "failures": 1, "errors": 0, "skipped": 0}, "grey.other": PASSED}
    assert summary.startswith("# Budgets: fail\n")


def test_an_inconclusive_budget_exits_3_and_passes_no_gate(two: Project) -> None:
    two.budget(arena_bytes=1000)  # which the null device does not tell
    ci(two, expect=3)
    assert reports(two)[0]["grey.null"] == {"tests": 1, "failures": 0, "errors": 1, "skipped": 0}


@pytest.mark.parametrize(
    ("old", "new", "code", "error"),
    [
        ('\nstep = "null_prune"', '\nstep = "null_prune"\nfail = true', 2, "bad_target"),
        ('runner = "null"', 'runner = "nul"', 2, "unknown_name"),
        ("[budgets]", "[budgets", 2, "bad_target"),
    ],
)
def test_a_target_that_cannot_be_built_hides_no_other(two: Project, old: str, new: str, code: int, error: str) -> None:
    two.edit("targets/null.toml", old, new)
    document = ci(two, "--json", expect=code).json("ci")
    assert [target["outcome"] for target in document["targets"]] == ["error", "pass"]
    assert document["targets"][0]["error"]["code"] == error
    counts, summary = reports(two)
    assert counts == {"grey.null": {"tests": 1, "failures": 0, "errors": 1, "skipped": 0}, "grey.other": PASSED}
    assert "It could not be built" in summary
    assert two.artifact("other").is_file()


def broken_step(project: Project, body: str) -> None:
    """Make the null target's pruning end so."""
    project.edit("targets/null.toml", '\nstep = "null_prune"', '\nstep = "broken"')
    text = (project.root / "steps" / "null_prune.py").read_text(encoding="utf-8")
    head, _, _ = text.partition("def run(")
    project.add("steps/broken.py", f"{head}def run(source, workload, config, out, report):\n    {body}\n")


def test_a_step_that_dies_exits_4_over_a_failed_budget(two: Project) -> None:
    broken_step(two, "import os; os.abort()")
    two.edit(OTHER, "size_bytes = 20_000", "size_bytes = 1")
    document = ci(two, "--json", expect=4).json("ci")
    assert [target["outcome"] for target in document["targets"]] == ["error", "fail"]
    assert [target["exit_code"] for target in document["targets"]] == [4, 5]
    assert document["outcome"] == "error"
    counts, summary = reports(two)
    assert (counts["grey.null"]["errors"], counts["grey.other"]["failures"]) == (1, 1)
    assert summary.startswith("# Budgets: error\n")


def test_a_change_against_main_is_shown(two: Project) -> None:
    ci(two)
    main = two.root / "main"
    shutil.copytree(two.root / "artifacts" / "grey", main / "artifacts" / "grey")
    path = main / "artifacts" / "grey" / "null" / "build.json"
    earlier = json.loads(path.read_text(encoding="utf-8"))
    earlier["size_bytes"] -= 100
    path.write_text(json.dumps(earlier), encoding="utf-8")
    (main / "artifacts" / "grey" / "other" / "build.json").write_text("{}", encoding="utf-8")
    for against in (main, main / "artifacts"):
        null, other = ci(two, "--json", f"--against={against}").json("ci")["targets"]
        size = next(change for change in null["changes"] if change["metric"] == "size_bytes")
        assert (size["now"] - size["before"], size["outcome"]) == (100, "worse")
        assert "accuracy" in {change["metric"] for change in null["changes"]}
        assert other["changes"] == []
        assert "cannot be read" in other["not_compared"]
        assert "worse: size_bytes" in reports(two)[1]


def test_an_empty_folder_is_an_earlier_build_of_nothing(two: Project) -> None:
    (two.root / "main").mkdir()
    ci(two, "--against=main")
    assert "Nothing to compare with: the earlier build has no such target." in reports(two)[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--against=nowhere",), "--against"),
        (("--junit=targets",), "--junit"),
        (("--summary=/dev/null",), "--summary"),
        (("--junit=same", "--summary=./same"), "the same file"),
    ],
)
def test_reports_and_folders_that_cannot_be_are_refused_first(two: Project, flags: tuple, message: str) -> None:
    error = two.run("ci", "--targets=null", "--workload=grey", "--json", *flags, expect=2).json("error")["error"]
    assert message in error["message"]
    assert not two.entries()
    assert not Path(two.root / "same").exists()


def test_an_unknown_workload_is_in_the_reports(two: Project) -> None:
    ci(two, expect=2, workload="gray")
    assert {name: counts["errors"] for name, counts in reports(two)[0].items()} == {"gray.null": 1, "gray.other": 1}


def test_without_reports_the_summary_goes_to_stdout(two: Project) -> None:
    text = two.run("ci", "--targets=other", "--workload=grey").stdout
    assert text.startswith("# Budgets: pass\n")
    assert "| other | grey | pass | nothing to compare with |" in text
