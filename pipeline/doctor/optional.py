"""What only some targets and tasks need: each with the command that installs it, in the runner's own words."""

from __future__ import annotations

import shutil

from pipeline.doctor.finding import Finding, looked_at
from pipeline.errors import EnvironmentUnsuited


def optional() -> list[Finding]:
    """Return a finding on the sandbox, each runner besides the host's, and git."""
    looks = {
        "sandbox": _bubblewrap,
        "runner adb": _adb,
        "runner ssh": _ssh,
        "runner browser": _browser,
        "runner tflm": _tflm,
        "runner vela": _vela,
        "git": _git,
    }
    return [looked_at(name, False, look) for name, look in looks.items()]


def _bubblewrap() -> str:
    from pipeline.runners._sandbox import INSTALL, why_unusable

    if refused := why_unusable():
        raise EnvironmentUnsuited(
            "files from anyone run without a sandbox",
            received=refused.removesuffix(f": {INSTALL}"),
            fix=INSTALL if INSTALL in refused else "bwrap --unshare-all --ro-bind / / true",
        )
    return "bubblewrap confines interpreters"


def _adb() -> str:
    from pipeline.runners._adb_client import adb

    return adb(None, "version", seconds=20).splitlines()[0]


def _ssh() -> str:
    from pipeline.runners.ssh import no_client

    if not (found := shutil.which("ssh")):
        raise no_client()
    return found


def _browser() -> str:
    from pipeline.runners._browser_components import find_components

    found = find_components(None, None)
    return f"Chromium {found.chromium_version}, LiteRT.js {found.litertjs_version}"


def _tflm() -> str:
    from pipeline.runner import Settings
    from pipeline.runners import tflm

    return f"tflite-micro {tflm.device(Settings()).fingerprint[tflm.PACKAGE]}"


def _vela() -> str:
    from pipeline.runners._vela_compile import vela_distribution

    return f"ethos-u-vela {vela_distribution().version}"


def _git() -> str:
    if not (found := shutil.which("git")):
        raise EnvironmentUnsuited("releases need git", received="no program named git", fix="apt-get install git")
    return found
