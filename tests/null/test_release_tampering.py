"""What its publisher did not write is refused by whoever fetches or verifies it, and nothing of it appears."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from release_folders import write_checksums, write_release
from release_keys import write_key

from pipeline.errors import DestinationFailed, ReleaseRefused, UnknownName
from pipeline.release.download import download
from pipeline.release.fetch import FetchOptions, fetch
from pipeline.release.manifest import CHECKSUMS, MANIFEST, SIGNATURE, ReleasedFile
from pipeline.release.verify_release import VerifyOptions, verify_release
from pipeline.watch import Watch
from tests.null.cli import Project
from tests.null.releasing import STEM, make_ready, release

NOBODY = Watch()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shelf/` (1.0.0 and 1.1.0 published), the project and `release.pub`: copy it before a change."""
    base = tmp_path_factory.mktemp("released")
    project = Project.create(base)
    project.build()
    make_ready(project)
    for version in ("1.0.0", "1.1.0"):
        release(project, f"--to={base / 'shelf'}", version=version)
    return base


@pytest.fixture
def shelf(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released / "shelf", tmp_path / "shelf"))


@pytest.fixture
def key(released: Path) -> Path:
    return released / "release.pub"


def verify(source: Path, key: Path, version: str = "latest") -> Any:
    return verify_release(VerifyOptions(str(source), str(key), version, quick=True), source, NOBODY)


def fetched(source: Path, to: Path, key: Path | str = "", **options: Any) -> Any:
    given = {"target": "null", "to": str(to), "key": str(key), **options}
    return fetch(FetchOptions(str(source), **given), source, NOBODY)


