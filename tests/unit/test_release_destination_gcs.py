"""Releases in Google's storage, against an emulator that knows no preconditions: the server before it adds them."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from faulty_server import Rule, faulty_server
from release_folders import write_release

from pipeline.errors import DestinationFailed, ReleaseRefused
from pipeline.release.destination import Patience
from pipeline.release.open_destination import open_destination
from pipeline.watch import Watch

WATCH = Watch()
QUICK = Patience(seconds=0.5, attempts=3, longest_wait=0.2)
PLACE = "gs://bucket/some/releases"
SECRET = "ya29.hushhushhushhushhush"


@pytest.fixture
def emulator():
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        yield f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
    finally:
        server.stop()


@pytest.fixture
def server(emulator, monkeypatch):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def precondition(method: str, path: str) -> int | None:
        query = parse_qs(urlsplit(path).query)
        if "ifGenerationMatch" not in query:
            return None
        try:
            url = f"{emulator}/storage/v1/b/bucket/o/{quote(query['name'][0], safe='')}"
            generation = json.load(opener.open(url, timeout=10))["generation"]
        except urllib.error.HTTPError:
            generation = "0"
        return None if query["ifGenerationMatch"] == [generation] else 412

    with faulty_server(emulator) as between:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", between.url)
        between.rules.append(Rule("POST", "ifGenerationMatch", before=precondition))
        yield between


def contents(release) -> dict[str, bytes]:
    return {name: b"".join(release.stream(name)) for name in release.names()}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_release_is_read_as_it_was_published(server, tmp_path):
    folder = write_release(tmp_path / "made", extra={"MODEL_CARD.md": b"", "big.bin": os.urandom(20_000_001)})
    destination = open_destination(PLACE)
    assert destination.versions() == []
    assert destination.publish(folder, "1.2.0", WATCH)
    release = destination.open_release("1.2.0")
    assert contents(release) == files_of(folder)
    assert b"".join(release.stream("big.bin", 9_000_000)) == (folder / "big.bin").read_bytes()[9_000_000:]
    with pytest.raises(ReleaseRefused, match="too long"):
        release.read("manifest.json", 10)
    server.seen.clear()
    assert not destination.publish(folder, "1.2.0", WATCH)
    assert {method for method, _ in server.seen} == {"GET"}
    assert destination.latest() == "1.2.0"


def test_other_bytes_are_refused_whether_the_index_names_them_or_not(server, tmp_path):
    first, second = write_release(tmp_path / "first"), write_release(tmp_path / "second", targets={"mobile": b"new"})
    server.rules.insert(0, Rule("POST", r"index\.json", status=403))
    with pytest.raises(ReleaseRefused):
        open_destination(PLACE, QUICK).publish(first, "1.2.0", WATCH)
    with pytest.raises(ReleaseRefused, match="claimed by"):
        open_destination(PLACE, QUICK).publish(second, "1.2.0", WATCH)
    del server.rules[0]
    assert open_destination(PLACE).publish(first, "1.2.0", WATCH)
    with pytest.raises(ReleaseRefused, match="published, with other bytes"):
        open_destination(PLACE).publish(second, "1.2.0", WATCH)


def test_publishers_at_once_lose_no_release(server, tmp_path):
    versions = [f"1.{n}.0" for n in range(5)]
    folders = [write_release(tmp_path / "made", version) for version in versions]
    told = []
    threads = [
        threading.Thread(target=lambda f=folder, v=version: told.append(open_destination(PLACE).publish(f, v, WATCH)))
        for folder, version in zip(folders, versions, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert told == [True] * 5
    assert open_destination(PLACE).versions() == versions


def test_bytes_that_are_altered_on_the_way_are_never_told_to_readers(server, tmp_path):
    folder = write_release(tmp_path / "made", extra={"MODEL_CARD.md": b"#", "big.bin": b"a" * (9 << 20)})
    alter = Rule("POST", alter_request=lambda body: body.replace(b"aaaaaaaa", b"aaaabaaa", 1))
    server.rules.append(alter)
    with pytest.raises(DestinationFailed, match="not what was written"):
        open_destination(PLACE).publish(folder, "1.2.0", WATCH)
    assert open_destination(PLACE).versions() == []
    server.rules.remove(alter)
    assert open_destination(PLACE).publish(folder, "1.2.0", WATCH)
    assert contents(open_destination(PLACE).open_release("1.2.0")) == files_of(folder)


def test_a_missing_bucket_is_told(server, tmp_path):
    with pytest.raises(ReleaseRefused, match="refuses") as raised:
        open_destination("gs://none/x", QUICK).publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    assert "bucket" in raised.value.fix


@pytest.mark.parametrize(
    ("rule", "kind", "told"),
    [
        (Rule(status=401, body=SECRET.encode()), ReleaseRefused, "HTTP 401"),
        (Rule(status=403, body=SECRET.encode()), ReleaseRefused, "HTTP 403"),
        (Rule(status=429, headers={"Retry-After": "3600"}), DestinationFailed, "HTTP 429, 3 times"),
        (Rule(status=500, body=SECRET.encode()), DestinationFailed, "HTTP 500, 3 times"),
        (Rule(hang=True), DestinationFailed, "3 times"),
        (Rule(drop=True), DestinationFailed, "3 times"),
        (Rule("GET", "alt=media", cut=True), DestinationFailed, "3 times"),
    ],
)
def test_faults_end_in_bounded_time_with_a_clear_error_and_no_secret(server, tmp_path, capfd, rule, kind, told):
    open_destination(PLACE).publish(write_release(tmp_path / "made", "1.0.0"), "1.0.0", WATCH)
    server.rules.insert(0, rule)
    with pytest.raises(kind) as raised:
        open_destination(PLACE, QUICK).publish(write_release(tmp_path / "made"), "1.2.0", WATCH)
    assert told in raised.value.received
    shown = capfd.readouterr()
    assert SECRET not in str(raised.value) + shown.out + shown.err
    server.rules.remove(rule)
    assert open_destination(PLACE).versions() == ["1.0.0"]
