"""What git says of the tree that a release is made from, asked of the `git` command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import ReleaseRefused
from pipeline.release.destination import without_secrets


@dataclass(frozen=True)
class GitState:
    """The commit that is checked out, and what differs from it."""

    commit: str
    committed_at: datetime  # UTC
    changed: tuple[str, ...]  # files that differ from the commit or are not in it
    repository: str  # URL of the remote `origin` without user and password; "" where there is none


def git_state(root: Path) -> GitState:
    """Return the state of the repository that `root` lies in. Raises ReleaseRefused where there is none."""
    commit = _git(root, "rev-parse", "--verify", "HEAD^{commit}")
    if commit is None:
        raise ReleaseRefused(
            f"{root} is no git repository with a commit",
            received="no commit that a release could name",
            expected="a project under git, since a release says what it was made from",
            fix="git init && git add . && git commit",
        )
    stamp = _git(root, "show", "--no-patch", "--format=%ct", "HEAD") or "0"
    status = _git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all")
    if status is None:  # no answer is not a clean tree
        raise ReleaseRefused(
            "git cannot compare the tree with its commit",
            received="git status failed",
            expected="a sound repository",
            fix=f"mend what `git status` says in {root}",
        )
    remote = _git(root, "config", "--get", "remote.origin.url") or ""
    return GitState(
        commit=commit,
        committed_at=datetime.fromtimestamp(int(stamp), UTC),
        changed=tuple(entry[3:] for entry in status.split("\0") if len(entry) > 3 and entry[2] == " "),
        repository=without_secrets(remote) if urlsplit(remote).scheme in ("http", "https", "ssh", "git") else "",
    )


def commit_of_tag(root: Path, tag: str) -> str | None:
    """Return the commit that a tag of this repository names; None where there is no such tag."""
    return _git(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")


def is_tracked(root: Path, path: Path) -> bool:
    """True for a file that the repository of `root` has, and does not merely ignore."""
    return _git(root, "ls-files", "--error-unmatch", "--", str(path)) is not None


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, without the last line's end; None where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise ReleaseRefused(
            "git is not installed",
            received="no command git",
            expected="git, which says what a release is made from",
            fix="install git, such as by apt-get install git",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ReleaseRefused(
            "git does not answer",
            received=f"no answer to git {arguments[0]} in 60 s",
            expected="the state of the repository",
            fix=f"try git {arguments[0]} in {root}",
        ) from error
    return done.stdout.decode("utf-8", "replace").rstrip("\n") if done.returncode == 0 else None
