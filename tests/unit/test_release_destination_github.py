"""Releases of a GitHub repository, against a stand-in for its API: what is published, and what faults do to it."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import DestinationFailed, EnvironmentUnsuited, PipelineError, ReleaseRefused
from pipeline.release.destination import Patience
from pipeline.release.destinations.github import GitHubDestination, open_destination
from pipeline.watch import Watch
from tests.github_server import READER, TOKEN, GitHub, running_github
from tests.http_faults import Fault, at_most
from tests.kills import kill_at_random, polling
from tests.release_folders import ZEROS, write_release

QUICK = Patience(seconds=2, attempts=3, longest_wait=0.05)
URL = "github://team/models"
MODEL = "mnist-mobile-1.2.0.tflite"


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    with running_github({ZEROS}) as server:
        monkeypatch.setenv("GITHUB_API_URL", server.url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.delenv("GH_TOKEN", raising=False)
        yield server


def destination(patience: Patience = QUICK) -> GitHubDestination:
    return open_destination(URL, patience)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fetched(version: str) -> dict[str, bytes]:
    release = destination().open_release(version)
    return {name: b"".join(release.stream(name)) for name in release.names()}


def drafts(github: GitHub) -> list[dict]:
    return [row for row in github.rows.values() if row["draft"]]


def test_what_was_published_is_read_byte_for_byte(github: GitHub, tmp_path: Path) -> None:
    folder = write_release(tmp_path, extra={"large.bin": random.Random(1).randbytes(2_000_001)})
    assert (destination().versions(), destination().latest()) == ([], None)
    assert destination().publish(folder, "1.2.0", Watch()) is True
    assert (destination().versions(), destination().latest()) == (["1.2.0"], "1.2.0")
    assert fetched("1.2.0") == contents(folder)
    release = destination().open_release("1.2.0")
    assert b"".join(release.stream("large.bin", 1_500_000)) == (folder / "large.bin").read_bytes()[1_500_000:]
    assert release.read("manifest.json", 100_000) == (folder / "manifest.json").read_bytes()
    with pytest.raises(ReleaseRefused, match="too long"):
        release.read("large.bin", 2_000_000)
    with pytest.raises(ReleaseRefused, match="no file"):
        release.read("other", 10)
    (row,) = github.rows.values()
    assert (row["tag_name"], row["target_commitish"], row["prerelease"]) == ("v1.2.0", ZEROS, False)


def test_nothing_is_seen_until_all_is_there(github: GitHub, tmp_path: Path) -> None:
    seen = []

    class Looking(Watch):
        def progress(self, progress: dict) -> None:
            seen.append((progress["done"], destination().versions(), destination().latest()))

    destination().publish(write_release(tmp_path), "1.2.0", Looking())
    assert len(seen) > 10
    assert seen[-1] == (1.0, [], None)


def test_the_same_is_published_once_and_other_bytes_never(github: GitHub, tmp_path: Path) -> None:
    folder = write_release(tmp_path)
    destination().publish(folder, "1.2.0", Watch())
    requests = len(github.seen)
    assert destination().publish(folder, "1.2.0", Watch()) is False
    assert {method for method, _, _ in github.seen[requests:]} == {"GET"}
    with pytest.raises(ReleaseRefused, match="other bytes"):
        destination().publish(write_release(tmp_path / "o", targets={"mobile": b"other"}), "1.2.0", Watch())
    assert fetched("1.2.0") == contents(folder)


def test_latest_is_the_highest_release_in_whatever_order(github: GitHub, tmp_path: Path) -> None:
    told = []
    for version in ("1.0.0-rc.1", "1.10.0", "1.9.0", "2.0.0-rc.1"):
        destination().publish(write_release(tmp_path, version), version, Watch())
        told.append(destination().latest())
    assert told == ["1.0.0-rc.1", "1.10.0", "1.10.0", "1.10.0"]
    assert destination().versions() == ["1.0.0-rc.1", "1.9.0", "1.10.0", "2.0.0-rc.1"]
    assert [row["prerelease"] for row in github.rows.values()] == [True, False, False, True]
    with pytest.raises(ReleaseRefused, match=r"no release 3.0.0"):
        destination().open_release("3.0.0")


def test_releases_and_drafts_of_others_are_left_alone(github: GitHub, tmp_path: Path) -> None:
    shared = {"target_commitish": ZEROS, "prerelease": False, "body": "written by a person"}
    theirs = {
        901: {"id": 901, "tag_name": "v9.0.0", "draft": False, "assets": [], **shared},
        902: {"id": 902, "tag_name": "v1.2.0", "draft": True, "assets": [], **shared},
    }
    github.rows.update({number: dict(row) for number, row in theirs.items()})
    folder = write_release(tmp_path)
    assert destination().publish(folder, "1.2.0", Watch()) is True
    assert {number: github.rows[number] for number in theirs} == theirs
    assert (destination().versions(), destination().latest()) == (["1.2.0"], "1.2.0")
    with pytest.raises(ReleaseRefused, match="other bytes"):
        destination().publish(write_release(tmp_path, "9.0.0"), "9.0.0", Watch())


def test_a_draft_that_was_left_is_brought_to_what_the_folder_has(github: GitHub, tmp_path: Path) -> None:
    folder = write_release(tmp_path)
    github.faults.append(Fault("POST", f"assets.name={MODEL}", "status", status=500, times=3))
    with pytest.raises(DestinationFailed):
        destination().publish(folder, "1.2.0", Watch())
    (draft,) = drafts(github)
    card = next(asset for asset in draft["assets"] if asset["name"] == "MODEL_CARD.md")
    whole = next(asset for asset in draft["assets"] if asset["name"] == "SHA256SUMS")
    draft["assets"].remove(card)
    github.add_asset(draft, "MODEL_CARD.md", b"# x\n", True)
    github.add_asset(draft, MODEL, b"", False)
    github.add_asset(draft, "left.over", b"of another attempt", True)
    assert destination().publish(folder, "1.2.0", Watch()) is True
    assert fetched("1.2.0") == contents(folder)
    (row,) = github.rows.values()
    assert whole in row["assets"]  # what was there whole was not sent again


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_that_a_list_did_not_show_yet_is_found_when_it_is_sent_again(
    whole: bool, github: GitHub, tmp_path: Path
) -> None:
    folder = write_release(tmp_path)
    github.faults.append(Fault("PATCH", "/releases/", "status", status=403))
    with pytest.raises(ReleaseRefused):
        destination().publish(folder, "1.2.0", Watch())
    (draft,) = drafts(github)
    kept = next(asset for asset in draft["assets"] if asset["name"] == MODEL)
    draft["assets"].remove(kept)
    kept = github.add_asset(draft, MODEL, (folder / MODEL).read_bytes(), whole)
    github.faults.append(Fault("GET", "/assets.per_page", "status", status=200, body=b"[]"))
    names = [asset["name"] for asset in draft["assets"]]
    assert destination().publish(folder, "1.2.0", Watch()) is True
    (row,) = github.rows.values()
    assert sorted(asset["name"] for asset in row["assets"]) == sorted(names)
    assert (kept in row["assets"]) == whole
    assert fetched("1.2.0") == contents(folder)


def test_storage_that_holds_other_bytes_is_found_before_and_after_publishing(github: GitHub, tmp_path: Path) -> None:
    folder = write_release(tmp_path)
    github.storage.faults.append(Fault("GET", "/", "alter"))
    with pytest.raises(DestinationFailed, match="is not what was sent"):
        destination().publish(folder, "1.2.0", Watch())
    assert destination().versions() == []
    destination().publish(folder, "1.2.0", Watch())
    github.storage.faults.append(Fault("GET", "/", "alter"))
    with pytest.raises(DestinationFailed, match="is not what was sent"):
        destination().open_release("1.2.0").read(MODEL, 1000)


def test_without_digests_a_file_of_the_right_size_and_other_bytes_is_sent_anew(github: GitHub, tmp_path: Path) -> None:
    github.tells_digests = False
    folder = write_release(tmp_path)
    github.faults.append(Fault("PATCH", "/releases/", "status", status=403))
    with pytest.raises(ReleaseRefused):
        destination().publish(folder, "1.2.0", Watch())
    (draft,) = drafts(github)
    card = next(asset for asset in draft["assets"] if asset["name"] == "MODEL_CARD.md")
    github.storage.files[card["id"]] = b"# x\n"
    with pytest.raises(DestinationFailed, match="is not what was sent"):
        destination().publish(folder, "1.2.0", Watch())
    assert destination().publish(folder, "1.2.0", Watch()) is True
    assert fetched("1.2.0") == contents(folder)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "/releases$", "status", status=502),
        Fault("POST", "/releases$", "drop"),
        Fault("POST", "/assets", "status", status=503, times=2),
        Fault("POST", "/assets", "drop", times=2),
        Fault("POST", f"/assets.name={MODEL}", "drop"),
        Fault("POST", "/assets", "cut"),  # uploaded, but the answer is lost
        Fault("POST", "/releases$", "cut"),
        Fault("PATCH", "/releases/", "cut"),
        Fault("PATCH", "/releases/", "hang"),
        Fault("GET", "/releases", "status", status=429, headers={"Retry-After": "60"}),
        Fault("POST", "/assets", "status", status=403, headers={"Retry-After": "60"}),
        Fault("POST", "/assets", "status", status=403, headers={"x-ratelimit-remaining": "0"}),
        Fault("POST", "/assets", "status", status=403, body=b'{"message": "exceeded a secondary rate limit"}'),
        Fault("GET", "/assets", "cut", times=2),
    ],
    ids=lambda fault: "-".join([fault.method, fault.what, fault.path.strip("/"), str(fault.status), *fault.headers]),
)
def test_a_fault_that_passes_is_outlasted(fault: Fault, github: GitHub, tmp_path: Path) -> None:
    folder = write_release(tmp_path, targets={"mobile": random.Random(3).randbytes(300_000)})
    github.faults.append(Fault(**vars(fault)))
    with at_most(20):
        assert destination().publish(folder, "1.2.0", Watch()) is True
    assert github.faults[0].times == 0
    assert fetched("1.2.0") == contents(folder)
    assert len(github.rows) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("POST", "/assets", "status", status=500), DestinationFailed),
        (Fault("POST", "/assets", "status", status=429, headers={"Retry-After": "9999"}), DestinationFailed),
        (
            Fault("GET", "/", "status", status=403, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}),
            DestinationFailed,
        ),
        (Fault("POST", "/assets", "status", status=403), ReleaseRefused),
        (Fault("POST", "/releases$", "status", status=404), ReleaseRefused),
        (Fault("GET", "/", "status", status=401), ReleaseRefused),
        (Fault("POST", "/assets", "drop"), DestinationFailed),
        (Fault("PATCH", "/", "status", status=500), DestinationFailed),
        (Fault("GET", "/assets", "hang"), DestinationFailed),
        (Fault("GET", "/releases", "trickle"), DestinationFailed),
        (Fault("GET", "/releases", "status", status=200, body=b"[[]]"), DestinationFailed),
        (Fault("POST", "/releases$", "status", status=201, body=b"not JSON"), DestinationFailed),
    ],
    ids=lambda value: f"{value.method}-{value.what}-{value.status}" if isinstance(value, Fault) else "",
)
def test_a_fault_that_stays_ends_in_bounded_time_with_nothing_published(
    fault: Fault, kind: type[PipelineError], github: GitHub, tmp_path: Path
) -> None:
    patience = Patience(seconds=1, attempts=2, longest_wait=0.05)
    folder = write_release(tmp_path, targets={"mobile": random.Random(3).randbytes(300_000)})
    github.rows[900] = {"id": 900, "tag_name": "v0.9", "draft": False, "assets": [], "target_commitish": ZEROS}
    github.rows[900] |= {"prerelease": False, "body": "another release, so that lists are not empty"}
    github.faults.append(Fault(**{**vars(fault), "times": 1_000_000}))
    with pytest.raises(kind) as error, at_most(20):
        destination(patience).publish(folder, "1.2.0", Watch())
    assert error.value.fix
    assert TOKEN not in str(error.value)
    github.faults.clear()
    assert destination().versions() == []
    assert destination().publish(folder, "1.2.0", Watch()) is True
    assert fetched("1.2.0") == contents(folder)


def test_the_wait_is_what_the_server_names(github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    later = str(int(time.time()) + 20)
    github.faults += [
        Fault("GET", "/", "status", status=429, headers={"Retry-After": "7"}),
        Fault("GET", "/", "status", status=403, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": later}),
        Fault("GET", "/", "status", status=429, headers={"Retry-After": "3600"}),
        Fault("GET", "/", "status", status=502),
    ]
    assert destination(Patience(seconds=2, attempts=5, longest_wait=25)).versions() == []
    assert waits[0] == 7
    assert 15 < waits[1] <= 20
    assert waits[2] == 25
    assert 0 < waits[3] <= 8


def test_a_download_that_is_cut_continues_where_it_was(github: GitHub, tmp_path: Path) -> None:
    content = random.Random(3).randbytes(3_000_000)
    destination().publish(write_release(tmp_path, targets={"mobile": content}), "1.2.0", Watch())
    github.storage.seen.clear()
    github.storage.faults.append(Fault("GET", "/", "cut", times=2))
    assert b"".join(destination().open_release("1.2.0").stream(MODEL)) == content
    ranges = [headers.get("Range") for _, _, headers in github.storage.seen]
    assert ranges == [None, "bytes=1500000-", "bytes=2250000-"]


def test_a_storage_that_does_no_ranges_is_read_from_the_start(github: GitHub, tmp_path: Path) -> None:
    content = random.Random(3).randbytes(3_000_000)
    destination().publish(write_release(tmp_path, targets={"mobile": content}), "1.2.0", Watch())
    github.storage.does_ranges = False
    release = destination().open_release("1.2.0")
    assert b"".join(release.stream(MODEL, 2_500_000)) == content[2_500_000:]
    github.storage.faults.append(Fault("GET", "/", "cut"))
    assert b"".join(release.stream(MODEL)) == content


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "without a token"), ("ghp_wr0ng", "credentials"), (READER, "credentials")],
    ids=["none", "wrong", "reader"],
)
def test_a_token_that_may_not_write_is_refused_and_never_shown(
    token: str, said: str, github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", token)
    with pytest.raises(ReleaseRefused, match=said) as error:
        destination().publish(write_release(tmp_path), "1.2.0", Watch())
    assert "GITHUB_TOKEN" in error.value.fix
    shown = f"{error.value} {error.value.as_dict()} {''.join(capfd.readouterr())}"
    assert "ghp_" not in shown
    assert github.rows == {}


def test_readers_of_a_public_repository_need_no_token(
    github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.setenv("GH_TOKEN", TOKEN)
    folder = write_release(tmp_path)
    destination().publish(folder, "1.2.0", Watch())
    monkeypatch.delenv("GH_TOKEN")
    assert fetched("1.2.0") == contents(folder)


def test_the_token_goes_to_the_api_alone(github: GitHub, tmp_path: Path) -> None:
    folder = write_release(tmp_path)
    destination().publish(folder, "1.2.0", Watch())
    assert github.storage.seen
    assert not [headers for _, _, headers in github.storage.seen if "Authorization" in headers]
    github.upload_base = f"http://{github.storage.address}"
    github.storage.seen.clear()
    with pytest.raises(DestinationFailed, match="fails") as error:
        destination().publish(write_release(tmp_path, "1.3.0"), "1.3.0", Watch())
    assert "another host" in error.value.received
    assert github.storage.seen == []


@pytest.mark.parametrize(
    ("api", "takes", "not_taking"),
    [
        ("", "https://uploads.github.com/x", "https://objects.githubusercontent.com/x"),
        ("https://git.example/api/v3", "https://git.example/api/uploads/x", "https://uploads.git.example/x"),
        ("https://api.example", "https://uploads.example/x", "http://uploads.example/x"),
    ],
)
def test_which_hosts_see_the_token(api: str, takes: str, not_taking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", api)
    repository = destination().repository
    assert repository.takes_token(takes)
    assert not repository.takes_token(not_taking)


@pytest.mark.parametrize("api", ["http://git.example/api/v3", "ftp://127.0.0.1", "https://me:s3cret@git.example"])
def test_an_api_address_that_shows_the_token_is_refused(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", api)
    with pytest.raises(ReleaseRefused, match="GITHUB_API_URL") as error:
        destination()
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    "wrong", ["github://team", "github://team/..", "github://te/am/models", "github://me:s3cret@team/models"]
)
def test_a_url_that_is_none_is_refused_without_its_secrets(wrong: str) -> None:
    with pytest.raises(ReleaseRefused, match="no GitHub repository") as error:
        open_destination(wrong)
    assert "s3cret" not in str(error.value)


def test_a_missing_library_is_named_with_its_extra(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(EnvironmentUnsuited, match="needs requests") as error:
        destination()
    assert error.value.fix == "pip install 'edge-deployment-pipeline[release]'"


def test_a_commit_that_was_not_pushed_is_told(github: GitHub, tmp_path: Path) -> None:
    github.commits.clear()
    with pytest.raises(ReleaseRefused, match="does not take v1.2.0") as error:
        destination().publish(write_release(tmp_path), "1.2.0", Watch())
    assert "push the commit" in error.value.fix
    assert github.rows == {}


def test_killed_at_twenty_moments_no_reader_sees_half_a_release(github: GitHub, tmp_path: Path) -> None:
    dice = random.Random(7)
    github.page_size = 100

    def release(number: int) -> Path:
        files = {target: random.Random(f"{number}{target}").randbytes(300_000) for target in "abc"}
        return write_release(tmp_path / "releases", f"1.0.{number}", targets=files)

    def publish(folder: Path) -> bool:
        return destination(Patience()).publish(folder, folder.name, Watch())

    def look() -> None:
        reader = destination(Patience())
        versions = reader.versions()
        latest = reader.latest()
        for version in {*versions[-1:], *([latest] if latest else [])}:
            stored = reader.open_release(version)
            found = {name: hashlib.sha256(b"".join(stored.stream(name))).hexdigest() for name in stored.names()}
            files = contents(tmp_path / "releases" / version)
            assert found == {name: hashlib.sha256(part).hexdigest() for name, part in files.items()}

    began = time.monotonic()
    publish(release(0))
    longest = (time.monotonic() - began) * 1.1
    killed = 0
    with polling(look, tmp_path):
        for number in range(1, 21):
            folder = release(number)
            killed += kill_at_random(lambda folder=folder: publish(folder), longest, dice)
            publish(folder)
            assert fetched(folder.name) == contents(folder)
            assert destination().latest() == folder.name
    assert drafts(github) == []
    assert killed > 8, "the kills came too late to tell anything"
