"""Releases in an OCI registry: what is there, what is refused, and what a registry that fails does to it."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from pipeline.errors import DestinationFailed, EnvironmentUnsuited, PipelineError, ReleaseRefused
from pipeline.release.destination import Patience
from pipeline.release.destinations.oci import open_destination
from pipeline.release.manifest import SIGNATURE
from pipeline.watch import Watch
from tests.http_faults import Fault, FaultyHandler, FaultyServer, Response, at_most, proxy_of
from tests.kills import kill_at_random, polling
from tests.oci_registry import COMMAND, running_registry
from tests.release_folders import write_checksums, write_release

pytestmark = pytest.mark.skipif(not shutil.which(COMMAND), reason=".ci/devices/registry.sh was not run")
QUICK = Patience(seconds=2, attempts=3, longest_wait=0.05)
USER, PASSWORD = "me", "open sesame"
# htpasswd -bnBC 5 me "open sesame"
HTPASSWD = "me:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A registry for all tests, each with a repository of its own: its address and its storage."""
    folder = tmp_path_factory.mktemp("registry")
    with running_registry(folder) as address:
        yield address, folder / "storage"


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ORAS_USER", "ORAS_PASS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def url(registry: tuple[str, Path], tmp_path: Path) -> str:
    return f"oci://{registry[0]}/team/{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16]}"


@pytest.fixture
def proxy(registry: tuple[str, Path]) -> Iterator[FaultyServer]:
    with proxy_of(registry[0]) as server:
        yield server


def through(proxy: FaultyServer, url: str) -> str:
    return "oci://" + proxy.address + "/" + url.split("/", 3)[3]


