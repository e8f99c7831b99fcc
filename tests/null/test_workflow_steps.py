"""The scripts in the workflows, run as a workflow runs them, but for a stand-in for GitHub's client."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import yaml

from tests.null.cli import REPOSITORY, Project

# Answers as `gh` does: a list of runs, and a download of what one of them kept. See https://cli.github.com/manual/.
GH = """#!/usr/bin/env bash
set -euo pipefail
echo "$*" >> "$GH_CALLS"
[ "$GH_TOKEN" = token ]
if [ "$1 $2" = "run list" ]; then
  for run in $GH_RUNS; do echo "$run"; done
else
  run="$3"
  [ -d "$GH_ARTIFACTS/$3" ] || { echo "no artifact matches any of the names" >&2; exit 1; }
  while [ "$1" != --dir ]; do shift; done
  mkdir -p "$2" && cp -r "$GH_ARTIFACTS/$run/." "$2"
fi
"""


class Workflow:
    """The steps of a workflow's first job, in a project."""

    def __init__(self, name: str, project: Project, folder: Path):
        document = yaml.safe_load((REPOSITORY / ".github" / "workflows" / name).read_text(encoding="utf-8"))
        self.job = next(iter(document["jobs"].values()))
        self.project, self.folder = project, folder
        self.artifacts = folder / "kept"
        programs = folder / "programs"
        programs.mkdir()
        for program, text in (("gh", GH), ("invoke", f'#!/bin/sh\nexec {sys.executable} -m invoke "$@"\n')):
            (programs / program).write_text(text)
            (programs / program).chmod(0o755)
        self.environment = {
            **project.environment,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "TARGETS": "null",
            "WORKLOAD": "grey",
            "RUNNER_TEMP": str(folder / "temporary"),
            "GITHUB_REPOSITORY": "owner/repository",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "GITHUB_REF_NAME": "v1.2.0",
            "GH_CALLS": str(folder / "calls"),
            "GH_ARTIFACTS": str(self.artifacts),
            "GH_RUNS": "",
        }

    def run(self, name: str, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script of the step of that name, in the shell and with the flags that GitHub gives it."""
        (step,) = (step for step in self.job["steps"] if step.get("name") == name)
        expressions = {"${{ github.token }}": "token", "${{ github.event.repository.default_branch }}": "main"}
        given = {key: expressions.get(value, "secret") for key, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.project.root,
            env={**self.environment, **given, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done


def calls(workflow: Workflow) -> list[str]:
    return (workflow.folder / "calls").read_text().splitlines()


def keep(workflow: Workflow, run: str, path: str, content: str) -> None:
    """Have an earlier run keep a file."""
    file = workflow.artifacts / run / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")


def test_the_gate_compares_with_what_main_kept(project: Project, tmp_path: Path) -> None:
    workflow = Workflow("build.yml", project, tmp_path)
    workflow.run("Fetch main's build")  # there is no run on main yet
    workflow.run("Build and judge")
    workflow.run("Show the summary")
    assert "Nothing to compare with" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    built = json.loads((project.root / "artifacts/grey/null/build.json").read_text(encoding="utf-8"))
    keep(workflow, "77", "grey/null/build.json", json.dumps({**built, "size_bytes": built["size_bytes"] - 1}))
    workflow.run("Fetch main's build", GH_RUNS="77")
    assert calls(workflow)[-2].startswith("run list --repo owner/repository --workflow build.yml --branch main")
    assert calls(workflow)[-1].startswith("run download 77 --repo owner/repository --name build")
    workflow.run("Build and judge")
    workflow.run("Show the summary")
    assert "worse: size_bytes" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert ElementTree.parse(project.root / "reports" / "junit.xml").getroot().get("tests") == "7"


def test_the_gate_holds_without_what_main_kept_and_fails_by_a_budget(project: Project, tmp_path: Path) -> None:
    workflow = Workflow("build.yml", project, tmp_path)
    done = workflow.run("Fetch main's build", GH_RUNS="77")  # its artifact has expired
    assert "::notice::" in done.stdout
    project.budget(size_bytes=1)
    workflow.run("Build and judge", expect=5)
    workflow.run("Show the summary")
    assert "# Budgets: fail" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_nightly_goes_on_with_the_newest_history(project: Project, tmp_path: Path) -> None:
    workflow = Workflow("nightly.yml", project, tmp_path)
    line = '{"kept": "from an earlier night"}\n'
    keep(workflow, "8", "history.jsonl", line)
    keep(workflow, "7", "history.jsonl", "older\n")
    workflow.run("Fetch the history", GH_RUNS="9 8 7")
    workflow.run("Build")
    workflow.run("Measure")
    history = (project.root / "artifacts" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert history[0] == line.strip()
    assert len(history) == 3  # the build, and the measurement
    assert json.loads((project.root / "reports" / "bench.json").read_text(encoding="utf-8"))["verdict"] == "pass"


def test_the_release_step_asks_for_what_invoke_release_has(project: Project, tmp_path: Path) -> None:
    workflow = Workflow("release.yml", project, tmp_path)
    workflow.run("Build")
    told = tmp_path / "programs" / "invoke"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\necho "$RELEASE_SIGNING_KEY" > "$RUNNER_TEMP.key"\n')
    arguments = workflow.run("Release").stdout.splitlines()
    assert arguments == [
        "release",
        "--version=1.2.0",
        "--targets=null",
        "--workload=grey",
        "--to=github://owner/repository",
    ]
    assert Path(f"{workflow.environment['RUNNER_TEMP']}.key").read_text() == "secret\n"
    known = project.run("--help", "release").stdout
    for flag in re.findall(r"--\w+", " ".join(arguments)):
        assert flag in known
