"""The browser runner's web server on loopback: what the page gets, and what it sends back."""

from __future__ import annotations

import functools
import gzip
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

HEADERS = {
    # Together they make the page "cross-origin isolated": threads, and a clock of 5 µs instead of 100.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # or a second load of a model would not be one
}
MEDIA_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".html": "text/html; charset=utf-8"}


class Answer(NamedTuple):
    """What is sent for one path."""

    content: bytes  # as it travels
    media_type: str = "application/octet-stream"
    encoding: str = ""  # of the content: "gzip", "br", or none


def page_answers(page: Path, modules: Path) -> dict[str, Callable[[], Answer]]:
    """Return what is served of the page's folder and of LiteRT.js, by path; LiteRT.js gzipped, as servers do."""

    def own(path: Path) -> Answer:
        return Answer(path.read_bytes(), MEDIA_TYPES[path.suffix])

    def runtime(path: Path) -> Answer:
        return Answer(_zipped(path, path.stat().st_mtime_ns), MEDIA_TYPES[path.suffix], "gzip")

    answers: dict[str, Callable[[], Answer]] = {
        "/": functools.partial(own, page / "page.html"),
        "/page.js": functools.partial(own, page / "page.js"),
    }
    scope = modules / "@litertjs"
    for pattern in ("core/dist/*.js", "core/wasm/*.js", "core/wasm/*.wasm", "wasm-utils/dist/*.js"):
        for path in scope.glob(pattern):
            answers[f"/litert/{path.relative_to(scope).as_posix()}"] = functools.partial(runtime, path)
    return answers


@functools.lru_cache(maxsize=8)
def _zipped(path: Path, modified_ns: int) -> bytes:
    return gzip.compress(path.read_bytes(), mtime=0)


@functools.lru_cache(maxsize=4)
def _with_brotli(content: bytes) -> bytes:
    import brotli

    return brotli.compress(content)


def model_answers(index: int, content: bytes, samples: bytes) -> dict[str, Callable[[], Answer]]:
    """Return what is served of one model: the file as it is and compressed, and its input tensors."""
    kind = "application/octet-stream"
    return {
        f"/model/{index}": lambda: Answer(content),
        f"/model/{index}.gzip": lambda: Answer(gzip.compress(content, mtime=0), kind, "gzip"),
        f"/model/{index}.br": lambda: Answer(_with_brotli(content), kind, "br"),
        f"/samples/{index}": lambda: Answer(samples),
    }


class PageServer:
    """Serves answers on 127.0.0.1 while it is entered, and keeps what is posted to /result/<name>."""

    def __init__(self, answers: Mapping[str, Callable[[], Answer]]):
        self.results: dict[str, bytes] = {}
        handler = type("Handler", (_Handler,), {"answers": answers, "results": self.results})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> PageServer:
        # Its loop looks every so often whether it shall end, and that is what leaving waits for.
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a browser that ends does not wait for an answer
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    answers: Mapping[str, Callable[[], Answer]]
    results: dict[str, bytes]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the body waits 40 ms for the header's acknowledgement

    def do_GET(self) -> None:
        make = self.answers.get(urlsplit(self.path).path)
        if make is None:
            self._send(404, Answer(b"", "text/plain"))
        else:
            self._send(200, make())

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.results[urlsplit(self.path).path.removeprefix("/result/")] = content
        self._send(200, Answer(b"", "text/plain"))

    def _send(self, status: int, answer: Answer) -> None:
        self.send_response(status)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(answer.content)))
        if answer.encoding:
            self.send_header("Content-Encoding", answer.encoding)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet: what matters is told by the page."""
