"""The tutorials of examples/: every command of their READMEs' `sh` blocks, in order, as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.runner import Settings
from pipeline.runners import browser as runner
from tests.e2e.small_project import REPOSITORY, environment, invoke

EXAMPLES = REPOSITORY / "examples"


def commands(readme: Path) -> str:
    """Return the README's `sh` blocks as one script."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))


def run(name: str, folder: Path) -> tuple[Path, str]:
    """Copy an example, run its README, and return its folder and what it printed on stdout."""
    ignored = shutil.ignore_patterns("__pycache__", "artifacts")
    project = Path(shutil.copytree(EXAMPLES / name, folder / name, ignore=ignored))
    binaries = folder / "bin"  # `python` and `invoke` are this environment's
    binaries.mkdir()
    for command, start in (("python", ""), ("invoke", " -m invoke")):
        (binaries / command).write_text(f'#!/bin/sh\nexec "{sys.executable}"{start} "$@"\n')
        (binaries / command).chmod(0o755)
    path = os.pathsep.join([str(binaries), os.environ["PATH"]])
    script = commands(project / "README.md")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=project,
        env={**environment(), "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return project, done.stdout


def built(project: Path, name: str) -> dict[str, Any]:
    return json.loads((project / "artifacts" / name / name / "build.json").read_text())


def phone(project: Path, printed: str) -> None:
    document = built(project, "shapes")
    assert document["verdict"] == "pass"
    assert document["accuracy"] > 0.8
    assert "circle" in printed.splitlines()[-1] or "circle" in printed  # the answer to the last command


def microcontroller(project: Path, printed: str) -> None:
    document = built(project, "calls")
    assert document["verdict"] == "pass"
    assert document["accuracy"] > 0.8
    assert document["device"]["figures"]["arena_bytes"]["value"] > 0
    assert {"model.cc", "model.h"} <= {path.name for path in (project / "artifacts" / "calls" / "calls").iterdir()}


def browser(project: Path, printed: str) -> None:
    assert (project / "artifacts" / "marks" / "marks" / "converted" / "model.tflite").is_file()
    assert 'step = "load"' in (project / "targets" / "marks.toml").read_text()
    try:
        runner.device(Settings())
    except PipelineError:  # no Chromium or no LiteRT.js here: what the README says to install by hand
        return
    invoke(project, "build", "--target=marks", "--workload=marks")
    assert built(project, "marks")["device"]["runner"] == "browser"


def letters(project: Path, printed: str) -> None:
    document = built(project, "letters")
    assert document["verdict"] == "pass"
    assert [stage["name"] for stage in document["stages"]][:3] == ["load", "transfer", "quantize"]
    assert document["accuracy"] > 0.9


CHECKS: dict[str, Callable[[Path, str], None]] = {
    "image_folder_to_phone": phone,
    "keyword_spotting_to_microcontroller": microcontroller,
    "keras_file_to_browser": browser,
    "digits_to_letters": letters,
}


def test_every_example_is_tried_and_listed() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if (path / "README.md").is_file()}
    assert folders == set(CHECKS)
    assert set(re.findall(r"\]\(([a-z_]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))) == folders


NEEDS = {
    "image_folder_to_phone": ("pipeline.data.image_folder", "pipeline.zoo.resnet8"),
    "keyword_spotting_to_microcontroller": ("pipeline.zoo.ds_cnn", "tflite_micro"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_commands_of_an_example(name: str, tmp_path: Path) -> None:
    for module in NEEDS.get(name, ()):
        pytest.importorskip(module)
    CHECKS[name](*run(name, tmp_path))
