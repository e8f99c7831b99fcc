"""The layout of a model repository in a folder."""

from __future__ import annotations

import subprocess

import pytest
from release_folders import write_release

from pipeline.errors import ReleaseRefused
from pipeline.release.open_destination import open_destination
from pipeline.watch import Watch


@pytest.fixture(params=["hf-layout:", "hf-layout://"])
def place(request, tmp_path):
    return f"{request.param}{tmp_path}/repository"


def publish(place, parent, version):
    folder = write_release(parent, version, extra={"MODEL_CARD.md": f"# card of {version}\n".encode()})
    return open_destination(place).publish(folder, version, Watch())


def test_the_page_is_the_card_of_the_newest_release(place, tmp_path):
    pages = []
    for version in ("1.0.0", "1.1.0-rc.1", "1.1.0", "1.0.1"):
        assert publish(place, tmp_path / "made", version)
        pages.append((tmp_path / "repository" / "README.md").read_text())
    assert pages == [f"# card of {version}\n" for version in ("1.0.0", "1.0.0", "1.1.0", "1.1.0")]
    assert open_destination(place).latest() == "1.1.0"
    assert "MODEL_CARD.md" in open_destination(place).open_release("1.0.1").names()


def test_a_page_that_an_interruption_left_old_is_mended_by_the_same_command(place, tmp_path):
    publish(place, tmp_path / "made", "1.0.0")
    page = tmp_path / "repository" / "README.md"
    page.write_text("old\n")
    folder = tmp_path / "made" / "1.0.0"
    assert not open_destination(place).publish(folder, "1.0.0", Watch())
    assert page.read_text() == "# card of 1.0.0\n"


def test_other_bytes_are_refused(place, tmp_path):
    publish(place, tmp_path / "first", "1.0.0")
    folder = write_release(tmp_path / "second", "1.0.0")
    with pytest.raises(ReleaseRefused, match="other bytes"):
        open_destination(place).publish(folder, "1.0.0", Watch())


def test_git_sends_models_by_lfs_leaves_bytes_alone_and_takes_nothing_of_ours(tmp_path):
    publish(f"hf-layout:{tmp_path}/repository", tmp_path / "made", "1.0.0")

    def git(*arguments):
        command = ["git", "-C", str(tmp_path / "repository"), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    model, card = "1.0.0/mnist-mobile-1.0.0.tflite", "1.0.0/MODEL_CARD.md"
    assert git("check-attr", "filter", "text", "--", model) == f"{model}: filter: lfs\n{model}: text: unset\n"
    assert git("check-attr", "filter", "text", "--", card) == f"{card}: filter: unspecified\n{card}: text: unset\n"
    listed = git("ls-files", "--others", "--exclude-standard").split()
    assert {model, card, "README.md", "index.json", "latest", ".gitattributes"} <= set(listed)
    assert not [name for name in listed if ".publishing" in name]
