"""The system's Chromium at a report: what its console says and what it asks for is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")


class Visitor:
    """A browser with pages at reports."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    @contextmanager
    def at(self, address: str, *, dark: bool = False, width: int = 1280, print_media: bool = False) -> Iterator[Any]:
        """Open a page and wait until it is ready; nothing may be on its console nor asked of the network by the end."""
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", service_workers="block"
        )
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: _keep(said, request.url, address))
        try:
            page.goto(address)
            page.wait_for_selector("html[data-ready]")
            if print_media:
                page.emulate_media(media="print")
            yield page
            if said:
                raise AssertionError("\n".join(said))
        finally:
            context.close()


def _keep(said: list[str], url: str, address: str) -> None:
    own = {address, f"{address}events"} if address.startswith("http") else {address}
    if url.partition("#")[0].partition("?")[0] not in own and not url.startswith(("data:", "blob:")):
        said.append(f"asked for {url}")


def wait_until(page: Any, expression: str) -> None:
    """Wait until an expression is true; Playwright's own waiting evaluates in the page, whose policy forbids it."""
    for _ in range(400):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def draw_everything(page: Any) -> None:
    """Scroll through the page, so that every chart outside of folded parts is drawn."""
    page.evaluate(
        """async () => {
          for (const place of document.querySelectorAll('[data-chart]')) {
            if (place.closest('details:not([open])')) continue;
            place.scrollIntoView();
            for (let i = 0; i < 200 && !place.dataset.drawn; i++) await new Promise((done) => setTimeout(done, 25));
          }
          scrollTo(0, 0);
        }"""
    )


def screenshot(page: Any, name: str) -> None:
    """Keep a picture of the whole page where continuous integration collects them."""
    folder = Path(os.environ.get("REPORT_SCREENSHOTS") or REPOSITORY / "artifacts" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def violations(page: Any) -> list[str]:
    """Return what axe finds wrong, with where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]
