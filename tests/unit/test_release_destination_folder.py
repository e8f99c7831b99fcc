"""Releases in folders, and at URLs that only fsspec knows."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import tracemalloc
from pathlib import Path

import pytest
from release_folders import write_release

from pipeline.errors import DestinationFailed, EnvironmentUnsuited, PipelineError, ReleaseRefused
from pipeline.release.destination import CHUNK_BYTES, Patience
from pipeline.release.manifest import SIGNATURE
from pipeline.release.open_destination import known_schemes, open_destination
from pipeline.watch import Watch

WATCH = Watch()


def contents(release) -> dict[str, bytes]:
    return {name: b"".join(release.stream(name)) for name in release.names()}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=["folder", "file", "memory"])
def place(request, tmp_path):
    if request.param == "memory":
        import fsspec

        fsspec.filesystem("memory").store.clear()
        return "memory://releases/here"
    return f"{'file://' if request.param == 'file' else ''}{tmp_path}/to/releases"


def test_a_release_is_read_as_it_was_published(place, tmp_path):
    folder = write_release(tmp_path / "made", extra={"MODEL_CARD.md": b"", "big.bin": os.urandom(3 * CHUNK_BYTES + 5)})
    destination = open_destination(place)
    assert destination.versions() == []
    assert destination.latest() is None
    assert destination.publish(folder, "1.2.0", WATCH)
    release = destination.open_release("1.2.0")
    assert contents(release) == files_of(folder)
    assert release.version == "1.2.0"
    assert max(map(len, release.stream("big.bin"))) <= CHUNK_BYTES
    assert b"".join(release.stream("big.bin", CHUNK_BYTES + 1)) == (folder / "big.bin").read_bytes()[CHUNK_BYTES + 1 :]
    assert release.read("manifest.json", 100_000) == (folder / "manifest.json").read_bytes()
    assert not destination.publish(folder, "1.2.0", WATCH)


def test_a_reader_gets_no_more_than_it_asks_for_and_only_plain_names(place, tmp_path):
    destination = open_destination(place)
    destination.publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    release = destination.open_release("1.2.0")
    size = len(release.read("manifest.json", 100_000))
    assert len(release.read("manifest.json", size)) == size
    with pytest.raises(ReleaseRefused, match="too long"):
        release.read("manifest.json", size - 1)
    for name in ("../index.json", "/etc/passwd", "..", "", "a/b"):
        with pytest.raises(ReleaseRefused, match="no name of a released file"):
            release.read(name, 100)
        with pytest.raises(ReleaseRefused):
            list(release.stream(name))
    with pytest.raises(ReleaseRefused, match=r"has no missing\.txt"):
        release.read("missing.txt", 100)
    with pytest.raises(ReleaseRefused, match=r"has no missing\.txt"):
        list(release.stream("missing.txt"))
    with pytest.raises(ReleaseRefused, match="no release 9"):
        destination.open_release("9.0.0")


def test_latest_is_the_highest_version_that_is_no_pre_release(place, tmp_path):
    destination = open_destination(place)
    told = []
    for version in ("1.0.0-rc.1", "1.0.0-rc.2", "0.9.0", "1.0.0", "1.1.0-rc.1", "0.10.0"):
        destination.publish(write_release(tmp_path / "made", version), version, WATCH)
        told.append(destination.latest())
    assert told == ["1.0.0-rc.1", "1.0.0-rc.2", "0.9.0", "1.0.0", "1.0.0", "1.0.0"]
    assert destination.versions() == ["0.9.0", "0.10.0", "1.0.0-rc.1", "1.0.0-rc.2", "1.0.0", "1.1.0-rc.1"]


def test_other_bytes_under_a_published_version_are_refused(place, tmp_path):
    destination = open_destination(place)
    first = write_release(tmp_path / "first")
    destination.publish(first, "1.2.0", WATCH)
    with pytest.raises(ReleaseRefused, match="published, with other bytes"):
        destination.publish(write_release(tmp_path / "second", targets={"mobile": b"new"}), "1.2.0", WATCH)
    assert contents(destination.open_release("1.2.0")) == files_of(first)


def test_a_new_signature_over_the_same_bytes_is_the_same_release(place, tmp_path):
    destination = open_destination(place)
    destination.publish(write_release(tmp_path / "first"), "1.2.0", WATCH)
    assert not destination.publish(write_release(tmp_path / "second", signature=b"{}"), "1.2.0", WATCH)


class Stopped(BaseException):
    """As a power cut: nothing in the code under test handles it."""


@pytest.mark.parametrize("steps", range(12))
def test_what_was_interrupted_ends_complete_and_nobody_saw_a_part(place, tmp_path, steps, monkeypatch):
    from pipeline.release.destinations import _any, _folder

    kind = _any.AnyObjects if place.startswith("memory") else _folder.FolderObjects
    folder = write_release(tmp_path / "made")
    left = [steps]

    def stopping(original):
        def step(self, *arguments):
            if left[0] == 0:
                raise Stopped
            left[0] -= 1
            return original(self, *arguments)

        return step

    with monkeypatch.context() as patched:
        for name in ("write", "put"):
            patched.setattr(kind, name, stopping(getattr(kind, name)))
        with contextlib.suppress(Stopped):
            open_destination(place).publish(folder, "1.2.0", WATCH)
    destination = open_destination(place)
    entered = destination.versions() == ["1.2.0"]
    assert entered is (steps > 8)  # the claim, seven files, the index
    if entered:
        assert contents(destination.open_release("1.2.0")) == files_of(folder)
    assert destination.publish(folder, "1.2.0", WATCH) is not entered
    assert contents(destination.open_release("1.2.0")) == files_of(folder)
    if not place.startswith("memory"):
        assert (Path(place.removeprefix("file://")) / "latest").read_text() == "1.2.0\n"


def test_an_unfinished_claim_refuses_other_bytes_and_says_what_to_remove(tmp_path):
    base = tmp_path / "releases"
    (base / "1.2.0").mkdir(parents=True)
    (base / "1.2.0" / "SHA256SUMS").write_text("another\n")
    with pytest.raises(ReleaseRefused, match="claimed by a publication of other bytes") as raised:
        open_destination(str(base)).publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    assert f"{base}/1.2.0/" in raised.value.fix
    assert open_destination(str(base)).versions() == []


def test_a_file_that_an_interruption_left_wrong_is_written_again(tmp_path):
    base, folder = tmp_path / "releases", write_release(tmp_path / "made")
    (base / "1.2.0").mkdir(parents=True)
    (base / "1.2.0" / "SHA256SUMS").write_bytes((folder / "SHA256SUMS").read_bytes())
    model = "mnist-mobile-1.2.0.tflite"
    (base / "1.2.0" / model).write_bytes(b"x" * (folder / model).stat().st_size)
    assert open_destination(str(base)).publish(folder, "1.2.0", WATCH)
    assert contents(open_destination(str(base)).open_release("1.2.0")) == files_of(folder)


def test_files_of_nobody_in_the_version_are_refused(tmp_path):
    base, folder = tmp_path / "releases", write_release(tmp_path / "made")
    (base / "1.2.0").mkdir(parents=True)
    (base / "1.2.0" / "stranger.bin").write_bytes(b"?")
    with pytest.raises(ReleaseRefused, match="not of this release"):
        open_destination(str(base)).publish(folder, "1.2.0", WATCH)
    assert open_destination(str(base)).versions() == []


@pytest.mark.parametrize("damage", ["missing", "altered", "extra", "unsigned", "link"])
def test_a_folder_that_is_not_what_it_lists_is_not_published(tmp_path, damage):
    folder, base = write_release(tmp_path / "made"), tmp_path / "releases"
    model = folder / "mnist-mobile-1.2.0.tflite"
    if damage == "missing":
        model.unlink()
    elif damage == "altered":
        model.write_bytes(b"altered")
    elif damage == "extra":
        (folder / "extra.txt").write_text("")
    elif damage == "unsigned":
        (folder / SIGNATURE).unlink()
    else:
        moved = model.rename(tmp_path / "elsewhere")
        model.symlink_to(moved)
    with pytest.raises(ReleaseRefused):
        open_destination(str(base)).publish(folder, "1.2.0", WATCH)
    assert not base.exists()


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"no json",
        b"[" * 100_000,
        b'{"schema_version": 2}',
        b'{"schema_version": 1, "latest": "../x", "releases": {"../x": {"sha256sums": "' + b"0" * 64 + b'"}}}',
        b'{"schema_version": 1, "latest": null, "releases": {"1.0.0": {"sha256sums": "' + b"0" * 64 + b'"}}}',
        b'{"schema_version": 1, "latest": "1.0.0", "releases": {}}',
        b'{"schema_version": 1, "releases": {"1.0.0": {"sha256sums": "xyz"}}}',
        b" " * 4_000_001,
        b"\xff\xfe\x00",
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path, index):
    (tmp_path / "index.json").write_bytes(index)
    destination = open_destination(str(tmp_path))
    for ask in (destination.versions, destination.latest, lambda: destination.open_release("1.0.0")):
        with pytest.raises(ReleaseRefused):
            ask()
    with pytest.raises(ReleaseRefused):
        destination.publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    assert (tmp_path / "index.json").read_bytes() == index


def test_a_rollback_in_the_index_is_refused(tmp_path):
    destination = open_destination(str(tmp_path / "to"))
    for version in ("1.0.0", "1.1.0"):
        destination.publish(write_release(tmp_path / "made", version), version, WATCH)
    path = tmp_path / "to" / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"latest": "1.0.0"}))
    with pytest.raises(ReleaseRefused, match="no index"):
        destination.latest()


def test_checksums_that_the_index_does_not_name_are_refused(tmp_path):
    destination = open_destination(str(tmp_path / "to"))
    destination.publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    sums = tmp_path / "to" / "1.2.0" / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("MODEL_CARD", "MODEL_CORD"))
    with pytest.raises(ReleaseRefused, match="was altered"):
        destination.open_release("1.2.0").read("SHA256SUMS", 100_000)


@pytest.mark.parametrize("what", ["file", "version", "index", "pipe"])
def test_links_are_not_followed_for_reading(tmp_path, what):
    base, outside = tmp_path / "to", tmp_path / "outside"
    destination = open_destination(str(base))
    destination.publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    victim = {"version": base / "1.2.0", "index": base / "index.json"}.get(what, base / "1.2.0" / "manifest.json")
    victim.rename(outside)
    if what == "pipe":
        os.mkfifo(victim)
    else:
        victim.symlink_to(outside)
    with pytest.raises(ReleaseRefused, match="plain"):
        destination.open_release("1.2.0").read("manifest.json", 100_000)


def test_links_are_not_followed_for_writing(tmp_path):
    base, outside = tmp_path / "to", tmp_path / "outside"
    base.mkdir()
    outside.mkdir()
    (base / "1.2.0").symlink_to(outside)
    with pytest.raises(ReleaseRefused, match="plain"):
        open_destination(str(base)).publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    assert list(outside.iterdir()) == []


def test_the_base_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "to").symlink_to(tmp_path / "real")
    destination = open_destination(str(tmp_path / "to"))
    assert destination.publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    assert destination.latest() == "1.2.0"


def _publish(base, folder, version, barrier, answers):
    barrier.wait()
    try:
        answers.put((version, open_destination(base).publish(folder, version, WATCH)))
    except PipelineError as error:
        answers.put((version, error.code))


def _at_once(base, releases):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(len(releases)), context.Queue()
    processes = [
        context.Process(target=_publish, args=(str(base), folder, version, barrier, answers))
        for folder, version in releases
    ]
    for process in processes:
        process.start()
    told = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    return told


def test_publishers_at_once_lose_no_release(tmp_path):
    releases = [(write_release(tmp_path / "made", f"1.{n}.0"), f"1.{n}.0") for n in range(8)]
    told = _at_once(tmp_path / "to", releases)
    assert sorted(told) == [(f"1.{n}.0", True) for n in range(8)]
    destination = open_destination(str(tmp_path / "to"))
    assert destination.versions() == [version for _, version in releases]
    for folder, version in releases:
        assert contents(destination.open_release(version)) == files_of(folder)
    assert (tmp_path / "to" / "latest").read_text() == "1.7.0\n"


def test_of_publishers_of_other_bytes_at_once_one_wins(tmp_path):
    folders = [write_release(tmp_path / str(n), targets={"mobile": b"%d" % n}) for n in range(4)]
    told = _at_once(tmp_path / "to", [(folder, "1.2.0") for folder in folders])
    assert sorted(str(answer) for _, answer in told) == ["True"] + ["release_refused"] * 3
    published = contents(open_destination(str(tmp_path / "to")).open_release("1.2.0"))
    assert published in [files_of(folder) for folder in folders]


def test_a_publisher_that_never_ends_is_not_waited_for_without_end(tmp_path):
    import fcntl

    (tmp_path / ".publishing").mkdir()
    with (tmp_path / ".publishing" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DestinationFailed, match="held by another publisher"):
            open_destination(str(tmp_path), Patience(0.1, 2)).publish(write_release(tmp_path / "made"), "1.2.0", WATCH)


def test_what_a_killed_publisher_left_is_removed(tmp_path):
    working = tmp_path / "to" / ".publishing"
    working.mkdir(parents=True)
    (working / "1-aa").write_bytes(b"half a file")
    open_destination(str(tmp_path / "to")).publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    assert [path.name for path in working.iterdir()] == ["lock"]


def test_large_files_are_published_and_read_in_flat_memory(tmp_path):
    folder = write_release(tmp_path / "made", extra={"big.bin": bytes(64 << 20)})
    destination = open_destination(str(tmp_path / "to"))
    tracemalloc.start()
    try:
        destination.publish(folder, "1.2.0", WATCH)
        size = sum(len(part) for part in destination.open_release("1.2.0").stream("big.bin"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 64 << 20
    assert peak < 16 << 20


def test_the_schemes_are_found():
    assert {"file", "s3", "gs", "memory", "hf-layout"} <= set(known_schemes())


@pytest.mark.parametrize("url", ["", "s3:/bucket/a", "s3://", "s3://bucket/a?versionId=1", "nosuchscheme://x/y"])
def test_what_is_no_place_is_refused(url):
    with pytest.raises(ReleaseRefused, match="no place"):
        open_destination(url)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(EnvironmentUnsuited) as raised:
        open_destination("s3://bucket/x")
    assert raised.value.fix == "pip install 'edge-deployment-pipeline[s3]'"


def test_a_place_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "to").write_text("a file")
    with pytest.raises(PipelineError, match="to") as raised:
        open_destination(str(tmp_path / "to")).publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    assert raised.value.exit_code in (2, 4)
