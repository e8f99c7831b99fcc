"""Whether the packages are there, in the versions that this project takes."""

from __future__ import annotations

from pipeline.doctor.finding import Finding, State
from pipeline.doctor.requirements import UNTOLD, Required, install_command, installed, pinned, requirements


def packages() -> list[Finding]:
    """Return findings on the packages of every installation, the exact versions, and each extra."""
    there, required = installed(), requirements()
    base = _found("packages", [one for one in required if not one.extra], there, needed=True)
    extras = dict.fromkeys(one.extra for one in required if one.extra and one.extra not in UNTOLD)
    return [
        base,
        *exact_versions(there, pinned()),
        *(
            _found(f"extra {extra}", [one for one in required if one.extra == extra], there, needed=False, extra=extra)
            for extra in extras
        ),
    ]


def exact_versions(there: dict[str, str], exact: dict[str, str]) -> list[Finding]:
    """Return a finding on the versions that were tried together; none where they are not known."""
    if not exact:
        return []
    others = [
        f"{name} {version} for {exact[name]}"
        for name, version in sorted(there.items())
        if name in exact and version != exact[name]
    ]
    if others:
        shown = ", ".join(others[:6]) + (f" and {len(others) - 6} more" if len(others) > 6 else "")
        return [Finding("exact versions", True, "warning", f"not those tried together: {shown}", install_command())]
    same = sum(name in exact for name in there)
    return [Finding("exact versions", True, "ok", f"{same} packages as constraints.txt has them")]


def _found(name: str, required: list[Required], there: dict[str, str], *, needed: bool, extra: str = "") -> Finding:
    wrong = [text for one in required if (text := _wrong(one, there.get(one.name)))]
    if wrong:
        state: State = "failed" if needed else "missing"
        return Finding(name, needed, state, "; ".join(wrong), install_command(extra))
    told = ", ".join(f"{one.name} {there[one.name]}" for one in required)
    return Finding(name, needed, "ok", told)


def _wrong(required: Required, version: str | None) -> str:
    if version is None:
        return f"{required.name} is not installed"
    try:
        from packaging.requirements import Requirement
    except ImportError:  # comes with TensorFlow: where it is missing, so is that
        return ""
    allowed = Requirement(required.text).specifier
    return "" if allowed.contains(version, prereleases=True) else f"{required.name} {version} is not {allowed}"
