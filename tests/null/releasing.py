"""A project under git with a finished build, a changelog and a key, and releases made of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.null.cli import Project, Result

STEM = "grey-null-1.0.0"
CHANGELOG = "# Changelog\n\n## 1.1.0\n\nMore.\n\n## [1.0.0] - 2026-01-01\n\nFirst.\n"
EPOCH = {"SOURCE_DATE_EPOCH": "1767225600"}


def git(project: Project, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(project.root), *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def write_key(path: Path) -> Path:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path.with_suffix(".pub").write_bytes(public)
    return path


def commit(project: Project) -> None:
    if not (project.root / ".git").exists():
        git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=what is released")


def make_ready(built: Project) -> Project:
    """Put a project with a finished build under git, with a changelog and a key beside it."""
    built.add(".gitignore", "artifacts/\n__pycache__/\n")
    built.add("CHANGELOG.md", CHANGELOG)
    write_key(built.root.parent / "release.key")
    commit(built)
    return built


def release(project: Project, *arguments: str, version: str = "1.0.0", expect: int = 0, **options: Any) -> Result:
    key = f"--key={project.root.parent / 'release.key'}"
    flags = (f"--version={version}", "--workload=grey", key, *arguments)
    return project.run("release", *flags, expect=expect, **options)
