"""Makes the README's pictures anew: `PYTHONPATH=. python -P docs/make_pictures.py [picture …]`.

`pictures/stamps.json` has, for each picture, the SHA-256 over the files that shape it; a test compares, so that a
picture which shows what is no longer so is noticed. The report needs finished builds in artifacts/ and Chromium;
the build is a real one, of minutes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
STAMPS = PICTURES / "stamps.json"
WIDTH, HEIGHT = 1120, 860  # pixels
COLUMNS = 104


def report(path: Path) -> None:
    """Picture the top of the history's report, as it opens."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        page_file = Path(name) / "report.html"
        subprocess.run([sys.executable, "-m", "invoke", "report", f"--out={page_file}"], cwd=ROOT, check=True)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", chromium_sandbox=False)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(page_file.as_uri())
        page.wait_for_selector("[data-chart][data-drawn]")
        page.wait_for_timeout(1500)
        page.screenshot(path=path)
        browser.close()
    _fewer_colours(path)


def _fewer_colours(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def build(path: Path) -> None:
    """Record a whole build as its terminal shows it at the end: minutes, since every stage is made anew."""
    sys.path.insert(0, str(Path(__file__).parent))
    from recording import last_screen, picture, run_on_terminal

    command = ["build", "--target=mobile", "--force"]
    written = run_on_terminal([sys.executable, "-m", "invoke", *command], COLUMNS, ROOT)
    prompt = f"$ invoke {' '.join(command)}\n"
    path.write_text(picture(prompt + last_screen(written), COLUMNS, "invoke build"), encoding="utf-8")


# Each picture: what makes it, and the files that it is out of date without.
PAGE_FILES = ("pipeline/report/page/**/*.py", "pipeline/report/page/templates/*", "pipeline/report/page/assets/page.*")
TERMINAL_FILES = tuple(
    f"pipeline/report/{name}.py" for name in ("terminal", "time_left", "tables", "folding_table", "device")
)
MADE: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "report.png": (report, PAGE_FILES),
    "build.svg": (build, TERMINAL_FILES),
}


def stamp(patterns: tuple[str, ...]) -> str:
    """Return the SHA-256 over names and contents of the files that match, in the order of their names."""
    files = sorted({path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()})
    digest = hashlib.sha256()
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(ROOT).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def main(names: list[str]) -> None:
    stamps = json.loads(STAMPS.read_text(encoding="utf-8")) if STAMPS.is_file() else {}
    for name in names or list(MADE):
        make, sources = MADE[name]
        PICTURES.mkdir(exist_ok=True)
        make(PICTURES / name)
        stamps[name] = stamp(sources)
    STAMPS.write_text(json.dumps(stamps, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