def fetched(url: str, version: str) -> dict[str, bytes]:
    release = open_destination(url, QUICK).open_release(version)
    return {name: b"".join(release.stream(name)) for name in release.names()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def manifest_at(url: str, reference: str) -> dict:
    host, name = url.removeprefix("oci://").split("/", 1)
    types = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
    with urlopen(Request(f"http://{host}/v2/{name}/manifests/{reference}", headers={"Accept": types})) as answer:
        return json.loads(answer.read())


def test_what_was_published_is_read_byte_for_byte(url: str, tmp_path: Path) -> None:
    destination = open_destination(url, QUICK)
    assert (destination.versions(), destination.latest()) == ([], None)
    folder = write_release(tmp_path, extra={"notes.txt": b"", "large.bin": random.Random(1).randbytes(3_000_001)})
    assert destination.publish(folder, "1.2.0", Watch()) is True
    assert (destination.versions(), destination.latest()) == (["1.2.0"], "1.2.0")
    assert fetched(url, "1.2.0") == contents(folder)
    release = destination.open_release("1.2.0")
    large = (folder / "large.bin").read_bytes()
    assert b"".join(release.stream("large.bin", 1_234_567)) == large[1_234_567:]
    assert list(release.stream("large.bin", len(large))) == []
    assert release.read("manifest.json", 100_000) == (folder / "manifest.json").read_bytes()
    with pytest.raises(ReleaseRefused, match="too long"):
        release.read("large.bin", 3_000_000)
    with pytest.raises(ReleaseRefused, match="no file"):
        release.read("other.bin", 10)


def test_the_same_is_published_once_and_other_bytes_never(url: str, tmp_path: Path) -> None:
    destination = open_destination(url, QUICK)
    folder = write_release(tmp_path)
    destination.publish(folder, "1.2.0", Watch())
    (folder / SIGNATURE).write_bytes(b"the same bytes, signed again")
    assert destination.publish(folder, "1.2.0", Watch()) is False
    assert fetched(url, "1.2.0")[SIGNATURE] != (folder / SIGNATURE).read_bytes()
    other = write_release(tmp_path / "other", targets={"mobile": b"other"})
    with pytest.raises(ReleaseRefused, match="other bytes"):
        destination.publish(other, "1.2.0", Watch())
    (folder / SIGNATURE).write_bytes(b'{"not": "checked"}\n')
    assert fetched(url, "1.2.0") == contents(folder)


def test_latest_is_the_highest_release_in_whatever_order(url: str, tmp_path: Path) -> None:
    destination = open_destination(url, QUICK)
    told = []
    for version in ("1.0.0-rc.1", "1.10.0", "1.9.0", "2.0.0-rc.1"):
        destination.publish(write_release(tmp_path, version), version, Watch())
        told.append(destination.latest())
    assert told == ["1.0.0-rc.1", "1.10.0", "1.10.0", "1.10.0"]
    assert destination.versions() == ["1.0.0-rc.1", "1.9.0", "1.10.0", "2.0.0-rc.1"]
    with pytest.raises(ReleaseRefused, match="no release 3.0.0") as error:
        destination.open_release("3.0.0")
    assert "1.10.0" in error.value.expected


def test_a_tag_in_the_url_names_one_release(url: str, tmp_path: Path) -> None:
    folder = write_release(tmp_path)
    stable = open_destination(f"{url}:stable", QUICK)
    assert stable.publish(folder, "1.2.0", Watch()) is True
    assert (stable.versions(), stable.latest(), open_destination(url, QUICK).versions()) == (["1.2.0"], "1.2.0", [])
    assert stable.open_release("1.2.0").names() == sorted(contents(folder))
    for tag in ("latest", "1.3.0"):
        with pytest.raises(ReleaseRefused, match="cannot be published"):
            open_destination(f"{url}:{tag}", QUICK).publish(folder, "1.2.0", Watch())


def test_the_artifact_is_by_the_standard_and_the_same_each_time(url: str, tmp_path: Path) -> None:
    folder = write_release(tmp_path)
    open_destination(url, QUICK).publish(folder, "1.2.0", Watch())
    open_destination(url + "-again", QUICK).publish(folder, "1.2.0", Watch())
    manifest = manifest_at(url, "1.2.0")
    assert manifest == manifest_at(url + "-again", "1.2.0") == manifest_at(url, "latest")
    assert manifest["artifactType"].startswith("application/vnd.")
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert manifest["config"]["digest"] == "sha256:" + hashlib.sha256(b"{}").hexdigest()
    assert manifest["annotations"]["org.opencontainers.image.created"] == "2026-01-01T00:00:00Z"
    assert {layer["annotations"]["org.opencontainers.image.title"] for layer in manifest["layers"]} == set(
        contents(folder)
    )


def test_the_signature_is_attached_by_the_fallback_tag(url: str, tmp_path: Path) -> None:
    folder = write_release(tmp_path)
    open_destination(url, QUICK).publish(folder, "1.2.0", Watch())
    host, name = url.removeprefix("oci://").split("/", 1)
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    with urlopen(Request(f"http://{host}/v2/{name}/manifests/1.2.0", headers=accept)) as answer:
        subject = hashlib.sha256(answer.read()).hexdigest()
    index = manifest_at(url, f"sha256-{subject}")
    (referrer,) = index["manifests"]
    assert referrer["artifactType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    attached = manifest_at(url, referrer["digest"])
    assert attached["subject"]["digest"] == f"sha256:{subject}"
    assert attached["artifactType"] == referrer["artifactType"]
    digest = "sha256:" + hashlib.sha256((folder / SIGNATURE).read_bytes()).hexdigest()
    assert [layer["digest"] for layer in attached["layers"]] == [digest]


@pytest.mark.parametrize(
    "wrong",
    [
        "oci://host",
        "oci:///models",
        "oci://host/Models",
        "oci://host/a/../b",
        "oci://host/models:",
        "oci://host/models:a b",
        "oci://host:port/models",
        "oci://me:s3cret@host/models",
        "oci://host/models?s3cret",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_secrets(wrong: str) -> None:
    with pytest.raises(ReleaseRefused) as error:
        open_destination(wrong)
    assert "s3cret" not in str(error.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "oras"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "oras", None)
    with pytest.raises(EnvironmentUnsuited, match="needs oras") as error:
        open_destination("oci://host/models")
    assert error.value.fix == "pip install 'edge-deployment-pipeline[oci]'"


def test_only_this_machine_is_asked_without_tls() -> None:
    origins = {host: open_destination(f"oci://{host}/m").repository.origin for host in ("127.0.0.1:5", "a.example:5")}
    assert origins == {"127.0.0.1:5": "http://127.0.0.1:5", "a.example:5": "https://a.example:5"}


@pytest.mark.parametrize("what", ["missing", "extra", "changed", "link", "version"])
def test_a_folder_that_is_no_release_is_refused_before_anything_is_sent(what: str, url: str, tmp_path: Path) -> None:
    folder = write_release(tmp_path)
    card = folder / "MODEL_CARD.md"
    if what == "missing":
        card.unlink()
    elif what == "extra":
        (folder / "more.txt").write_text("more")
    elif what == "changed":
        card.write_text("changed")
    elif what == "link":
        card.rename(tmp_path / "card")
        card.symlink_to(tmp_path / "card")
    with pytest.raises(ReleaseRefused, match="not a complete release"):
        open_destination(url, QUICK).publish(folder, "1.3.0" if what == "version" else "1.2.0", Watch())
    assert open_destination(url, QUICK).repository.tags() == []


def test_storage_that_was_altered_is_found_by_readers(registry: tuple[str, Path], url: str, tmp_path: Path) -> None:
    content = random.Random(url).randbytes(200_000)
    open_destination(url, QUICK).publish(write_release(tmp_path, targets={"mobile": content}), "1.2.0", Watch())
    digest = hashlib.sha256(content).hexdigest()
    stored = registry[1] / f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
    stored.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    release = open_destination(url, QUICK).open_release("1.2.0")
    with pytest.raises(DestinationFailed, match="not what its digest says"):
        release.read("mnist-mobile-1.2.0.tflite", 1_000_000)
    # Who publishes what refers to those bytes is told too, and no tag appears.
    again = write_release(tmp_path, "1.3.0", targets={"mobile": content})
    with pytest.raises(DestinationFailed, match="not what its digest says"):
        open_destination(url, QUICK).publish(again, "1.3.0", Watch())
    assert open_destination(url, QUICK).versions() == ["1.2.0"]


def test_a_manifest_that_is_altered_on_the_way_is_found(proxy: FaultyServer, url: str, tmp_path: Path) -> None:
    open_destination(url, QUICK).publish(write_release(tmp_path), "1.2.0", Watch())
    proxy.faults.append(Fault("GET", "/manifests/1.2.0", "alter"))
    with pytest.raises(DestinationFailed, match="not what its digest says"):
        open_destination(through(proxy, url), QUICK).open_release("1.2.0")


def test_a_tag_that_names_another_release_or_none_is_refused(url: str, tmp_path: Path) -> None:
    destination = open_destination(url, QUICK)
    destination.publish(write_release(tmp_path), "1.2.0", Watch())
    destination.repository.put_manifest("1.3.0", destination.repository.manifest("1.2.0"))
    with pytest.raises(ReleaseRefused, match="another release"):
        destination.open_release("1.3.0")
    image = json.loads(destination.repository.manifest("1.2.0"))
    del image["artifactType"]
    destination.repository.put_manifest("1.4.0", json.dumps(image).encode())
    with pytest.raises(ReleaseRefused, match="not a release of this pipeline"):
        destination.open_release("1.4.0")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "/blobs/uploads", "status", status=503),
        Fault("POST", "/blobs/uploads", "status", status=429, headers={"Retry-After": "60"}),
        Fault("PUT", "/blobs/uploads", "drop", times=2),
        Fault("PUT", "/manifests/", "status", status=500, times=2),
        Fault("PUT", "/manifests/1.2.0", "drop"),
        Fault("GET", "/blobs/", "cut", times=2),
        Fault("GET", "/manifests/sha256", "cut", times=2),
        Fault("HEAD", "/blobs/", "hang"),
    ],
    ids=lambda fault: f"{fault.method}-{fault.what}-{fault.path.strip('/')}-{fault.status}",
)
def test_a_fault_that_passes_is_outlasted(fault: Fault, proxy: FaultyServer, url: str, tmp_path: Path) -> None:
    folder = write_release(tmp_path, targets={"mobile": random.Random(url).randbytes(300_000)})
    proxy.faults.append(Fault(**{**vars(fault)}))
    with at_most(20):
        assert open_destination(through(proxy, url), QUICK).publish(folder, "1.2.0", Watch()) is True
    assert proxy.faults[0].times == 0
    assert fetched(url, "1.2.0") == contents(folder)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("PUT", "/blobs/uploads", "status", status=500), DestinationFailed),
        (Fault("PUT", "/blobs/uploads", "status", status=404), DestinationFailed),
        (Fault("PUT", "/blobs/uploads", "status", status=413), DestinationFailed),
        (Fault("POST", "/blobs/uploads", "status", status=429, headers={"Retry-After": "9999"}), DestinationFailed),
        (Fault("POST", "/blobs/uploads", "status", status=403), ReleaseRefused),
        (Fault("POST", "/blobs/uploads", "status", status=404), ReleaseRefused),
        (Fault("PUT", "/blobs/uploads", "drop"), DestinationFailed),
        (Fault("GET", "/blobs/", "hang"), DestinationFailed),
        (Fault("GET", "/blobs/", "alter"), DestinationFailed),
        (Fault("GET", "/blobs/", "trickle"), DestinationFailed),
        (Fault("PUT", "/manifests/sha256:", "status", status=500), DestinationFailed),
    ],
    ids=lambda value: f"{value.method}-{value.what}-{value.status}" if isinstance(value, Fault) else "",
)
def test_a_fault_that_stays_ends_in_bounded_time_with_nothing_published(
    fault: Fault, kind: type[PipelineError], proxy: FaultyServer, url: str, tmp_path: Path
) -> None:
    patience = Patience(seconds=1, attempts=2, longest_wait=0.05)
    folder = write_release(tmp_path, targets={"mobile": random.Random(url).randbytes(300_000)})
    proxy.faults.append(Fault(**{**vars(fault), "times": 1_000_000}))
    with pytest.raises(kind) as error, at_most(20):
        open_destination(through(proxy, url), patience).publish(folder, "1.2.0", Watch())
    assert error.value.fix
    assert open_destination(url, QUICK).versions() == []
    proxy.faults.clear()
    assert open_destination(through(proxy, url), QUICK).publish(folder, "1.2.0", Watch()) is True
    assert fetched(url, "1.2.0") == contents(folder)


