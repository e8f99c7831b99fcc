"""Reports in a real headless Chromium: drawn, explored, dark, narrow, printed, by keyboard, clean by axe's rules."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_browser import CHROMIUM, Visitor, draw_everything, screenshot, violations, wait_until
from report_samples import HOSTILE, anatomy, build, comparison, history

from pipeline.report.page.build_page import build_page
from pipeline.report.page.comparison_page import comparison_page
from pipeline.report.page.history_page import history_page
from pipeline.report.page.page import page_html
from pipeline.report.page.pieces import Page, charts_of
from tests.null.cli import Project

if not CHROMIUM.is_file():  # continuous integration installs it: .ci/devices/browser.sh
    pytest.skip("there is no /usr/bin/chromium: apt-get install chromium", allow_module_level=True)

KINDS = ("build", "comparison", "history")
FRONTS = ("comparison", "history")


def pages(name: str = "one") -> dict[str, Page]:
    recipes = {"mnist/mobile": "train → quantize (int8)", "mnist/browser": "train → prune"}
    return {
        "build": build_page(build(), anatomy(name)),
        "comparison": comparison_page(comparison(name)),
        "history": history_page([build(), build("browser", size=600)], history(), recipes=recipes, reports={}),
    }


@pytest.fixture(scope="module")
def visitor() -> Iterator[Visitor]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, chromium_sandbox=os.geteuid() != 0, args=["--disable-gpu"]
        )
        yield Visitor(browser)
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the address of the report of each kind; they lie on the disk."""
    folder = tmp_path_factory.mktemp("reports")
    return {kind: _written(folder / f"{kind}.html", page) for kind, page in pages().items()}


