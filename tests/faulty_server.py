"""An HTTP server that stands before another one and answers as rules say: with an error, late, cut, or altered.

    with faulty_server("http://127.0.0.1:5000") as server:
        server.rules.append(Rule(method="PUT", path=r"index\\.json", status=503, times=2))
        ...                                  # requests go to server.url
        server.seen                          # [("PUT", "/bucket/index.json"), ...]

Without an upstream, whatever no rule takes is answered with 404.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "date", "server"}


@dataclass
class Rule:
    """What happens to requests that match; the first rule that matches and is not used up counts."""

    method: str = "[A-Z]+"
    path: str = ""  # a regular expression, searched for in path and query
    times: int | None = None  # how often it applies; None: always
    status: int | None = None  # answered without asking the upstream
    body: bytes | Callable[[Mapping[str, str]], bytes] = b""  # with `status`; a function gets the request's headers
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False  # no answer until the server stops
    drop: bool = False  # the connection is closed instead of an answer
    cut: bool = False  # half of the upstream's body, then the connection is closed
    alter_request: Callable[[bytes], bytes] | None = None  # the body that the upstream gets
    alter_answer: Callable[[bytes], bytes] | None = None  # the body that the client gets
    before: Callable[[str, str], int | None] | None = None  # (method, path) -> a status to answer with, or None


class FaultyServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.rules: list[Rule] = []
        self.seen: list[tuple[str, str]] = []
        self.stopped = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def rule_for(self, method: str, path: str) -> Rule:
        with self.lock:
            self.seen.append((method, path))
            for rule in self.rules:
                if re.fullmatch(rule.method, method) and re.search(rule.path, path) and rule.times != 0:
                    if rule.times is not None:
                        rule.times -= 1
                    return rule
        return Rule()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, as a killed one does, is nothing to report."""


@contextlib.contextmanager
def faulty_server(upstream: str = "") -> Iterator[FaultyServer]:
    server = FaultyServer(upstream)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def handle_any(self) -> None:
        body = self._body()
        rule = self.server.rule_for(self.command, self.path)
        if rule.hang:
            self.server.stopped.wait(60)
        if rule.hang or rule.drop:
            self.close_connection = True
            return
        status = rule.status
        if status is None and rule.before is not None:
            with self.server.lock:
                status = rule.before(self.command, self.path)
                if status is None:
                    self._forward(rule, body)
                    return
        if status is None and self.server.upstream:
            self._forward(rule, body)
            return
        content = rule.body(dict(self.headers)) if callable(rule.body) else rule.body
        self._answer(status or 404, rule.headers, content, len(content))

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = handle_any

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            pass  # BaseHTTPRequestHandler has sent "100 Continue" by itself
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return content

    def _forward(self, rule: Rule, body: bytes) -> None:
        if rule.alter_request:
            body = rule.alter_request(body)
        connection = http.client.HTTPConnection(urlsplit(self.server.upstream).netloc, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP | {"expect"}}
        connection.request(self.command, self.path, body=body, headers=headers | {"Content-Length": str(len(body))})
        answer = connection.getresponse()
        content = answer.read()
        told = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
        length = int(answer.headers.get("Content-Length") or 0) if self.command == "HEAD" else len(content)
        connection.close()
        if rule.alter_answer:
            content = rule.alter_answer(content)
            length = len(content)
        if rule.cut:
            content = content[: len(content) // 2]
            self.close_connection = True
        self._answer(answer.status, told | dict(rule.headers), content, length)

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass
