"""`invoke inspect FILE --open`: the model's graph in Netron, served to this machine's browser alone.

Netron's page asks other hosts for statistics and consent; the server here sends a policy with which the browser
asks nobody but this server. Only the model's own bytes are served beside Netron's files.
"""

from __future__ import annotations

import html
import importlib.util
import mimetypes
import re
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pipeline.errors import EnvironmentUnsuited

_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "worker-src 'self' blob:; connect-src 'self' data: blob:; frame-src 'none'; form-action 'none'"
)
_SERVED = (".html", ".js", ".css", ".png", ".ico", ".json", ".svg")


def show_in_netron(model: Path, note: Callable[[str], None]) -> None:
    """Serve the model to the browser until Ctrl-C. Raises EnvironmentUnsuited without the extra."""
    with netron_server(model) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        note(f"Netron shows {model} at {url} until Ctrl-C")
        if not webbrowser.open(url):
            note("no browser could be opened: open the address yourself")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            note("Netron is closed")


def netron_server(model: Path) -> ThreadingHTTPServer:
    """Return a server on a free port of the loopback address, not yet serving."""
    try:
        found = importlib.util.find_spec("netron")  # not imported: only its files are needed
    except ValueError:  # its import was forbidden
        found = None
    if found is None or found.origin is None:
        raise EnvironmentUnsuited(
            "--open needs netron, which is not installed",
            received="no such distribution",
            expected="the libraries of the extra 'netron'",
            fix="pip install 'edge-deployment-pipeline[netron]', or leave --open out",
        )
    files, content = Path(found.origin).parent, model.read_bytes()
    page = _page((files / "index.html").read_text(encoding="utf-8"), model.name)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "")
            path = unquote(urlsplit(self.path).path)
            if host.rpartition(":")[0] not in ("127.0.0.1", "localhost"):  # a page elsewhere under a name of its own
                self.answer(403, "text/plain", b"")
            elif path in ("/", "/index.html"):
                self.answer(200, "text/html", page)
            elif path == f"/data/{model.name}":
                self.answer(200, "application/octet-stream", content)
            else:
                self.answer_file(path.removeprefix("/"))

        do_HEAD = do_GET

        def answer_file(self, name: str) -> None:
            path = files / name
            if "/" in name or path.suffix not in _SERVED or not path.is_file():
                self.answer(404, "text/plain", b"")
            else:
                self.answer(200, mimetypes.guess_type(name)[0] or "application/octet-stream", path.read_bytes())

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("Set-Cookie", "consent=none; SameSite=Strict")  # to statistics, which the policy forbids
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def _page(page: str, name: str) -> bytes:
    """Return Netron's page with the model in it, as Netron's own server marks it."""
    marks = [
        '<meta name="type" content="Python">',
        f'<meta name="file" content="/data/{quote(name)}">',
        f'<meta name="name" content="{html.escape(name)}">',
        f'<meta name="identifier" content="{html.escape(name)}">',
    ]
    version = re.search(r'<meta name="version" content="[^"]*">', page)
    at = version.end() if version else page.index("</head>")
    return ("\n".join([page[:at], *marks]) + page[at:]).encode()
