"""What the browser runner needs besides this package: Playwright, a Chromium, and LiteRT.js from npm."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import EnvironmentUnsuited
from pipeline.lookup import project_root

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FOLDER = Path(__file__).with_name("_browser")  # the page, and package.json with the version of LiteRT.js
INSTALL_LITERTJS = f"npm install --no-package-lock --prefix '{FOLDER}'"


class Components(NamedTuple):
    """Where they are."""

    chromium: Path
    modules: Path  # the folder node_modules that holds @litertjs

    @property
    def chromium_version(self) -> str:
        return _chromium_version(self.chromium)

    @property
    def litertjs_version(self) -> str:
        return json.loads((self.modules / "@litertjs/core/package.json").read_text(encoding="utf-8"))["version"]


def find_components(chromium: Path | None, modules: Path | None) -> Components:
    """Return where they are: as told, or where they lie by default.

    Raises EnvironmentUnsuited for one that is not there, with the command that installs it.
    """
    for package in ("playwright", "psutil", "brotli"):
        if importlib.util.find_spec(package) is None:
            raise _missing(
                f"the Python package {package}", "not installed", "pip install 'edge-deployment-pipeline[browser]'"
            )
    root = project_root()  # where relative paths start
    found = str(root / chromium) if chromium else next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None or not Path(found).is_file():
        raise _missing(
            "Chromium",
            f"no file {found}" if found else f"none of {', '.join(CHROMIUMS)} on PATH",
            "apt-get install chromium; or set device.chromium in the target's TOML to the path of a Chromium",
        )
    folders = [root / modules] if modules else [root / "node_modules", FOLDER / "node_modules"]
    for folder in folders:
        if (folder / "@litertjs/core/package.json").is_file() and (folder / "@litertjs/wasm-utils").is_dir():
            return Components(Path(found), folder.resolve())
    wanted = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))["dependencies"]["@litertjs/core"]
    raise _missing(
        f"@litertjs/core {wanted}, which comes from npm",
        f"neither in {' nor in '.join(map(str, folders))}" if len(folders) > 1 else f"not in {folders[0]}",
        f"{INSTALL_LITERTJS}; or `npm install @litertjs/core@{wanted}` in the project's folder",
    )


def _missing(what: str, received: str, fix: str) -> EnvironmentUnsuited:
    return EnvironmentUnsuited(
        f"the runner browser needs {what}",
        received=received,
        expected="Playwright for Python, a Chromium of the system, and LiteRT.js from npm",
        fix=fix,
    )


@functools.cache
def _chromium_version(chromium: Path) -> str:
    try:
        done = subprocess.run([chromium, "--version"], capture_output=True, text=True, timeout=60, check=False)
        said = f"{done.stdout}{done.stderr}".strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    version = re.search(r"\bChrom\w* (\d+(\.\d+)+)", said)
    if not version:
        raise _missing(f"a Chromium, and {chromium} is none", said[-400:], "apt-get install --reinstall chromium")
    return version[1]
