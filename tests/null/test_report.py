"""`invoke report` on the command line, and the page that is served while builds run."""

from __future__ import annotations

import hashlib
import html
import http.client
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipeline.files import write_whole
from tests.null.cli import Project, finish, wait_for

SERVE = ("report", "--serve", "--port=0")


def test_the_history_is_one_file_that_says_what_it_is(built: Project) -> None:
    told = built.run("report", "--json").json("report")
    path = built.root / told["path"]
    assert told["path"] == "artifacts/report.html"
    assert told["verdict"] == "pass"
    assert told["bytes"] == path.stat().st_size < 5_000_000
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "grey for null" in path.read_text(encoding="utf-8")


def test_a_build_has_its_own_file_and_the_history_leads_to_it(built: Project) -> None:
    told = built.run("report", "--target=null", "--workload=grey", "--json").json("report")
    assert (told["kind"], told["path"]) == ("build", "artifacts/grey/null/report.html")
    built.run("report")
    history = (built.root / "artifacts" / "report.html").read_text(encoding="utf-8")
    assert 'href="grey/null/report.html"' in history
    out = built.root / "elsewhere" / "of mine.html"
    built.run("report", "--target=null", "--workload=grey", f"--out={out}")
    assert 'href="../artifacts/report.html"' in out.read_text(encoding="utf-8")


def test_an_empty_project_has_a_report_that_says_so(project: Project) -> None:
    project.run("report")
    assert "nothing has been built here" in (project.root / "artifacts" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--target=null", "--workload=grey"), "invoke build --target=null --workload=grey"),
        (("--target=null", "--workload=grey", "--compare"), "invoke compare --target=null --workload=grey"),
        (("--compare",), "--compare needs a target"),
        (("--workload=grey",), "--workload needs a target"),
        (("--target=nul",), "did you mean 'null'?"),
        (("--serve", "--port=70000"), "--port is not a port"),
        (("--serve", "--port=abc"), "--port is not a port"),
        (("--serve", f"--port={'9' * 5000}"), "--port is not a port"),
        (("--port=8377",), "--port needs --serve"),
        (("--out=targets",), "--out=targets/report.html"),
    ],
)
def test_what_cannot_be_shown_is_refused(project: Project, arguments: tuple[str, ...], told: str) -> None:
    assert told in project.run("report", *arguments, expect=2).stderr


def test_a_build_that_cannot_be_read_is_left_out_and_named(built: Project) -> None:
    (built.artifact(name="build.json")).write_text("{", encoding="utf-8")
    done = built.run("report")
    assert "null is left out" in done.stderr


@contextmanager
def serving(project: Project, *arguments: str) -> Iterator[tuple[int, Any]]:
    """Serve the report; give the port and the process, which has to end well by Ctrl-C."""
    process = project.start(*SERVE, *arguments)
    try:
        line = ""
        while process.poll() is None and not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", line)):
            line = process.stderr.readline()
        assert found, line
        yield int(found[1]), process
        process.send_signal(signal.SIGINT)
        done = finish(process, 0)
        assert "no longer served" in done.stderr
        assert done.stdout == ""
    finally:
        process.kill()


def ask(port: int, path: str = "/", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_follows_a_build(built: Project) -> None:
    with serving(built) as (port, _):
        code, page = ask(port)
        assert code == 200
        assert "connect-src 'self'" in html.unescape(page)
        events = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        events.request("GET", "/events")
        stream = events.getresponse()
        assert stream.getheader("Content-Type") == "text/event-stream"
        assert stream.readline() == b": alive\n"
        built.build("--seed=1", "--force")
        assert b"event: report\n" in stream.read()
        assert ask(port)[1] != page


def test_a_page_that_was_replaced_before_it_asked_is_told_at_once(built: Project) -> None:
    with serving(built) as (port, _):
        for name, told in (("0", b"event: report"), (_own_name(ask(port)[1]), b"")):
            events = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            events.request("GET", f"/events?{name}")
            stream = events.getresponse()
            assert (stream.readline(), stream.readline()) == (b": alive\n", b"\n")
            if told:
                assert told in stream.read()
            else:
                with pytest.raises(TimeoutError):
                    stream.readline()


def _own_name(page: str) -> str:
    found = re.search(r'"live":"events\?(\d+)"', page)
    assert found
    return found[1]


def test_half_a_build_leaves_the_page_as_it_was(built: Project) -> None:
    with serving(built, "--target=null", "--workload=grey") as (port, process):
        page = ask(port)[1]
        write_whole(built.artifact(name="build.json"), "{")
        line = process.stderr.readline()
        assert "the page stays as it was" in line
        assert ask(port)[1] == page


def test_only_the_report_is_served_and_only_to_this_machine(built: Project) -> None:
    with serving(built) as (port, _):
        assert ask(port, "/history.jsonl")[0] == 404
        assert ask(port, "/../report.html")[0] == 404
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1:1", f"127.0.0.1.evil.example:{port}", ""):
            assert ask(port, Host=host)[0] == 421, host
        assert ask(port, Host=f"localhost:{port}")[0] == 200


def test_a_port_in_use_is_named(built: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = built.run("report", "--serve", f"--port={port}", expect=2)
        assert f"port {port} cannot be used" in done.stderr
        assert "--port=0" in done.stderr


def test_every_reader_is_told_however_many(built: Project) -> None:
    with serving(built) as (port, _):
        streams = []
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/events")
            streams.append(connection.getresponse())
        built.build("--seed=2", "--force")
        assert all(b"event: report" in stream.read() for stream in streams)
    wait_for(lambda: not built.processes(), "the server is left", 5)