def test_a_download_that_is_cut_continues_where_it_was(proxy: FaultyServer, url: str, tmp_path: Path) -> None:
    content = random.Random(url).randbytes(3_000_000)
    open_destination(url, QUICK).publish(write_release(tmp_path, targets={"mobile": content}), "1.2.0", Watch())
    release = open_destination(through(proxy, url), QUICK).open_release("1.2.0")
    proxy.faults.append(Fault("GET", "/blobs/", "cut", times=2))
    assert b"".join(release.stream("mnist-mobile-1.2.0.tflite")) == content
    ranges = [headers.get("Range") for method, path, headers in proxy.seen if "/blobs/" in path and method == "GET"]
    assert ranges == [None, "bytes=1500000-", "bytes=2250000-"]


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DestinationFailed, match="fails"), at_most(10):
        open_destination("oci://127.0.0.1:9/models", QUICK).publish(write_release(tmp_path), "1.2.0", Watch())


def docker_login(folder: Path, address: str, password: str) -> None:
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))


def test_credentials_are_those_of_docker_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_release(tmp_path)
    with running_registry(tmp_path / "registry", htpasswd=HTPASSWD) as address:

        def publish() -> bool:
            return open_destination(f"oci://{address}/team/models", QUICK).publish(folder, "1.2.0", Watch())

        with pytest.raises(ReleaseRefused, match="credentials") as missing:
            publish()
        docker_login(tmp_path / "docker", address, "wr0ng secret")
        with pytest.raises(ReleaseRefused, match="credentials") as wrong:
            publish()
        (tmp_path / "docker/config.json").write_text("wr0ng secret")
        with pytest.raises(ReleaseRefused, match="docker's configuration") as broken:
            publish()
        docker_login(tmp_path / "docker", address, PASSWORD)
        assert publish() is True
        helper = tmp_path / "bin/docker-credential-test"
        helper.parent.mkdir()
        helper.write_text(f'#!/bin/sh\necho \'{{"Username": "{USER}", "Secret": "{PASSWORD}"}}\'\n')
        helper.chmod(0o755)
        monkeypatch.setenv("PATH", str(helper.parent), prepend=":")
        (tmp_path / "docker/config.json").write_text('{"credsStore": "test"}')
        assert publish() is False
        shutil.rmtree(tmp_path / "docker")
        monkeypatch.setenv("ORAS_USER", USER)
        monkeypatch.setenv("ORAS_PASS", PASSWORD)
        assert publish() is False
    said = "".join(map(str, (missing.value, wrong.value, broken.value)))
    for secret in ("wr0ng", PASSWORD, base64.b64encode(f"{USER}:wr0ng secret".encode()).decode()):
        assert secret not in said
    assert "docker login" in missing.value.fix
    assert capfd.readouterr() == ("", "")


