"""One headless Chromium at one page on loopback, through Playwright, within limits; never left running."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import RunnerFailed

if TYPE_CHECKING:
    from playwright.sync_api import Page

POLL_MILLISECONDS = 50
REMOVED_SECONDS = 10  # that files of a browser which is still ending are removed again and again
LOG_LINES = 20
PLACE_MAX = 40  # characters: Chromium puts a socket further down, and the path of a socket has at most 107
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever else the browser would like to ask for has no address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Visit:
    """What is known of a page while it is open."""

    def __init__(self) -> None:
        self.log: list[str] = []  # the console's lines
        self.crashed = False
        self.foreign: list[str] = []  # addresses outside loopback that the page asked for
        self.renderers: list[int] = []  # process ids


def visit(
    address: str,
    chromium: Path,
    results: Mapping[str, bytes],
    names: str,
    *,
    seconds: float,
    resident_megabytes: int,
) -> list[str]:
    """Open the page and wait until the server has its report; return the lines of its console.

    Raises RunnerFailed when the browser does not start, the page crashes, overruns a limit or asks
    for an address other than its server's. The browser has ended when this returns, however it does.
    """
    from playwright.sync_api import Error

    deadline = time.monotonic() + seconds
    seen = Visit()
    try:
        with _open_page(address, chromium, seen, deadline) as page:
            while "report" not in results:
                _check(seen, names, resident_megabytes * 1_000_000)
                # Waits in Playwright's own process, so that a page which hangs cannot hold it up.
                page.wait_for_timeout(POLL_MILLISECONDS)
            _check(seen, names, resident_megabytes * 1_000_000)
    except Error as error:
        if time.monotonic() > deadline:
            raise _late(names, seconds, results) from error
        _check(seen, names, resident_megabytes * 1_000_000)
        raise RunnerFailed(
            f"the browser with {names} failed",
            received=" ".join(error.message.split())[-800:],
            expected=f"{chromium} runs headless until the page is done",
            fix=f"try `{chromium} --headless --dump-dom about:blank`; install the browser again if that fails",
        ) from error
    return seen.log


@contextlib.contextmanager
def _open_page(address: str, chromium: Path, seen: Visit, deadline: float) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    # Not one of Playwright's own limits is in force, since most of its calls have none: where the browser
    # stands still, or has been killed at the wrong moment, they wait without end.
    with _temporary_files() as folder, _ended_at(deadline, folder), sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=chromium,
                headless=True,
                chromium_sandbox=os.geteuid() != 0,  # Chromium refuses to sandbox for root
                args=list(ARGUMENTS),
                env={**os.environ, "TMPDIR": folder},
                timeout=0,
            )
            page = browser.new_page(service_workers="block")
            page.route(re.compile(f"^(?!{re.escape(address)}/|data:|blob:)"), lambda route: _refuse(route, seen))
            page.on("console", lambda message: seen.log.append(message.text.strip()))
            page.on("pageerror", lambda error: seen.log.append(str(error)))
            page.on("crash", lambda _: setattr(seen, "crashed", True))
            page.goto(f"{address}/", wait_until="commit", timeout=0)
            processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
            seen.renderers += [process["id"] for process in processes if process["type"] == "renderer"]
            yield page
            browser.close()
        except BaseException:
            _kill(folder)
            raise


@contextlib.contextmanager
def _ended_at(deadline: float, folder: str) -> Iterator[None]:
    """Kill driver and browser at the deadline, unless what is inside has ended; its calls raise Error then."""
    done = threading.Event()

    def watch() -> None:
        done.wait(max(0.0, deadline - time.monotonic()))
        while not done.wait(POLL_MILLISECONDS / 1000):  # again: they may have been about to start
            _kill(folder)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _kill(folder: str) -> None:
    """Kill the driver whose files lie in the folder, and the browser that it started."""
    import psutil

    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR") == folder:
                for one in [*process.children(recursive=True), process]:
                    with contextlib.suppress(psutil.Error):
                        one.kill()


@contextlib.contextmanager
def _temporary_files() -> Iterator[str]:
    """Give the folder where browser and driver put their files; it goes, however they end.

    The driver removes its own when the browser closes, but not always when the browser was killed; and
    processes of a killed browser may still write while the folder is being removed.
    """
    place = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="browser-", dir=place if len(place) <= PLACE_MAX else "/tmp")
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = folder  # the driver is started with this process's environment
    try:
        yield folder
    finally:
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before
        deadline = time.monotonic() + REMOVED_SECONDS
        while Path(folder).exists() and time.monotonic() < deadline:
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(POLL_MILLISECONDS / 1000 if Path(folder).exists() else 0)


def _refuse(route: Any, seen: Visit) -> None:
    seen.foreign.append(route.request.url)
    route.abort()


def _check(seen: Visit, names: str, limit_bytes: int) -> None:
    """Raise RunnerFailed for what is wrong with the page."""
    if seen.crashed:
        raise RunnerFailed(
            f"the page with {names} crashed",
            received=f"a renderer process that ended; its last words: {last_words(seen.log)}",
            expected="a page that lives until it is done",
            fix="the file may be damaged, or need more memory than a page gets: inspect it, or build it again",
        )
    if seen.foreign:
        raise RunnerFailed(
            "the page asked for an address outside loopback",
            received=seen.foreign[0],
            expected="requests to the runner's own server; everything that LiteRT.js needs is installed from npm",
            fix="use the version of @litertjs/core that this package names",
        )
    peak = peak_resident_bytes(seen.renderers)
    if peak > limit_bytes:
        raise RunnerFailed(
            f"the page with {names} overran its memory limit",
            received=f"{peak / 1e6:.0f} MB resident",
            expected=f"at most {limit_bytes / 1e6:.0f} MB, of which an empty page with LiteRT.js takes about 190 MB",
            fix="raise limits.resident_megabytes in the target's TOML if the model is that large",
        )


def peak_resident_bytes(processes: list[int]) -> int:
    """Return the highest VmHWM of the processes that are still there, 0 where there is no /proc."""
    peaks = [0]
    for process in processes:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            peaks += [int(kilobytes) * 1024 for kilobytes in re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)]
    return max(peaks)


def last_words(log: list[str]) -> str:
    """Return the end of the console: what LiteRT calls an error, and what a page's scripts threw."""
    lines = [line for line in log if line.startswith("ERROR") or "Error: " in line.partition("\n")[0]]
    lines = [line.partition("\n")[0] for line in lines if "WebGPU device" not in line]  # there is none, as asked for
    return " | ".join(lines[-LOG_LINES:])[-800:] or "none"


def _late(names: str, seconds: float, results: Mapping[str, bytes]) -> RunnerFailed:
    return RunnerFailed(
        f"the page with {names} overran its time limit",
        received=f"no end after {seconds:g} s; the page was {results.get('state', b'not there yet').decode()}",
        expected=f"an end within {seconds:g} s",
        fix="raise limits.seconds in the target's TOML if the model is that slow",
    )