def _written(path: Path, page: Page) -> str:
    path.write_text(page_html(page, "made for a test"), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_drawn_and_accessible(
    visitor: Visitor, reports: dict[str, str], kind: str, theme: str, width: int
) -> None:
    with visitor.at(reports[kind], dark=theme == "dark", width=width) as page:
        draw_everything(page)
        assert page.locator("[data-chart]").count() == len(charts_of(pages()[kind].sections))
        assert page.locator("[data-chart]:not([data-drawn])").count() == 0
        empty = "places => places.filter(p => !p.querySelector('svg path, svg text')).map(p => p.dataset.chart)"
        assert page.eval_on_selector_all("[data-chart]", empty) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert violations(page) == []
        screenshot(page, f"{kind}-{theme}-{width}")


def test_axe_would_notice(visitor: Visitor, reports: dict[str, str]) -> None:
    with visitor.at(reports["build"]) as page:
        page.evaluate("document.querySelector('#theme').labels[0].remove()")
        assert any(found.startswith("select-name") for found in violations(page))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_kinds_of_bytes_have_the_colours_of_their_rectangles(
    visitor: Visitor, reports: dict[str, str], theme: str
) -> None:
    with visitor.at(reports["build"], dark=theme == "dark") as page:
        draw_everything(page)
        swatches = "spans => spans.map(span => getComputedStyle(span).backgroundColor)"
        legend = page.eval_on_selector_all("#bytes .swatch", swatches)
        fills = "paths => paths.map(path => getComputedStyle(path).fill)"
        drawn = page.eval_on_selector_all("[data-chart=treemap] .mark-rect path", fills)
        assert len(legend) == len(set(legend)) > 1
        assert set(legend) == set(drawn)


@pytest.mark.parametrize("kind", FRONTS)
def test_a_point_tells_its_recipe_and_a_click_filters(visitor: Visitor, reports: dict[str, str], kind: str) -> None:
    with visitor.at(reports[kind]) as page:
        front = page.locator("[data-front]")
        point = front.locator("[data-plot] .mark-symbol path[cursor=pointer], [data-plot] .mark-symbol path").last
        point.scroll_into_view_if_needed()
        point.hover()
        page.wait_for_selector("#vg-tooltip-element.visible")
        told = page.locator("#vg-tooltip-element").inner_text()
        assert re.search(r"recipe:?\s+(train|prune|quantize|of an earlier build)", told), told
        rows = front.locator("tbody tr:visible")
        assert rows.count() == 3
        point.click()
        wait_until(page, "document.querySelectorAll('tr[data-point]:not([hidden])').length === 1")
        assert _points(page) == 1
        assert front.locator(".chosen").inner_text() != ""
        front.get_by_role("button", name="Show all").click()
        wait_until(page, "document.querySelectorAll('tr[data-point]:not([hidden])').length === 3")
        assert _points(page) == 3


def _points(page: Any) -> int:
    page.wait_for_timeout(300)
    return page.locator("[data-front] [data-plot] .mark-symbol path").count()


@pytest.mark.parametrize("kind", FRONTS)
def test_axes_and_targets_are_chosen(visitor: Visitor, reports: dict[str, str], kind: str) -> None:
    with visitor.at(reports[kind]) as page:
        page.get_by_label("Across").select_option("p50_us")
        page.get_by_label("Upwards").select_option("size_bytes")
        wait_until(
            page, "document.querySelector('[data-plot]').textContent.includes('median latency in µs (less is better)')"
        )
        assert "size in bytes (less is better)" in page.locator("[data-plot]").inner_text()
        group = page.locator(".groups button").first
        assert group.get_attribute("aria-pressed") == "true"
        shown = page.locator("tr[data-point]:visible").count()
        group.click()
        assert group.get_attribute("aria-pressed") == "false"
        assert page.locator("tr[data-point]:visible").count() < shown == 3
        assert _points(page) == page.locator("tr[data-point]:visible").count()


def test_the_front_is_of_those_that_no_other_beats(visitor: Visitor, reports: dict[str, str]) -> None:
    """Of 500 B at 99.4%, 444 B at 99.5% and 600 B at 99.7% the first is beaten; hollow points are beaten ones."""
    with visitor.at(reports["history"]) as page:
        page.wait_for_selector("[data-plot][data-drawn]")
        fills = page.eval_on_selector_all(
            "[data-plot] .mark-symbol path", "all => all.map(one => one.getAttribute('fill'))"
        )
        panel = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--panel').trim()")
        assert len(fills) == 3
        assert fills.count(panel) == 1


def test_the_theme_is_chosen_and_kept(visitor: Visitor, reports: dict[str, str]) -> None:
    with visitor.at(reports["build"]) as page:
        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ground)
        page.get_by_label("Theme").select_option("dark")
        dark = page.evaluate(ground)
        assert light != dark
        page.emulate_media(color_scheme="dark")
        page.get_by_label("Theme").select_option("light")
        assert page.evaluate(ground) == light
        page.reload()
        page.wait_for_selector("html[data-ready]")
        assert page.evaluate(ground) == light


def test_charts_take_the_colours_of_the_theme(visitor: Visitor, reports: dict[str, str]) -> None:
    with visitor.at(reports["build"]) as page:
        page.wait_for_selector("[data-chart=budgets-build][data-drawn]")
        fill = "document.querySelector('[data-chart=budgets-build] .mark-rect path').getAttribute('fill')"
        light = page.evaluate(fill)
        page.get_by_label("Theme").select_option("dark")
        wait_until(page, f"{fill} !== {light!r}")


def test_by_keyboard_alone(visitor: Visitor, reports: dict[str, str]) -> None:
    with visitor.at(reports["history"]) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
        assert page.evaluate("document.activeElement.getBoundingClientRect().top >= 0")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        seen = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.add(page.evaluate("document.activeElement.tagName + (document.activeElement.dataset.axis ?? '')"))
            at_body = page.evaluate("document.activeElement === document.body")
            assert at_body or page.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'")
            if page.evaluate("!!document.activeElement.closest('tr[data-point]')"):
                break
        assert {"A", "SUMMARY", "SELECTx", "SELECTy", "BUTTON"} <= seen
        page.keyboard.press("Enter")
        wait_until(page, "document.querySelectorAll('tr[data-point]:not([hidden])').length === 1")


def test_print_has_everything(visitor: Visitor, reports: dict[str, str]) -> None:
    with visitor.at(reports["build"], dark=True) as page:
        page.evaluate("window.print = () => { window.printed = true; }")
        page.get_by_role("button", name="Print").click()
        wait_until(page, "window.printed")
        page.emulate_media(media="print")
        assert page.locator("[data-chart]:not([data-drawn])").count() == 0
        assert page.locator("details.folded:not([open])").count() == 0
        assert page.locator("nav").is_hidden()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert len(page.pdf()) > 20_000
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details.folded[open]").count() == 0