def nothing_appeared(folder: Path) -> bool:
    return not [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


def test_a_sound_release_passes_every_check(shelf: Path, key: Path) -> None:
    document = verify(shelf, key)
    assert document.version == "1.1.0"
    assert [check.name for check in document.checks] == ["hashes", "signature", "provenance", "BOM", "build.json"]
    assert document.verdict == "pass"
    assert verify(shelf, key, "1.0.0").version == "1.0.0"
    assert verify(shelf / "1.0.0", key).version == "1.0.0"  # a release's own folder


def test_files_are_fetched_once_and_whole(shelf: Path, key: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    document = fetched(shelf, to, key)
    assert (document.version, document.signature) == ("1.1.0", "good")
    model = Path(document.model)
    assert model.read_bytes() == (shelf / "1.1.0" / model.name).read_bytes()
    assert set(document.fetched) == set(document.files)
    assert {path.name for path in model.parent.iterdir()} == {*document.files, MANIFEST, CHECKSUMS, SIGNATURE}
    assert fetched(shelf, to, key).fetched == []
    assert fetched(shelf, to, key, version="1.0.0").version == "1.0.0"
    assert fetched(shelf, to).signature == "not checked"


def altered(name: str) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        path = folder / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return alter


def resealed(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Change the manifest, and SHA256SUMS and the index with it: only the signature still tells."""

    def alter(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        change(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest))
        write_checksums(folder)
        index = json.loads((folder.parent / "index.json").read_text())
        index["releases"][folder.name]["sha256sums"] = hashlib.sha256((folder / CHECKSUMS).read_bytes()).hexdigest()
        (folder.parent / "index.json").write_text(json.dumps(index))

    return alter


def better(manifest: dict[str, Any]) -> None:
    manifest["targets"][0]["scores"]["accuracy"] = 1.0


def renamed(name: str) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][0]["name"] = name

    return change


def linked(folder: Path) -> None:
    path = folder / f"{STEM.replace('1.0.0', '1.1.0')}.labels.txt"
    elsewhere = folder.parent.parent / "elsewhere"
    elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere)


def extra(folder: Path) -> None:
    (folder / "install.sh").write_text("echo no\n")


def huge(folder: Path) -> None:
    with (folder / MANIFEST).open("ab") as file:
        file.truncate(1 << 33)  # sparse: 8 GB for whoever reads it whole


def deep(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"[" * 1_000_000)
    write_checksums(folder)


def of_another_version(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("1.0.0"), folder)


ATTACKS = {
    "model": altered("grey-null-1.1.0.tflite"),
    "labels": altered("grey-null-1.1.0.labels.txt"),
    "signature": altered(SIGNATURE),
    "manifest": altered(MANIFEST),
    "checksums": altered(CHECKSUMS),
    "BOM": altered("bom.cdx.json"),
    "provenance": altered("provenance.intoto.json"),
    "card": altered("MODEL_CARD.md"),
    "better numbers": resealed(better),
    "a path that leaves the folder": resealed(renamed("../../x")),
    "an absolute path": resealed(renamed("/tmp/x")),
    "an extra file": extra,
    "an extra file, sealed": lambda folder: (extra(folder), resealed(lambda manifest: None)(folder)),
    "a missing file": lambda folder: (folder / "MODEL_CARD.md").unlink(),
    "a symbolic link": linked,
    "a huge manifest": huge,
    "a deep manifest": deep,
    "another version's files": of_another_version,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_was_altered_is_refused(shelf: Path, key: Path, attack: str) -> None:
    ATTACKS[attack](shelf / "1.1.0")
    for source in (shelf, shelf / "1.1.0"):
        with pytest.raises(ReleaseRefused) as caught:
            verify(source, key, "1.1.0")
        assert caught.value.exit_code == 2
        assert caught.value.received
        assert caught.value.fix


# Of the whole release; a fetch looks at what it takes.
@pytest.mark.parametrize(
    "attack", sorted(set(ATTACKS) - {"BOM", "provenance", "card", "an extra file", "a missing file"})
)
def test_nothing_altered_is_fetched(shelf: Path, key: Path, tmp_path: Path, attack: str) -> None:
    ATTACKS[attack](shelf / "1.1.0")
    with pytest.raises(ReleaseRefused):
        fetched(shelf, tmp_path / "to", key)
    assert nothing_appeared(tmp_path / "to") or attack in ("model", "labels", "a symbolic link")
    folder = tmp_path / "to" / "1.1.0"
    for name in ("grey-null-1.1.0.tflite", "grey-null-1.1.0.labels.txt"):
        if (folder / name).exists():  # another file was refused: this one is sound
            assert (folder / name).read_bytes() == (shelf / "1.0.0" / name.replace("1.1.0", "1.0.0")).read_bytes()
    assert not (folder / MANIFEST).exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_altered_byte_is_noticed(released: Path, key: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "one"
    if not folder.exists():
        shutil.copytree(released / "shelf" / "1.0.0", folder)
    path = folder / data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        with pytest.raises(ReleaseRefused):
            verify(folder, key)
    finally:
        path.write_bytes(content)


def test_another_key_is_refused(shelf: Path, tmp_path: Path) -> None:
    other = write_key(tmp_path / "other.key").with_suffix(".pub")
    with pytest.raises(ReleaseRefused, match="key"):
        verify(shelf, other)
    with pytest.raises(ReleaseRefused, match="key"):
        fetched(shelf, tmp_path / "to", other)
    assert nothing_appeared(tmp_path / "to")


def test_a_release_that_another_signed_is_refused(shelf: Path, key: Path, tmp_path: Path) -> None:
    from pipeline.release.signature import load_signing_key, sign

    folder = shelf / "1.1.0"
    resealed(better)(folder)
    (folder / SIGNATURE).unlink()
    sign(folder, load_signing_key(str(write_key(tmp_path / "other.key"))))
    for attempt in (lambda: verify(shelf, key), lambda: fetched(shelf, tmp_path / "to", key)):
        with pytest.raises(ReleaseRefused):
            attempt()


def test_an_old_latest_is_a_rollback(shelf: Path, key: Path, tmp_path: Path) -> None:
    """A mirror that hides the new release: only who was there before can tell."""
    to = tmp_path / "to"
    fetched(shelf, to, key)
    index = json.loads((shelf / "index.json").read_text())
    del index["releases"]["1.1.0"]
    index["latest"] = "1.0.0"
    (shelf / "index.json").write_text(json.dumps(index))
    with pytest.raises(ReleaseRefused, match=r"1\.1\.0"):
        fetched(shelf, to, key)
    assert fetched(shelf, to, key, allow_rollback=True).version == "1.0.0"
    with pytest.raises(ReleaseRefused):  # which is remembered no less
        fetched(shelf, to, key)


def test_a_latest_that_is_not_the_newest_is_refused(shelf: Path, key: Path, tmp_path: Path) -> None:
    index = json.loads((shelf / "index.json").read_text())
    (shelf / "index.json").write_text(json.dumps(index | {"latest": "1.0.0"}))
    with pytest.raises(ReleaseRefused):
        fetched(shelf, tmp_path / "to", key)
    with pytest.raises(ReleaseRefused):
        verify(shelf, key)


def test_other_bytes_under_a_version_that_was_seen_are_refused(shelf: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    fetched(shelf, to)  # without a key nobody vouches for them, but they may not change
    shutil.rmtree(to / "1.1.0")
    resealed(better)(shelf / "1.1.0")
    with pytest.raises(ReleaseRefused, match="before"):
        fetched(shelf, to)
    assert nothing_appeared(to)


def test_a_swapped_target_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path / "shelf")
    folder = tmp_path / "shelf" / "1.2.0"
    manifest = json.loads((folder / MANIFEST).read_text())
    mobile, browser = manifest["targets"]
    mobile["target"], browser["target"] = browser["target"], mobile["target"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    write_checksums(folder)
    identity = hashlib.sha256((folder / CHECKSUMS).read_bytes()).hexdigest()
    index = {"schema_version": 1, "latest": "1.2.0", "releases": {"1.2.0": {"sha256sums": identity}}}
    (tmp_path / "shelf" / "index.json").write_text(json.dumps(index))
    with pytest.raises(ReleaseRefused, match="altered"):
        fetched(tmp_path / "shelf", tmp_path / "to", target="mobile")
    assert nothing_appeared(tmp_path / "to")


def test_a_target_that_is_not_there_is_named(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="nul"):
        fetched(shelf, tmp_path / "to", target="nul")


def test_a_file_that_is_there_already_is_never_overwritten(shelf: Path, key: Path, tmp_path: Path) -> None:
    for name, content in (("grey-null-1.1.0.tflite", b"mine"), (MANIFEST, b"mine as well")):
        to = tmp_path / name
        (to / "1.1.0").mkdir(parents=True)
        (to / "1.1.0" / name).write_bytes(content)
        with pytest.raises(ReleaseRefused, match="another file"):
            fetched(shelf, to, key)
        assert (to / "1.1.0" / name).read_bytes() == content


def test_a_link_in_the_release_s_place_is_not_followed(shelf: Path, key: Path, tmp_path: Path) -> None:
    to, elsewhere = tmp_path / "to", tmp_path / "elsewhere"
    to.mkdir()
    elsewhere.mkdir()
    (to / "1.1.0").symlink_to(elsewhere)
    with pytest.raises(ReleaseRefused, match="symbolic link"):
        fetched(shelf, to, key)
    assert not list(elsewhere.iterdir())


class Pieces:
    """A release of one file that is sent in pieces, and ends early as often as is asked for."""

    version = "1.0.0"

    def __init__(self, content: bytes, cut_after: int | None = None):
        self.content, self.cut_after = content, cut_after
        self.asked: list[int] = []

    def read(self, name: str, limit: int) -> bytes:
        return self.content[:limit]

    def names(self) -> list[str]:
        return ["file"]

    def stream(self, name: str, offset: int = 0) -> Any:
        self.asked.append(offset)
        end = None if self.cut_after is None else offset + self.cut_after
        for start in range(offset, len(self.content[:end]), 7):
            yield self.content[:end][start : start + 7]


def described(content: bytes) -> ReleasedFile:
    return ReleasedFile(name="file", role="model", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def test_a_download_goes_on_where_it_ended(tmp_path: Path) -> None:
    content, place = bytes(range(256)), tmp_path / "file"
    release = Pieces(content, cut_after=100)
    for _ in range(2):
        with pytest.raises(DestinationFailed, match="ended early"):
            download(release, described(content), place)
        assert not place.exists()
    assert download(release, described(content), place)
    assert release.asked == [0, 100, 200]
    assert place.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_part_of_other_bytes_is_thrown_away_once(tmp_path: Path) -> None:
    content = bytes(range(256))
    (tmp_path / ".file.part").write_bytes(b"something else")
    release = Pieces(content)
    assert download(release, described(content), tmp_path / "file")
    assert release.asked == [14, 0]
    wrong = Pieces(content[::-1])
    with pytest.raises(ReleaseRefused):
        download(wrong, described(content), tmp_path / "other")
    assert wrong.asked == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_more_bytes_than_were_promised_are_cut_off(tmp_path: Path) -> None:
    endless = Pieces(bytes(10_000_000))
    with pytest.raises(ReleaseRefused, match="altered"):
        download(endless, described(b"short"), tmp_path / "file")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1000


def test_the_command_line_says_so_with_exit_2(released: Path, shelf: Path, tmp_path: Path) -> None:
    project = Project(released / "project", released)
    good = project.run("verify-release", f"--from={shelf}", f"--key={released / 'release.pub'}", "--quick", "--json")
    assert good.json("verify_release")["verdict"] == "pass"
    answer = project.run("fetch", f"--from={shelf}", "--target=null", f"--to={tmp_path / 'to'}", "--json")
    assert answer.json("fetch")["version"] == "1.1.0"
    assert "not checked" in answer.stderr
    altered(MANIFEST)(shelf / "1.1.0")
    for arguments in (("verify-release", f"--key={released / 'release.pub'}"), ("fetch", "--target=null")):
        failed = project.run(*arguments, f"--from={shelf}", "--json", expect=2)
        assert failed.json("error")["error"]["code"] == "release_refused"
    assert "release.pub" in project.run("verify-release", f"--from={shelf}", expect=2).stderr


def test_a_file_that_scores_otherwise_fails(released: Path) -> None:
    """The null runner's numbers are made up: run for real, the file does not have them."""
    project = Project(released / "project", released)
    flags = (f"--from={released / 'shelf'}", f"--key={released / 'release.pub'}", "--json")
    document = project.run("verify-release", *flags, expect=5).json("verify_release")
    assert document["verdict"] == "fail"
    (one,) = document["remeasured"]
    assert one["measured"]["accuracy"] != one["published"]["accuracy"]
