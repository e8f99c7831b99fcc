"""The documentation site: built without a warning, complete, and asking no other server for anything."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from docs_blocks import ROOT, SOURCES
from pydantic import BaseModel

from docs.made.fields import field_tables
from docs.made.links import linked
from docs.made.measured import measured_techniques
from docs.made.pages import modules, shipped_techniques, toml_models
from pipeline.schemas import DOCUMENTS

LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in a process of its own as continuous integration does."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def text_of(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def test_every_task_has_a_page_with_every_flag_and_its_help(site: Path) -> None:
    code = """
import json
from pipeline.tasks import namespace
tasks = {}
for name in namespace.task_names:
    arguments = namespace[name].get_arguments()
    tasks[name] = {argument.attr_name or argument.name: argument.help for argument in arguments}
print(json.dumps(tasks))
"""
    # Invoke takes a flag's help out of its task as it is read, so this is for a process of its own.
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    tasks = json.loads(done.stdout)
    assert len(tasks) > 20
    for name, flags in tasks.items():
        page = words_of(site, f"reference/tasks/{name}.html")
        command = name.removesuffix(".list")
        assert re.search(
            rf"<code>.*\binvoke {command}\b",
            re.sub(r"</?(span|a)\b[^>]*>", "", text_of(site, f"reference/tasks/{name}.html")),
        )
        for flag, said in flags.items():
            assert f"--{flag.replace('_', '-')}" in page, (name, flag)
            assert " ".join((said or "").replace("`", "").split()) in page, (name, flag)


def words_of(site: Path, page: str) -> str:
    """Return a page's text without its tags, as one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text_of(site, page))).split())


def test_every_step_technique_document_and_target_has_its_page(site: Path) -> None:
    for name in modules("pipeline.steps"):
        assert f"Step {name}" in text_of(site, f"steps/{name}.html")
    techniques = text_of(site, "techniques.html")
    for name in shipped_techniques():
        assert f'id="{name}"' in techniques
    for name in DOCUMENTS:
        assert f"Document {name}" in text_of(site, f"reference/documents/{name}.html")
    for path in (ROOT / "targets").glob("*.toml"):
        assert f"invoke build --target={path.stem}" in words_of(site, f"targets/{path.stem}.html")


def all_models() -> Iterator[type[BaseModel]]:
    for models in toml_models().values():
        for _, model in models:
            yield model
    for module in modules("pipeline.steps").values():
        yield module.Config


def test_every_key_that_people_write_is_described() -> None:
    missing = [
        f"{model.__module__}.{model.__name__}.{name}"
        for model in all_models()
        for name, field in model.model_fields.items()
        if not (field.description or "").strip()
    ]
    assert missing == []


def test_every_key_that_people_write_is_on_a_page(site: Path) -> None:
    for page, models in toml_models().items():
        text = text_of(site, f"reference/toml/{page}.html")
        for _, model in models:
            for name in model.model_fields:
                assert f"<code>{name}</code>" in text, (page, name)
    for step, module in modules("pipeline.steps").items():
        for name in module.Config.model_fields:
            assert f"<code>{name}</code>" in text_of(site, f"steps/{step}.html"), (step, name)


def test_a_field_says_its_bounds_and_its_default() -> None:
    from pipeline.target import Limits

    table = field_tables(Limits)
    assert (
        "| `resident_megabytes` | whole number, over 0, at most 1,048,576 | `2048` | Resident memory in megabytes. |"
        in table
    )


def test_measured_rows_are_those_of_the_results() -> None:
    rows = measured_techniques(ROOT)
    assert set(rows) <= {*shipped_techniques(), "target"}
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    for name, row in rows.items():
        line = next(line for line in text.splitlines() if re.search(rf"^[ ★◆]+{name} .*{row['bytes']}", line))
        assert row["test"] in line
        assert row["test"].endswith("%")
        assert row["of float32's"].endswith("×")


# ---------------------------------------------------------------- links


class Asked(HTMLParser):
    """Addresses that a page loads by itself, without a click."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"script", "img", "iframe", "source", "video"} and given.get("src"):
            self.addresses.append(str(given["src"]))
        if tag == "link" and given.get("href") and given.get("rel") not in {"canonical", "prev", "next"}:
            self.addresses.append(str(given["href"]))


def test_no_page_asks_another_server(site: Path) -> None:
    for path in site.rglob("*.html"):
        asked = Asked()
        asked.feed(path.read_text(encoding="utf-8"))
        assert asked.addresses
        assert [address for address in asked.addresses if urlsplit(address).netloc] == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


def anchors(path: Path) -> set[str]:
    """Return the anchors of a Markdown file's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("source", [*SOURCES, "CHANGELOG.md"])
def test_links_lead_somewhere(source: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / source).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    made = re.compile(
        r"^(\.\./)*(steps|examples|reference)/|^(\.\./)*(techniques|results|records|readme|changelog)\.md"
    )
    for link in LINK.findall(text):
        address = urlsplit(link)
        if address.scheme:
            assert address.scheme == "https", f"{source}: {link}"
            assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]+", address.netloc), f"{source}: {link}"
            continue
        if source.startswith("docs/") and made.match(address.path):
            continue  # pages that are made: the strict build checks these
        path = (ROOT / source).parent / address.path if address.path else ROOT / source
        assert path.exists(), f"{source}: {link}"
        if address.fragment and path.suffix == ".md":
            assert address.fragment in anchors(path), f"{source}: {link}"


@pytest.mark.parametrize(
    ("text", "source", "page", "expected"),
    [
        ("[d](docs/data.md#x)", "README.md", "readme.md", "[d](data.md#x)"),
        ("[e](examples)", "README.md", "readme.md", "[e](examples/index.md)"),
        ("[r](../../README.md#a)", "examples/x/README.md", "examples/x.md", "[r](../readme.md#a)"),
        ("[p](pipeline/plan.py)", "README.md", "readme.md", "`pipeline/plan.py`"),
        ("[p](pipeline/no.py)", "README.md", "readme.md", "[p](pipeline/no.py)"),
        ("[s](schemas/ci.json)", "docs/x.md", "x.md", "[s](schemas/ci.json)"),
        ("```\n[e](examples)\n```\n", "README.md", "readme.md", "```\n[e](examples)\n```\n"),
    ],
)
def test_links_to_files_become_links_to_pages(text: str, source: str, page: str, expected: str) -> None:
    assert linked(text, source, page) == expected
