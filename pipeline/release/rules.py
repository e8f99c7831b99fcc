"""When a release is refused: each rule one function, which raises ReleaseRefused and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ReleaseRefused
from pipeline.lookup import PACKAGE
from pipeline.release.git import GitState, commit_of_tag, is_tracked
from pipeline.release.manifest import is_version

if TYPE_CHECKING:
    from pipeline.documents import BuildDocument
    from pipeline.plan import Plan
    from pipeline.regression import Change

CHANGELOG = "CHANGELOG.md"
_SHOWN = 5  # changed files that a message names


def refuse_version(version: str) -> None:
    """Raise for what is no version."""
    if not is_version(version):
        raise ReleaseRefused(
            "--version is no version",
            received=version or "nothing",
            expected="MAJOR.MINOR.PATCH, or MAJOR.MINOR.PATCH-PRERELEASE, by Semantic Versioning",
            fix="--version=1.2.0",
        )


def refuse_unclean(git: GitState) -> None:
    """Raise where the tree is not what the commit holds: nobody could build it again."""
    if git.changed:
        more = f" and {len(git.changed) - _SHOWN} more" if len(git.changed) > _SHOWN else ""
        raise ReleaseRefused(
            "the git tree is not clean",
            received=", ".join(git.changed[:_SHOWN]) + more,
            expected="no file that differs from the commit or is not in it",
            fix="commit these files, or list them in .gitignore",
        )


def refuse_uncommitted(root: Path, source: Path) -> None:
    """Raise for a workload's file that is ignored or lies elsewhere: the commit does not hold it, the tree is clean."""
    if not source.resolve().is_relative_to(PACKAGE.resolve()) and not is_tracked(root, source.resolve()):
        raise ReleaseRefused(
            "the workload is in no commit of this project",
            received=str(source),
            expected="a file that git tracks, since a release says which commit it was made from",
            fix=f"move it into {root}, and commit it",
        )


def refuse_taken_tag(root: Path, version: str, git: GitState) -> None:
    """Raise where the version's tag names another commit. One that names this commit is what a release job runs on."""
    for tag in (f"v{version}", version):
        named = commit_of_tag(root, tag)
        if named and named != git.commit:
            raise ReleaseRefused(
                f"the tag {tag} is not new",
                received=f"{tag} at {named[:12]}, and the commit {git.commit[:12]}",
                expected="no such tag, or one at the commit that is checked out",
                fix=f"take a new version, or check {tag} out",
            )


def refuse_without_changelog(root: Path, version: str) -> None:
    """Raise where no heading of CHANGELOG.md names the version."""
    path = root / CHANGELOG
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = None
    heading = re.compile(rf"^#{{1,4}}\s+\[?v?{re.escape(version)}\]?(?![\w.+-]*[\w+-])", re.MULTILINE)
    if text is None or not heading.search(text):
        raise ReleaseRefused(
            f"{CHANGELOG} does not have the version {version}",
            received="no such file" if text is None else "no heading with it",
            expected=f"a heading such as `## {version}`, and under it what changed for those who use it",
            fix=f"write it into {path}, and commit it",
        )


def refuse_stale(build: BuildDocument, plan: Plan) -> None:
    """Raise where a build was made from another recipe, source or data than those that are there now."""
    made = {stage.name: stage.key for stage in build.stages}
    now = {stage.name: stage.key for stage in plan.stages}
    changed = [name for name in (*now, *(made.keys() - now.keys())) if made.get(name) != now.get(name)]
    if changed:
        raise ReleaseRefused(
            f"the build of {build.target} is not of this commit",
            received=f"other keys of the stages {', '.join(changed)}",
            expected="a build of the recipe, the sources and the data as they are now",
            fix=f"{_build_again(build)}; --explain says what changed",
        )


def refuse_verdicts(builds: Sequence[BuildDocument], *, accept_inconclusive: bool) -> None:
    """Raise unless every budget that binds passes, or is inconclusive and accepted."""
    for build in builds:
        for outcome in ("fail", "inconclusive"):
            named = [verdict for verdict in build.verdicts if verdict.verdict == outcome]
            if not named or (outcome == "inconclusive" and accept_inconclusive):
                continue
            first = named[0]
            raise ReleaseRefused(
                f"{build.target} does not pass: {outcome}: {', '.join(verdict.metric for verdict in named)}",
                received=f"{first.metric} {first.measured if first.measured is not None else 'not measured'}",
                expected=f"a limit of {first.limit} that is kept",
                fix="build a file that passes, or leave the target out of --targets"
                if outcome == "fail"
                else f"measure again on a quiet machine ({_build_again(build)} --force), or --accept-inconclusive",
            )
        if not build.verdicts:
            raise ReleaseRefused(
                f"{build.target} has no budget",
                received="a target without [budgets]",
                expected="limits that the file was held against",
                fix=f"give targets/{build.target}.toml budgets, and build it again",
            )


def _build_again(build: BuildDocument) -> str:
    return f"invoke build --target={build.target} --workload={build.workload_file or build.workload}"


def refuse_regressions(changes: dict[str, list[Change]], previous: str, reason: str) -> bool:
    """Raise where a target is worse than in the previous release beyond the interval, and no reason is given.

    Returns whether the reason was needed.
    """
    worse = [(target, change) for target, found in changes.items() for change in found if change.outcome == "worse"]
    if worse and not reason.strip():
        shown = [f"{target} {change.metric} {change.before:g} → {change.now:g}" for target, change in worse]
        raise ReleaseRefused(
            f"worse than {previous}",
            received=", ".join(shown),
            expected=f"nothing that is worse than in {previous} beyond the interval",
            fix='mend it, or give the reason, which is published: --allow-regression="why"',
        )
    return bool(worse)
