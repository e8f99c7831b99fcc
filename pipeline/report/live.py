"""`invoke report --serve`: the report on loopback, written anew and reloaded when artifacts change.

Once a second the documents' times of change are looked at, which costs a few system calls; only when one differs
is the page made again, in place of the old one, and every open page told by a server-sent event. A page asks for
events under its own name, so that one which was replaced before it asked, or by a server that was started anew, is
told at once. Nothing but the
page and its events is served, and only to who asks for this machine by name: a foreign site that has its own name
point here gets nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, RequestError
from pipeline.history import HISTORY
from pipeline.project import BENCH_DOCUMENT, BUILD_DOCUMENT, COMPARE_DOCUMENT, COMPARE_FOLDER, Project
from pipeline.report.page.page import EVENTS
from pipeline.report.write_report import report_path, write_report
from pipeline.watch import Watch

POLL_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
WATCHED = (HISTORY, f"*/*/{BUILD_DOCUMENT}", f"*/*/{BENCH_DOCUMENT}", f"*/*/{COMPARE_FOLDER}/{COMPARE_DOCUMENT}")
State = tuple[tuple[str, int, int], ...]


class Report:
    """The page that is served now, and its name; whoever waits is told of the next."""

    def __init__(self) -> None:
        self.content = b""
        self.name = ""
        self.ended = False
        self.changed = threading.Condition()

    def put(self, content: bytes, name: str) -> None:
        with self.changed:
            self.content, self.name = content, name
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_beyond(self, name: str, seconds: float) -> str:
        """Return the name of the page once it is another than `name`, or after some seconds."""
        with self.changed:
            self.changed.wait_for(lambda: self.name != name or self.ended, seconds)
            return self.name


def served(project: Project, watch: Watch, target: str, workload: str, port: int, options: dict[str, Any]) -> int:
    """Serve the report until Ctrl-C; return 0. Raises RequestError where the port is taken, and BadTarget."""
    path = options["out"] or report_path(project, target, workload, compare=options["compare"])
    report = Report()

    def write() -> None:
        name = str(time.time_ns())
        write_report(project, watch, target, workload, live=name, **options)
        report.put(path.read_bytes(), name)

    state = watched_state(project.artifacts)
    write()
    server = report_server(report, port)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
    host, bound = server.server_address[:2]
    print(
        f"http://{host!s}:{bound}/ shows {path.name} and follows {project.artifacts}; Ctrl-C ends it",
        file=sys.stderr,
        flush=True,
    )
    try:
        while True:
            time.sleep(POLL_SECONDS)
            state = _follow(project.artifacts, state, write, watch)
    except KeyboardInterrupt:
        print("the report is no longer served; its file stays", file=sys.stderr)
        return 0
    finally:
        report.end()
        server.shutdown()
        server.server_close()
        watch.close()


def _follow(artifacts: Path, before: State, write: Callable[[], None], watch: Watch) -> State:
    """Write anew if anything changed; a state that cannot be shown, such as half a build, leaves the old page."""
    now = watched_state(artifacts)
    if now != before:
        try:
            write()
        except (PipelineError, OSError) as error:
            watch.note(f"the page stays as it was: {error}".splitlines()[0])
    return now


def watched_state(artifacts: Path) -> State:
    """Return name, time of change and size of every document that a report is made from."""
    found = []
    for pattern in WATCHED:
        for path in artifacts.glob(pattern):
            try:
                status = path.stat()
            except OSError:  # removed or replaced this moment
                continue
            found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(sorted(found))


def report_server(report: Report, port: int) -> ThreadingHTTPServer:
    """Return a server on loopback, bound and not yet serving. Raises RequestError where the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address, _, shown = self.path.partition("?")
            if not _is_loopback(self.headers.get("Host", ""), bound):
                self._answer(421, b"this server answers to 127.0.0.1 and localhost alone\n", "text/plain")
            elif address == "/":
                self._answer(200, report.content, "text/html; charset=utf-8")
            elif address == f"/{EVENTS}":
                self._tell(shown or report.name)
            else:
                self._answer(404, b"the report is at /\n", "text/plain")

        def _answer(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self._headers(kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _headers(self, kind: str) -> None:
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.send_header("X-Frame-Options", "DENY")

        def _tell(self, shown: str) -> None:
            """Hold the connection and say when there is another page than `shown`; a comment shows that it lives."""
            self.send_response(200)
            self._headers("text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            try:
                while not report.ended:
                    self.wfile.write(b": alive\n\n")
                    self.wfile.flush()
                    if report.wait_beyond(shown, KEEP_ALIVE_SECONDS) != shown:
                        self.wfile.write(b"event: report\ndata: changed\n\n")
                        self.wfile.flush()
                        return
            except OSError:
                return  # the reader has gone

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing of each request."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise RequestError(
            f"port {port} cannot be used: {error.strerror}",
            received=f"--port={port}",
            expected="a port on 127.0.0.1 that nothing listens on",
            fix="--port=0 takes any that is free, or end what listens there",
        ) from error
    bound = server.server_address[1]
    server.daemon_threads = True
    return server


def _is_loopback(host: str, port: int) -> bool:
    name, _, given = host.rpartition(":") if ":" in host else (host, "", "80")
    return name in ("127.0.0.1", "localhost") and given == str(port)
