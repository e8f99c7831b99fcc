"""`invoke release` from finished builds to a signed folder and a published version, without TensorFlow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from release_folders import write_checksums
from release_keys import write_key

from pipeline.release.manifest import CHECKSUMS, SIGNATURE
from pipeline.release.reproducible import without_measured
from tests.null.cli import Project
from tests.null.releasing import EPOCH, STEM, commit, git, make_ready, release


@pytest.fixture
def ready(built: Project) -> Project:
    return make_ready(built)


def folder(project: Project, version: str = "1.0.0") -> Path:
    return project.root / "artifacts" / "releases" / version


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir()}


def refused(project: Project, *arguments: str, **options: Any) -> dict[str, str]:
    """Return the error of a release that has to be refused, and has to leave nothing behind."""
    before = sorted((project.root / "artifacts" / "releases").glob("*"))
    document = release(project, "--json", *arguments, expect=2, **options).json("error")
    assert sorted((project.root / "artifacts" / "releases").glob("*")) == before
    return document["error"]


def test_a_release_is_the_built_bytes_with_what_they_need(ready: Project) -> None:
    document = release(ready, "--json").json("release")
    assert document["state"] == "not published"
    place = folder(ready)
    files = contents(place)
    assert files[f"{STEM}.tflite"] == ready.artifact().read_bytes()
    assert files[f"{STEM}.build.json"] == ready.artifact(name="build.json").read_bytes()
    assert set(files) == {
        *(f"{STEM}.{kind}" for kind in ("tflite", "build.json", "labels.txt", "preprocessing.json")),
        *("MODEL_CARD.md", "bom.cdx.json", "provenance.intoto.json", "classify.py", "manifest.json"),
        *(CHECKSUMS, SIGNATURE),
    }
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS], cwd=place, check=True)
    assert len(files[CHECKSUMS].splitlines()) == len(files) - 2
    manifest = json.loads(files["manifest.json"])
    build = json.loads(files[f"{STEM}.build.json"])
    assert manifest == document["manifest"]
    (target,) = manifest["targets"]
    assert (target["sha256"], target["scores"], target["verdicts"]) == (
        build["sha256"],
        build["scores"],
        build["verdicts"],
    )
    assert manifest["commit"] == git(ready, "rev-parse", "HEAD")
    assert not list(ready.root.rglob("*.key"))


def test_the_same_builds_give_the_same_bytes_but_for_the_signature(ready: Project, tmp_path: Path) -> None:
    other = ready.copy(tmp_path / "elsewhere")
    shutil.copy(ready.root.parent / "release.key", other.root.parent)
    both = []
    for project, options in ((ready, {"env": EPOCH}), (other, {"env": {**EPOCH, "TZ": "Asia/Tokyo", "LANG": "C"}})):
        release(project, **options)
        both.append(contents(folder(project)))
    signatures = [files.pop(SIGNATURE) for files in both]
    assert both[0] == both[1]
    assert signatures[0] != signatures[1]
    assert b"2026-01-01T00:00:00Z" in both[0]["manifest.json"]


def test_a_full_rebuild_changes_only_what_measures(ready: Project) -> None:
    release(ready)
    before = contents(folder(ready))
    shutil.rmtree(folder(ready))
    shutil.rmtree(ready.root / "artifacts")
    ready.build()
    release(ready)
    after = contents(folder(ready))
    for name in (f"{STEM}.tflite", f"{STEM}.labels.txt", f"{STEM}.preprocessing.json"):
        assert before[name] == after[name]
    builds = [json.loads(files[f"{STEM}.build.json"]) for files in (before, after)]
    assert builds[0] != builds[1]  # when it was measured, if nothing else
    assert without_measured(builds[0]) == without_measured(builds[1])
    listed = json.loads(after["manifest.json"])["measured_fields"]
    assert {"latency", "stages[].seconds", "verdict"} <= set(listed)


def test_again_is_a_success_that_changes_nothing(ready: Project, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    assert release(ready, f"--to={shelf}", "--json").json("release")["state"] == "published"
    before = contents(folder(ready)), sorted((path, path.stat().st_mtime_ns) for path in shelf.rglob("*"))
    assert release(ready, f"--to={shelf}", "--json").json("release")["state"] == "was published before"
    assert (contents(folder(ready)), sorted((path, path.stat().st_mtime_ns) for path in shelf.rglob("*"))) == before
    assert contents(shelf / "1.0.0") == contents(folder(ready))
    assert json.loads((shelf / "index.json").read_text())["latest"] == "1.0.0"


@pytest.mark.parametrize(
    "version", ["1.0", "v1.0.0", "1.0.0/..", "../1.0.0", "01.0.0", "1.0.0+build", "1.0.0-", " ", "1" * 200]
)
def test_only_versions_are_versions(ready: Project, version: str) -> None:
    assert "Semantic Versioning" in refused(ready, version=version)["expected"]


def test_a_tree_that_differs_from_its_commit_is_refused(ready: Project) -> None:
    ready.add("notes.txt", "not committed")
    assert "notes.txt" in refused(ready)["received"]


def test_a_tree_that_git_cannot_compare_is_refused(ready: Project) -> None:
    ready.add("CHANGELOG.md", "## 1.0.0\n\nNot committed.\n")
    (ready.root / ".git" / "index").write_bytes(b"broken")
    assert "git status" in refused(ready)["fix"]


def test_a_workload_that_no_commit_has_is_refused(ready: Project, tmp_path: Path) -> None:
    shutil.copy(ready.root / "workloads" / "grey.py", outside := tmp_path / "elsewhere.py")
    ready.add(".gitignore", "artifacts/\n__pycache__/\nprivate/\n")
    commit(ready)
    ready.add("private/ignored.py", outside.read_text())
    for path in (outside, ready.root / "private" / "ignored.py"):
        flag = f"--workload={path}"
        ready.run("build", "--target=null", flag)
        key = f"--key={ready.root.parent / 'release.key'}"
        result = ready.run("release", "--version=1.0.0", "--json", flag, key, expect=2)
        assert path.name in result.json("error")["error"]["received"]


def test_a_workload_given_by_its_path_is_named_from_the_project_on(ready: Project) -> None:
    path = f"--workload={ready.root / 'workloads' / 'grey.py'}"
    ready.run("build", "--target=null", path)
    ready.run("release", "--version=1.0.0", path, f"--key={ready.root.parent / 'release.key'}")
    assert json.loads((folder(ready) / f"{STEM}.build.json").read_bytes())["workload_file"] == "workloads/grey.py"
    for content in contents(folder(ready)).values():
        assert str(ready.root).encode() not in content
    ready.run("bench", "--target=null", "--workload=grey", "--samples=20", expect=None, cwd=ready.root / "workloads")


def test_a_project_without_git_is_refused(ready: Project) -> None:
    shutil.rmtree(ready.root / ".git")
    assert "git init" in refused(ready)["fix"]


def test_a_tag_of_another_commit_is_refused_and_one_of_this_commit_is_not(ready: Project) -> None:
    git(ready, "tag", "v1.0.0")
    ready.add("more.txt", "more")
    commit(ready)
    assert "v1.0.0" in refused(ready)["message"]
    git(ready, "tag", "--force", "v1.0.0")
    release(ready)


@pytest.mark.parametrize("changelog", [None, "# Changelog\n\n## 1.0.0-rc.1\n\n## 11.0.0\n\n1.0.0 in a sentence\n"])
def test_a_changelog_without_the_version_is_refused(ready: Project, changelog: str | None) -> None:
    if changelog is None:
        (ready.root / "CHANGELOG.md").unlink()
    else:
        ready.add("CHANGELOG.md", changelog)
    commit(ready)
    assert "CHANGELOG.md" in refused(ready)["message"]


def test_nothing_built_says_what_to_build(ready: Project) -> None:
    shutil.rmtree(ready.root / "artifacts" / "grey")
    assert "invoke build" in refused(ready)["fix"]
    assert "invoke build --target=null" in refused(ready, "--targets=null")["fix"]
    assert refused(ready, "--targets=nul")["code"] == "unknown_name"


def test_a_file_that_is_not_the_measured_one_is_refused(ready: Project) -> None:
    path = ready.artifact()
    path.write_bytes(path.read_bytes() + b"\0")
    assert "build.json" in refused(ready)["message"]


def test_a_build_of_another_recipe_is_refused(ready: Project) -> None:
    ready.configure("null_prune", final_sparsity=0.25)
    commit(ready)
    error = refused(ready)
    assert "null_prune" in error["received"]
    assert "--target=null --workload=grey" in error["fix"]


def test_an_earlier_release_that_lost_a_file_is_told(ready: Project) -> None:
    release(ready)
    (folder(ready) / f"{STEM}.build.json").unlink()
    error = refused(ready, version="1.1.0")
    assert "build.json" in error["message"]
    assert "1.0.0" in error["message"]


def test_a_failed_budget_is_refused_whatever_is_accepted(ready: Project) -> None:
    ready.budget(size_bytes=10)
    commit(ready)
    ready.build(expect=5)
    assert "size_bytes" in refused(ready, "--accept-inconclusive", "--allow-regression=because")["message"]


def test_an_inconclusive_budget_has_to_be_accepted_and_is_said(ready: Project) -> None:
    ready.budget(size_bytes=1_000_000, sram_bytes=1_000)  # the null runner does not tell it
    commit(ready)
    ready.build(expect=3)
    assert "--accept-inconclusive" in refused(ready)["fix"]
    result = release(ready, "--accept-inconclusive")
    manifest = json.loads((folder(ready) / "manifest.json").read_text())
    assert manifest["accepted_inconclusive"] is True
    assert manifest["targets"][0]["verdict"] == "inconclusive"
    assert "sram_bytes" in result.stdout
    assert "inconclusive" in (folder(ready) / "MODEL_CARD.md").read_text()


def test_a_latency_of_another_device_is_published_as_not_measured(ready: Project) -> None:
    ready.budget(size_bytes=1_000_000, latency_p50_ms='{ limit = 1.0, device_class = "android-arm64" }')
    commit(ready)
    ready.build()
    assert "not measured on device" in release(ready).stdout
    manifest = json.loads((folder(ready) / "manifest.json").read_text())
    assert manifest["targets"][0]["not_measured_on_device"] == ["latency_p50_ms"]
    assert "not measured on device" in (folder(ready) / "MODEL_CARD.md").read_text()


def test_a_worse_file_needs_a_reason_that_is_recorded(ready: Project, tmp_path: Path) -> None:
    shelf = f"--to={tmp_path / 'shelf'}"
    release(ready, shelf)
    path = ready.root / "steps" / "null_quantize.py"
    path.write_text(path.read_text() + WORSE, encoding="utf-8")
    commit(ready)
    ready.build()
    for arguments in ((), (shelf,)):  # the project's own earlier release, and the published one
        error = refused(ready, *arguments, version="1.1.0")
        assert "size_bytes" in error["received"]
        assert "1.0.0" in error["message"]
    release(ready, shelf, "--allow-regression=the new format takes 16 bytes more", version="1.1.0")
    manifest = json.loads((folder(ready, "1.1.0") / "manifest.json").read_text())
    assert manifest["allowed_regression"] == "the new format takes 16 bytes more"
    assert manifest["previous"] == "1.0.0"
    assert "takes 16 bytes more" in (folder(ready, "1.1.0") / "MODEL_CARD.md").read_text()


# The same file with 16 bytes behind it, which TFLite's reader does not look at.
WORSE = """

