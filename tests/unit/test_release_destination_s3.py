"""Releases in S3, against moto over HTTP: faults by a server before it, and publishers that are killed."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import threading
import time
import tracemalloc
import uuid
from pathlib import Path

import pytest
from faulty_server import Rule, faulty_server
from moto_s3 import SECRET, make_bucket, moto_s3, s3_environment
from release_folders import write_release

from pipeline.errors import DestinationFailed, PipelineError, ReleaseRefused
from pipeline.release.destination import Patience
from pipeline.release.destinations import _s3
from pipeline.release.destinations._layout import Releases
from pipeline.release.destinations._s3 import S3Objects
from pipeline.release.open_destination import open_destination
from pipeline.watch import Watch

WATCH = Watch()
QUICK = Patience(seconds=0.5, attempts=3, longest_wait=0.2)
KILLS = 50


@pytest.fixture(scope="module")
def moto():
    with moto_s3() as url:
        yield url


@pytest.fixture
def server(moto, monkeypatch):
    with faulty_server(moto) as between:
        for name, value in s3_environment(between.url).items():
            monkeypatch.setenv(name, value)
        yield between


@pytest.fixture
def place(moto, server):
    bucket = f"b-{uuid.uuid4()}"
    make_bucket(moto, bucket)
    return f"s3://{bucket}/some/releases"


def contents(release) -> dict[str, bytes]:
    return {name: b"".join(release.stream(name)) for name in release.names()}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused_quietly(kind, place, folder, capfd, *, seconds=10.0) -> PipelineError:
    """Publish, which must fail as `kind` in bounded time without telling the secret; return the error."""
    started = time.monotonic()
    with pytest.raises(kind) as raised:
        open_destination(place, QUICK).publish(folder, "1.2.0", WATCH)
    assert time.monotonic() - started < seconds
    shown = capfd.readouterr()
    texts = [str(raised.value), json.dumps(raised.value.as_dict()), shown.out, shown.err]
    cause = raised.value.__cause__ or (None if raised.value.__suppress_context__ else raised.value.__context__)
    texts.append(repr(cause))
    assert all(SECRET not in text for text in texts)
    return raised.value


def test_a_release_is_read_as_it_was_published(place, server, tmp_path):
    folder = write_release(tmp_path / "made", extra={"MODEL_CARD.md": b"", "big.bin": os.urandom(20_000_001)})
    destination = open_destination(place)
    assert destination.versions() == []
    assert destination.publish(folder, "1.2.0", WATCH)
    release = destination.open_release("1.2.0")
    assert contents(release) == files_of(folder)
    assert b"".join(release.stream("big.bin", 9_000_000)) == (folder / "big.bin").read_bytes()[9_000_000:]
    with pytest.raises(ReleaseRefused, match="too long"):
        release.read("manifest.json", 10)
    with pytest.raises(ReleaseRefused, match="has no missing"):
        release.read("missing.txt", 10)
    destination.publish(write_release(tmp_path / "made", "1.10.0-rc.1"), "1.10.0-rc.1", WATCH)
    assert destination.latest() == "1.2.0"
    assert destination.versions() == ["1.2.0", "1.10.0-rc.1"]
    assert b"".join(open_destination(place).objects.stream("latest")) == b"1.2.0\n"


def test_the_same_bytes_again_are_a_success_that_uploads_nothing(place, server, tmp_path):
    folder = write_release(tmp_path / "made")
    destination = open_destination(place)
    destination.publish(folder, "1.2.0", WATCH)
    server.seen.clear()
    assert not destination.publish(folder, "1.2.0", WATCH)
    assert {method for method, _ in server.seen} == {"GET"}
    assert len(server.seen) <= 3


def test_other_bytes_are_refused_whether_the_index_names_them_or_not(place, server, tmp_path):
    first, second = write_release(tmp_path / "first"), write_release(tmp_path / "second", targets={"mobile": b"new"})
    server.rules.append(Rule("PUT", r"index\.json", status=403))
    with pytest.raises(ReleaseRefused):
        open_destination(place, QUICK).publish(first, "1.2.0", WATCH)
    with pytest.raises(ReleaseRefused, match="claimed by"):
        open_destination(place, QUICK).publish(second, "1.2.0", WATCH)
    server.rules.clear()
    assert open_destination(place).publish(first, "1.2.0", WATCH)
    with pytest.raises(ReleaseRefused, match="published, with other bytes"):
        open_destination(place).publish(second, "1.2.0", WATCH)
    assert contents(open_destination(place).open_release("1.2.0")) == files_of(first)


@pytest.mark.parametrize("before", [[], ["0.9.0"]], ids=["no index yet", "an index"])
def test_the_index_is_replaced_only_as_it_was_read(place, moto, server, tmp_path, before):
    """Another publisher enters its release between our reading of the index and our writing of it."""
    base = place.removeprefix("s3:/")
    first, second = write_release(tmp_path / "made", "1.0.0"), write_release(tmp_path / "made", "1.1.0")
    for version in before:
        open_destination(place).publish(write_release(tmp_path / "made", version), version, WATCH)
    raced = []

    def race(method: str, path: str) -> None:
        if not raced:
            raced.append(path)
            other = Publisher(moto, place, second, "1.1.0")
            other.start()
            other.join(timeout=60)

    server.rules.append(Rule("PUT", f"{base}/index\\.json", before=race))
    assert open_destination(place).publish(first, "1.0.0", WATCH)
    assert raced
    assert open_destination(place).versions() == [*before, "1.0.0", "1.1.0"]
    assert b"".join(open_destination(place).objects.stream("latest")) == b"1.1.0\n"


def Publisher(moto, place, folder, version):
    return multiprocessing.get_context("fork").Process(target=_publish_direct, args=(moto, place, folder, version))


def _publish_direct(moto, place, folder, version):
    os.environ.update(s3_environment(moto))
    code = 1
    try:
        open_destination(place).publish(folder, version, WATCH)
        code = 0
    finally:
        os._exit(code)


def test_publishers_at_once_lose_no_release(moto, place, server, tmp_path):
    versions = [f"1.{n}.0" for n in range(5)]
    processes = [Publisher(moto, place, write_release(tmp_path / "made", v), v) for v in versions]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * 5
    assert open_destination(place).versions() == versions
    assert b"".join(open_destination(place).objects.stream("latest")) == b"1.4.0\n"


@pytest.mark.parametrize("name", ["mobile-1\\.2\\.0\\.tflite", "model\\.sig", "big\\.bin", "SHA256SUMS"])
def test_bytes_that_are_altered_on_the_way_are_never_told_to_readers(place, server, tmp_path, capfd, name):
    folder = write_release(tmp_path / "made", extra={"MODEL_CARD.md": b"#", "big.bin": os.urandom(17 << 20)})
    server.rules.append(
        Rule("PUT", name, alter_request=lambda body: body[:-1] + bytes([body[-1] ^ 1]) if body else body)
    )
    error = refused_quietly(DestinationFailed, place, folder, capfd, seconds=30)
    assert "not what was written" in error.message
    assert not [path for method, path in server.seen if method == "PUT" and "index.json" in path]
    assert open_destination(place).versions() == []


def test_an_alteration_that_passes_is_mended(place, server, tmp_path):
    folder = write_release(tmp_path / "made")
    server.rules.append(Rule("PUT", r"mobile.*tflite", times=1, alter_request=lambda body: body.replace(b"m", b"n")))
    assert open_destination(place, QUICK).publish(folder, "1.2.0", WATCH)
    assert contents(open_destination(place).open_release("1.2.0")) == files_of(folder)


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_forbids_is_told_without_its_words(place, server, tmp_path, capfd, status):
    def words(headers) -> bytes:  # which repeat the request, as a proxy's error page may
        return f"<Error><Code>AccessDenied</Code><Message>{dict(headers)}</Message></Error>".encode()

    server.rules.append(Rule(status=status, body=words, headers={"Content-Type": "application/xml"}))
    error = refused_quietly(ReleaseRefused, place, write_release(tmp_path / "made"), capfd)
    assert f"HTTP {status}" in error.received
    assert "credentials" in error.fix


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken"])
def test_expired_credentials_are_told(place, server, tmp_path, capfd, code):
    body = f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode()
    server.rules.append(Rule(status=400, body=body, headers={"Content-Type": "application/xml"}))
    error = refused_quietly(ReleaseRefused, place, write_release(tmp_path / "made"), capfd)
    assert code in error.received
    assert "valid now" in error.fix


def test_missing_credentials_are_told(place, server, tmp_path, capfd, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    error = refused_quietly(ReleaseRefused, place, write_release(tmp_path / "made"), capfd)
    assert "AWS_ACCESS_KEY_ID" in error.fix
    assert server.seen == []


def test_a_missing_bucket_is_told(server, tmp_path, capfd):
    error = refused_quietly(ReleaseRefused, f"s3://none-{uuid.uuid4()}/x", write_release(tmp_path / "made"), capfd)
    assert "bucket" in error.fix
    with pytest.raises(ReleaseRefused):
        open_destination(f"s3://none-{uuid.uuid4()}/x", QUICK).versions()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize("path", ["index", "tflite", "SHA256SUMS"])
def test_a_server_in_trouble_is_asked_a_few_times(place, server, tmp_path, capfd, status, path):
    folder = write_release(tmp_path / "made")
    server.rules.append(Rule("PUT", path, status=status, headers={"Retry-After": "3600"}))
    error = refused_quietly(DestinationFailed, place, folder, capfd)
    assert f"HTTP {status}" in error.received
    assert "3 times" in error.received
    server.rules[:] = [Rule("PUT", path, status=status, times=2)]
    assert open_destination(place, QUICK).publish(folder, "1.2.0", WATCH)
    assert contents(open_destination(place).open_release("1.2.0")) == files_of(folder)


@pytest.mark.parametrize("fault", [{"hang": True}, {"drop": True}])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_server_that_hangs_or_hangs_up_is_not_waited_for_without_end(place, server, tmp_path, capfd, fault, method):
    server.rules.append(Rule(method, **fault))
    error = refused_quietly(DestinationFailed, place, write_release(tmp_path / "made"), capfd)
    assert "3 times" in error.received


@pytest.mark.parametrize("name", ["index\\.json", "tflite", "big"])
def test_a_body_that_is_cut_is_asked_for_again(place, server, tmp_path, capfd, name):
    folder = write_release(tmp_path / "made", extra={"MODEL_CARD.md": b"#", "big.bin": bytes(9 << 20)})
    open_destination(place).publish(write_release(tmp_path / "made", "1.0.0"), "1.0.0", WATCH)
    server.rules.append(Rule("GET", name, cut=True))
    error = refused_quietly(DestinationFailed, place, folder, capfd, seconds=20)
    assert "ends early" in error.received
    server.rules[:] = [Rule("GET", name, cut=True, times=2)]
    assert open_destination(place, QUICK).publish(folder, "1.2.0", WATCH)


def test_uploads_that_were_interrupted_are_removed(moto, place, server, tmp_path):
    folder = write_release(tmp_path / "made", extra={"MODEL_CARD.md": b"#", "big.bin": bytes(17 << 20)})
    server.rules.append(Rule("PUT", "partNumber=2", status=500))
    server.rules.append(Rule("DELETE", status=500))
    with pytest.raises(DestinationFailed):
        open_destination(place, QUICK).publish(folder, "1.2.0", WATCH)
    server.rules.clear()
    objects = open_destination(place).objects
    assert len(uploads(objects)) == 1
    assert open_destination(place).publish(folder, "1.2.0", WATCH)
    assert uploads(objects) == []


def uploads(objects) -> list:
    return objects.system.call_s3("list_multipart_uploads", Bucket=objects.bucket).get("Uploads", [])


def test_large_files_are_published_and_read_in_flat_memory(place, server, moto, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)  # without the server in between, whose memory is ours
    folder = write_release(tmp_path / "made", extra={"MODEL_CARD.md": b"#", "big.bin": bytes(200 << 20)})
    destination = open_destination(place)
    destination.versions()
    tracemalloc.start()
    try:
        destination.publish(folder, "1.2.0", WATCH)
        size = sum(len(part) for part in destination.open_release("1.2.0").stream("big.bin"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 200 << 20
    assert peak < 100 << 20


class Reader(threading.Thread):
    """Asks all the time what is published, and whether all of that is there."""

    def __init__(self, objects, expected: dict[str, bytes]):
        super().__init__(daemon=True)
        self.destination, self.expected = Releases(objects), expected
        self.broken: list[str] = []
        self.looks = self.complete = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                for version in self.destination.versions():
                    if contents(self.destination.open_release(version)) != self.expected:
                        self.broken.append(f"{version} is not complete")
                    self.complete += 1
                self.looks += 1
            except Exception as error:
                self.broken.append(repr(error))
            self.ended.wait(0.01)


def test_a_publisher_that_is_killed_leaves_nothing_broken(moto, monkeypatch, tmp_path):
    """At 50 moments spread over a publication: kill -9, then again; a reader looks all the time."""
    for name, value in s3_environment(moto).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_s3, "PART_BYTES", 5 << 20)  # the least that S3 takes: an upload in parts, of a small file
    folder = write_release(tmp_path / "made", extra={"MODEL_CARD.md": b"#", "big.bin": os.urandom(11 << 20)})
    expected = files_of(folder)
    chance = random.Random(0)
    mine = open_destination("s3://any/releases").objects  # one connection for all that happens in this process

    def new_place() -> S3Objects:
        bucket = f"k-{uuid.uuid4()}"
        make_bucket(moto, bucket)
        return dataclasses.replace(mine, bucket=bucket, shown=f"s3://{bucket}/releases")

    durations = []
    for _ in range(3):
        started = time.monotonic()
        process = Publisher(moto, new_place().shown, folder, "1.2.0")
        process.start()
        process.join(timeout=60)
        assert process.exitcode == 0
        durations.append(time.monotonic() - started)
    duration = sorted(durations)[1]
    killed = looks = complete = 0
    for moment in range(KILLS):
        objects = new_place()
        reader = Reader(objects, expected)
        reader.start()
        process = Publisher(moto, objects.shown, folder, "1.2.0")
        process.start()
        process.join(timeout=duration * (moment + chance.random()) / KILLS)
        if process.exitcode is None:
            process.kill()
        process.join(timeout=60)
        killed += process.exitcode == -9
        Releases(objects).publish(folder, "1.2.0", WATCH)
        assert contents(Releases(objects).open_release("1.2.0")) == expected
        assert b"".join(objects.stream("latest")) == b"1.2.0\n"
        reader.ended.set()
        reader.join(timeout=60)
        assert reader.broken == []
        looks, complete = looks + reader.looks, complete + reader.complete
    assert killed >= KILLS * 0.6
    assert looks > KILLS
    assert complete > 0
