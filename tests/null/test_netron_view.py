"""`invoke inspect --open`: Netron's page and the model's bytes on loopback, and nothing else asked."""

from __future__ import annotations

import http.client
import re
import select
import signal
import time
from pathlib import Path

from tests.null.cli import DATA, Project

MODEL = DATA / "tiny_int8.tflite"


def asked(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": f"{host}:{port}"})
    answer = connection.getresponse()
    content, policy = answer.read(), answer.headers["Content-Security-Policy"]
    connection.close()
    return answer.status, content, policy


def test_netron_is_served_the_browser_opened_and_ctrl_c_ends_it(project: Project, tmp_path: Path) -> None:
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >"{opened}"\n')
    browser.chmod(0o755)
    process = project.start("inspect", str(MODEL), "--open", env={"BROWSER": f"{browser} %s"})
    try:
        assert process.stderr
        ends, told = time.monotonic() + 60, ""
        while "until Ctrl-C" not in told and time.monotonic() < ends and process.poll() is None:
            if select.select([process.stderr], [], [], 1)[0]:
                told += process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", told)
        assert found, told
        port = int(found[1])
        status, page, policy = asked(port, "/")
        assert status == 200
        assert b'content="/data/tiny_int8.tflite"' in page
        assert "connect-src 'self'" in policy
        assert asked(port, "/data/tiny_int8.tflite")[:2] == (200, MODEL.read_bytes())
        assert asked(port, "/index.js")[0] == 200
        assert asked(port, "/..%2f..%2fetc/passwd")[0] == 404
        assert asked(port, "/server.py")[0] == 404
        assert asked(port, "/", host="elsewhere.example")[0] == 403
        while not opened.exists() and time.monotonic() < ends:
            time.sleep(0.05)
        assert opened.read_text().strip() == found[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_without_the_extra_the_hint_says_what_to_install(project: Project) -> None:
    hidden = project.root / "sitecustomize.py"
    hidden.write_text("import sys\nsys.modules['netron'] = None\n")
    path = f"{project.root}:{project.environment['PYTHONPATH']}"
    result = project.run("inspect", str(MODEL), "--open", expect=4, env={"PYTHONPATH": path})
    assert "edge-deployment-pipeline[netron]" in result.stderr
