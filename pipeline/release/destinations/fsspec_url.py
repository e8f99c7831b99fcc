"""Folders, S3, Google's storage, and any other URL that fsspec opens; `_layout.py` says how releases lie there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentUnsuited, ReleaseRefused
from pipeline.release.destination import Destination, Patience, without_secrets
from pipeline.release.destinations._folder_objects import FolderObjects
from pipeline.release.destinations._fsspec_objects import FsspecObjects
from pipeline.release.destinations._layout import Releases

SCHEMES = ("", "file", "s3", "s3a", "gs", "gcs")  # "": a path, and whatever else fsspec knows
EXTRA = "release"
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


def open_destination(url: str, patience: Patience = Patience()) -> Destination:  # noqa: B008 (it is frozen)
    """Return the place that `url` names. Raises ReleaseRefused for what is none, EnvironmentUnsuited without fsspec."""
    folder = local_folder(url)
    if folder is not None:
        return Releases(FolderObjects(folder, patience))
    scheme = url.partition(":")[0].lower()
    try:
        files, base = _opened(scheme, url, patience)
    except ImportError as error:
        extra = _EXTRAS.get(scheme, EXTRA)
        raise EnvironmentUnsuited(
            f"{without_secrets(url)} needs {error.name or scheme}, which is not installed",
            received="no such module",
            expected=f"the libraries of the extra {extra!r}, or those that fsspec names for {scheme}",
            fix=f"pip install 'edge-deployment-pipeline[{extra}]'",
        ) from error
    kind = _kind(scheme)
    return Releases(kind(files, base.rstrip("/"), without_secrets(url).rstrip("/"), patience))


def local_folder(url: str) -> Path | None:
    """Return the folder of this machine that a path or a file:// URL names; None for any other URL."""
    if url.startswith("file://"):
        return Path(os.path.abspath(url.removeprefix("file://")))
    if "://" in url or "::" in url:
        return None
    if not url or "\0" in url:
        raise ReleaseRefused(
            "that is no place for releases", received=repr(url[:100]), expected="a folder or a URL", fix="--to=DIR"
        )
    return Path(os.path.abspath(Path(url).expanduser()))


def _opened(scheme: str, url: str, patience: Patience) -> tuple[Any, str]:
    """Return the file system and the path in it."""
    import fsspec

    if scheme in ("s3", "s3a", "gs", "gcs"):
        if scheme.startswith("s3"):
            from pipeline.release.destinations import _s3_objects as module
        else:
            from pipeline.release.destinations import _gcs_objects as module  # type: ignore[no-redef]
        base = url.partition("://")[2].strip("/")
        if not base or not base.isprintable():
            raise ReleaseRefused(
                f"{url} names no bucket",
                received=url,
                expected=f"{scheme}://BUCKET/PREFIX",
                fix=f"--to={scheme}://BUCKET/PREFIX",
            )
        return module.file_system(patience), base
    try:
        return fsspec.core.url_to_fs(url)
    except (ValueError, TypeError, OSError) as error:
        raise ReleaseRefused(
            f"{without_secrets(url)} cannot be opened",
            received=without_secrets(str(error)).splitlines()[0][:200] if str(error) else type(error).__name__,
            expected="a folder, or a URL that fsspec knows",
            fix="correct the URL",
        ) from None


def _kind(scheme: str) -> type[FsspecObjects]:
    if scheme.startswith("s3"):
        from pipeline.release.destinations._s3_objects import S3Objects

        return S3Objects
    if scheme in ("gs", "gcs"):
        from pipeline.release.destinations._gcs_objects import GcsObjects

        return GcsObjects
    return FsspecObjects