def test_a_token_is_fetched_for_the_password_and_again_when_it_expires(
    registry: tuple[str, Path], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[str] = []
    uses: dict[str, int] = {}
    password = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def guard(request: FaultyHandler, forward: Callable[[], Response]) -> Response:
        told = request.headers.get("Authorization", "")
        if request.path.startswith("/token"):
            if told != f"Basic {password}":
                return 401, {}, b""
            tokens.append(f"t0ken{len(tokens)}")
            return 200, {"Content-Type": "application/json"}, json.dumps({"token": tokens[-1]}).encode()
        uses[told] = uses.get(told, 0) + 1
        if not tokens or told != f"Bearer {tokens[-1]}" or uses[told] > 9:
            realm = f"http://{request.server.address}/token"
            return 401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="test",scope="repository:x:pull"'}, b""
        return forward()

    folder = write_release(tmp_path)
    with proxy_of(registry[0], guard) as proxy:
        with pytest.raises(ReleaseRefused, match="credentials"):
            open_destination(through(proxy, url), QUICK).publish(folder, "1.2.0", Watch())
        monkeypatch.setenv("ORAS_USER", USER)
        monkeypatch.setenv("ORAS_PASS", PASSWORD)
        assert open_destination(through(proxy, url), QUICK).publish(folder, "1.2.0", Watch()) is True
    assert len(tokens) > 2
    assert fetched(url, "1.2.0") == contents(folder)


def test_a_password_is_not_sent_to_where_it_can_be_read(
    registry: tuple[str, Path], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORAS_USER", USER)
    monkeypatch.setenv("ORAS_PASS", PASSWORD)

    def asks_for_it(_: FaultyHandler, __: Callable[[], Response]) -> Response:
        return 401, {"WWW-Authenticate": 'Bearer realm="http://registry.example/token",service="test"'}, b""

    with proxy_of(registry[0], asks_for_it) as proxy, at_most(5):
        with pytest.raises(ReleaseRefused, match="credentials"):
            open_destination(through(proxy, url), QUICK).versions()
        assert len(proxy.seen) == 1


def test_blobs_of_another_host_are_read_without_the_password(
    registry: tuple[str, Path], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As registries do that keep their blobs in a storage."""
    folder = write_release(tmp_path)
    open_destination(url, QUICK).publish(folder, "1.2.0", Watch())
    monkeypatch.setenv("ORAS_USER", USER)
    monkeypatch.setenv("ORAS_PASS", PASSWORD)
    with proxy_of(registry[0]) as storage:

        def redirecting(request: FaultyHandler, forward: Callable[[], Response]) -> Response:
            if "Authorization" not in request.headers:
                return 401, {"WWW-Authenticate": 'Basic realm="test"'}, b""
            if "/blobs/" in request.path:
                return 307, {"Location": f"http://{storage.address}{request.path}"}, b""
            return forward()

        with proxy_of(registry[0], redirecting) as front:
            assert fetched(through(front, url), "1.2.0") == contents(folder)
        assert storage.seen
        assert not [headers for _, _, headers in storage.seen if "Authorization" in headers]


def test_a_redirect_to_where_it_can_be_read_is_not_followed(registry: tuple[str, Path], url: str) -> None:
    def redirecting(_: FaultyHandler, __: Callable[[], Response]) -> Response:
        return 307, {"Location": "http://registry.example/v2/"}, b""

    with proxy_of(registry[0], redirecting) as front, pytest.raises(DestinationFailed) as error:
        open_destination(through(front, url), QUICK).versions()
    assert "not HTTPS" in error.value.received


def test_a_registry_that_lists_referrers_itself_gets_no_tag_for_them(
    registry: tuple[str, Path], url: str, tmp_path: Path
) -> None:
    def listing(request: FaultyHandler, forward: Callable[[], Response]) -> Response:
        status, headers, body = forward()
        subject = next((put for put in puts if put != request.path), "").rpartition("/")[2]
        if request.command == "PUT" and "/manifests/sha256:" in request.path:
            puts.append(request.path)
        return status, {**headers, **({"OCI-Subject": subject} if subject else {})}, body

    puts: list[str] = []
    with proxy_of(registry[0], listing) as front:
        open_destination(through(front, url), QUICK).publish(write_release(tmp_path), "1.2.0", Watch())
    assert sorted(open_destination(url, QUICK).repository.tags()) == ["1.2.0", "latest"]


def test_latest_is_right_where_a_newer_version_came_in_between(
    registry: tuple[str, Path], url: str, tmp_path: Path
) -> None:
    def meanwhile(request: FaultyHandler, forward: Callable[[], Response]) -> Response:
        if request.command == "PUT" and request.path.endswith("/latest") and not came:
            came.append(open_destination(url, QUICK).publish(write_release(tmp_path, "1.3.0"), "1.3.0", Watch()))
        return forward()

    came: list[bool] = []
    with proxy_of(registry[0], meanwhile) as front:
        open_destination(through(front, url), QUICK).publish(write_release(tmp_path), "1.2.0", Watch())
    assert came == [True]
    assert open_destination(url, QUICK).latest() == "1.3.0"


def test_one_who_published_other_bytes_meanwhile_is_not_overwritten(
    registry: tuple[str, Path], url: str, tmp_path: Path
) -> None:
    other = write_release(tmp_path / "other", targets={"mobile": b"other"})

    def meanwhile(request: FaultyHandler, forward: Callable[[], Response]) -> Response:
        if request.command == "GET" and "/blobs/" in request.path and not came:
            came.append(open_destination(url, QUICK).publish(other, "1.2.0", Watch()))
        return forward()

    came: list[bool] = []
    with proxy_of(registry[0], meanwhile) as front, pytest.raises(ReleaseRefused, match="other bytes"):
        open_destination(through(front, url), QUICK).publish(write_release(tmp_path), "1.2.0", Watch())
    assert fetched(url, "1.2.0") == contents(other)


def test_files_larger_than_the_memory_that_is_used(url: str, tmp_path: Path) -> None:
    size = 64_000_000
    folder = write_release(tmp_path)
    with (folder / "large.bin").open("wb") as file:
        file.truncate(size)
    write_checksums(folder)
    tracemalloc.start()
    try:
        open_destination(url, QUICK).publish(folder, "1.2.0", Watch())
        received = sum(map(len, open_destination(url, QUICK).open_release("1.2.0").stream("large.bin")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert received == size
    assert peak < 24_000_000  # imports are in it


def test_killed_at_fifty_moments_no_reader_sees_half_a_release(url: str, tmp_path: Path) -> None:
    dice = random.Random(7)

    def release(number: int) -> Path:
        files = {target: random.Random(f"{url}{number}{target}").randbytes(150_000) for target in "abc"}
        return write_release(tmp_path / "releases", f"1.0.{number}", targets=files)

    def publish(folder: Path) -> bool:
        return open_destination(url, Patience()).publish(folder, folder.name, Watch())

    def look() -> None:
        reader = open_destination(url, Patience())
        versions = reader.versions()
        latest = reader.latest()
        for version in {*versions[-1:], *([latest] if latest else [])}:
            stored = reader.open_release(version)
            found = {name: hashlib.sha256(b"".join(stored.stream(name))).hexdigest() for name in stored.names()}
            folder = tmp_path / "releases" / version
            assert found == {name: hashlib.sha256(part).hexdigest() for name, part in contents(folder).items()}

    began = time.monotonic()
    publish(release(0))
    longest = (time.monotonic() - began) * 1.1
    killed = 0
    with polling(look, tmp_path):
        for number in range(1, 51):
            folder = release(number)
            killed += kill_at_random(lambda folder=folder: publish(folder), longest, dice)
            publish(folder)
            assert fetched(url, folder.name) == contents(folder)
            assert open_destination(url, QUICK).latest() == folder.name
    assert killed > 20, "the kills came too late to tell anything"