def test_the_browsers_own_printing_has_every_chart_on_white(visitor: Visitor, reports: dict[str, str]) -> None:
    with visitor.at(reports["build"], dark=True) as page:
        wait_until(page, "document.querySelectorAll('section > * [data-chart]:not([data-drawn])').length === 0")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print", color_scheme="dark")
        assert (
            page.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor") == "rgb(255, 255, 255)"
        )
        assert page.evaluate("getComputedStyle(document.querySelector('.plot')).filter").startswith("invert")
        screenshot(page, "build-print-from-dark")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.evaluate("getComputedStyle(document.querySelector('.plot')).filter") == "none"


def test_the_file_that_a_server_left_asks_nobody(visitor: Visitor, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page_html(pages()["history"], "made for a test", live="1"), encoding="utf-8")
    with visitor.at(path.as_uri()) as page:
        assert page.locator("#live").is_hidden()


def test_every_chart_has_its_numbers_in_words(visitor: Visitor, reports: dict[str, str]) -> None:
    with visitor.at(reports["build"]) as page:
        draw_everything(page)
        charts = page.locator("[data-chart] svg")
        names = charts.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
        assert len(names) == len(charts_of(pages()["build"].sections))
        assert all(names)
        summary = page.get_by_text("loss as a table")
        summary.click()
        assert page.get_by_role("table", name="loss, epoch by epoch").is_visible()


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_run_nothing(visitor: Visitor, kind: str, tmp_path: Path) -> None:
    hostile = pages(HOSTILE)
    hostile["history"] = history_page(
        [build(workload=HOSTILE)], history(), recipes={f"{HOSTILE}/mobile": HOSTILE}, reports={}
    )
    with visitor.at(_written(tmp_path / "hostile.html", hostile[kind])) as page:
        draw_everything(page)
        assert page.locator("[data-chart]:not([data-drawn])").count() == 0
        if kind in FRONTS:
            page.locator("tr[data-point] button").last.click()
            page.locator("[data-plot] .mark-symbol path").first.hover()
        assert page.title() != "owned"


def test_the_policy_refuses_what_slips_through(visitor: Visitor, reports: dict[str, str], tmp_path: Path) -> None:
    html = page_html(pages()["build"], "MARK").replace("MARK", "<script>document.title='owned'</script>")
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    with pytest.raises(AssertionError, match="Content Security Policy"), visitor.at(path.as_uri()) as page:
        assert page.title() != "owned"


def test_specifications_fit_the_schema_of_vega_lite(visitor: Visitor, reports: dict[str, str]) -> None:
    """Vega-Lite's compiler warns of what it does not know; it must say nothing of any chart."""
    with visitor.at(reports["build"]) as page:
        warned = page.evaluate(
            """() => {
              const warned = [];
              const keep = (...m) => (warned.push(m.join()), logger), quiet = () => logger;
              const logger = { level: quiet, error: keep, warn: keep, info: quiet, debug: quiet };
              const { charts } = JSON.parse(document.getElementById('report-data').textContent);
              for (const [name, { spec }] of Object.entries(charts)) {
                if (spec.$schema) vega.parse({ ...spec, $schema: undefined }, null, { ast: true });
                else vegaLite.compile({ autosize: { type: 'fit-x' }, ...spec }, { logger });
              }
              return warned;
            }"""
        )
        assert warned == []


def test_a_served_page_reloads_while_a_build_runs(visitor: Visitor, tmp_path: Path) -> None:
    project = Project.create(tmp_path)
    server = project.start("report", "--serve", "--port=0")
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/", server.stderr.readline())  # type: ignore[union-attr]
        assert address
        with visitor.at(address[0]) as page:
            assert "nothing has been built here" in page.locator("main").inner_text()
            assert page.locator("#live").inner_text() == "live"
            project.build()
            page.wait_for_selector("h3:has-text('grey for null')")
    finally:
        server.kill()
        server.communicate()
