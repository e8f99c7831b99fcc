"""Faults that a test's HTTP server shows, and a proxy that shows them for a server that is not the test's own."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOPS = ("connection", "transfer-encoding", "keep-alive", "content-length")


@dataclass
class Fault:
    """What happens to the next `times` requests of this method whose path has a match of `path`.

    what: "status" answers `status` and `headers`; "hang" never answers; "drop" closes the connection after half of
    the request's body; "cut" ends the answer's body half-way; "alter" changes a byte of it; "trickle" sends it a
    byte at a time, 0.1 s apart.
    """

    method: str
    path: str
    what: str
    times: int = 1
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class FaultyHandler(BaseHTTPRequestHandler):
    """Serves `respond`, which gives (status, headers, body), but for the server's `faults`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes
    server: FaultyServer

    def respond(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        raise NotImplementedError

    def handle_any(self) -> None:
        server = self.server
        fault = server.take(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault and fault.what == "drop":
            self.rfile.read(length // 2)
            self.dropped(length)
            self.close_connection = True
            return
        body = self.rfile.read(length) if length else b""
        server.seen.append((self.command, self.path, dict(self.headers)))
        if fault and fault.what == "hang":
            server.ending.wait(30)
            self.close_connection = True
            return
        if fault and fault.what == "status":
            status, headers, content = fault.status, fault.headers, fault.body
        else:
            status, headers, content = self.respond(body)
        if fault and fault.what == "alter":
            content = bytes([content[0] ^ 1]) + content[1:]
        self.send_response_only(status)
        for name, value in headers.items():
            if name.casefold() not in HOPS:
                self.send_header(name, value)
        if status != 204:
            given = {name.casefold(): value for name, value in headers.items()}.get("content-length")
            self.send_header("Content-Length", given if self.command == "HEAD" and given else str(len(content)))
        self.end_headers()
        if self.command == "HEAD" or status == 204:
            return
        if fault and fault.what == "cut":
            content = content[: len(content) // 2]
            self.close_connection = True
        if fault and fault.what == "trickle":
            for at in range(len(content)):
                if server.ending.wait(0.1):
                    return
                self.wfile.write(content[at : at + 1])
                self.wfile.flush()
            return
        self.wfile.write(content)

    def dropped(self, length: int) -> None:
        """Half of a request was read, whose connection is closed now."""

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

    def log_message(self, *_: object) -> None: ...


class FaultyServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: type[FaultyHandler]):
        super().__init__(("127.0.0.1", 0), handler)
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.ending = threading.Event()
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def take(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no news."""


@contextmanager
def serving(server: FaultyServer) -> Iterator[FaultyServer]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


Response = tuple[int, Mapping[str, str], bytes]
Around = Callable[[FaultyHandler, Callable[[], Response]], Response]


@contextmanager
def proxy_of(address: str, around: Around = lambda _, forward: forward()) -> Iterator[FaultyServer]:
    """Run a proxy of the server at `address`; `around` is given each request and what forwards it."""

    class Proxy(FaultyHandler):
        def respond(self, body: bytes) -> Response:
            def forward() -> Response:
                connection = http.client.HTTPConnection(address, timeout=20)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    answer = connection.getresponse()
                    return answer.status, dict(answer.getheaders()), answer.read()
                finally:
                    connection.close()

            return around(self, forward)

    with serving(FaultyServer(Proxy)) as server:
        yield server


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail where what is done takes longer: for waits that must end, with room for a busy machine."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"{took:.1f} s"