_smaller = run


def run(source, workload, config, out, report):
    facts = _smaller(source, workload, config, out, report)
    with (out / "model.tflite").open("ab") as file:
        file.write(bytes(16))
    return facts
"""


def test_a_version_does_not_change(ready: Project, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    release(ready, f"--to={shelf}")
    published = contents(shelf / "1.0.0")
    ready.add("more.txt", "another commit")
    commit(ready)
    assert "other bytes" in refused(ready, f"--to={shelf}")["message"]
    shutil.rmtree(folder(ready))  # the project forgot, the shelf did not
    assert release(ready, f"--to={shelf}", "--json", expect=2).json("error")["error"]["code"] == "release_refused"
    assert contents(shelf / "1.0.0") == published


def test_a_damaged_folder_is_not_published(ready: Project, tmp_path: Path) -> None:
    release(ready)
    path = folder(ready) / f"{STEM}.labels.txt"
    path.write_text("another\n")
    assert path.name in refused(ready, f"--to={tmp_path / 'shelf'}")["received"]
    assert not (tmp_path / "shelf").exists()


def test_a_folder_that_another_key_signed_is_not_published(ready: Project, tmp_path: Path) -> None:
    release(ready)
    write_key(ready.root.parent / "release.key")
    error = refused(ready, f"--to={tmp_path / 'shelf'}")
    assert "key" in error["message"]
    assert not (tmp_path / "shelf").exists()


def test_a_folder_whose_hashes_were_made_to_agree_is_not_published(ready: Project, tmp_path: Path) -> None:
    release(ready)
    (folder(ready) / "MODEL_CARD.md").write_text("# Better\n")
    write_checksums(folder(ready))
    assert "MODEL_CARD.md" in refused(ready, f"--to={tmp_path / 'shelf'}")["received"]
    assert not (tmp_path / "shelf").exists()


def test_a_release_is_not_published_into_itself(ready: Project) -> None:
    release(ready)
    before = contents(folder(ready))
    for place in (folder(ready), folder(ready) / "shelf"):
        assert "itself" in refused(ready, f"--to={place}")["message"]
    assert contents(folder(ready)) == before


def test_a_key_is_needed_and_never_shown(ready: Project) -> None:
    key = ready.root.parent / "release.key"
    text = key.read_text()
    key.unlink()
    assert "openssl" in refused(ready)["fix"]
    result = ready.run("release", "--version=1.0.0", "--workload=grey", env={"RELEASE_SIGNING_KEY": text})
    body = text.splitlines()[1]
    assert body not in result.stdout + result.stderr
    for path in (ready.root / "artifacts").rglob("*"):
        assert not path.is_file() or body.encode() not in path.read_bytes()


def test_nothing_is_left_of_a_release_that_was_interrupted(ready: Project) -> None:
    for delay in (0.3, 0.6, 0.9):
        process = ready.start("release", "--version=1.0.0", "--workload=grey", f"--key={ready.root.parent}/release.key")
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        process.communicate()
    release(ready)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS], cwd=folder(ready), check=True)
    assert [path.name for path in folder(ready).parent.iterdir()] == ["1.0.0"]


def test_a_workload_that_is_not_here_leaves_the_check_of_everything_else(ready: Project, tmp_path: Path) -> None:
    release(ready, f"--to={tmp_path}")
    (ready.root / "workloads" / "grey.py").unlink()
    flags = ("verify-release", f"--from={tmp_path}", f"--key={ready.root.parent / 'release.pub'}", "--json")
    error = ready.run(*flags, expect=2).json("error")["error"]
    assert "grey" in error["received"]
    assert "--quick" in error["fix"]
    assert ready.run(*flags, "--quick").json("verify_release")["version"] == "1.0.0"
