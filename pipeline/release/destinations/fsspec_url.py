"""Releases in a folder, in S3, in Google's storage, or at any other URL that fsspec knows.

A folder is locked and written by rename (`_folder.py`); S3 (`_s3.py`) and Google's storage (`_gcs.py`) have
conditional writes; elsewhere (`_any.py`) only one publisher at a time is safe. Credentials and endpoints are found
by the stores' own libraries, in the environment: AWS_PROFILE, AWS_ENDPOINT_URL_S3, GOOGLE_APPLICATION_CREDENTIALS,
STORAGE_EMULATOR_HOST, …
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import EnvironmentUnsuited, ReleaseRefused
from pipeline.release.destination import Destination, Patience, without_secrets
from pipeline.release.destinations._folder import FolderObjects
from pipeline.release.destinations._layout import Releases
from pipeline.release.destinations._objects import Objects

SCHEMES = ("", "file", "s3", "s3a", "gs", "gcs", "memory")  # and any other that fsspec knows
EXTRA = "release"
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


def open_destination(url: str, patience: Patience) -> Destination:
    """Return the releases at a URL or in a folder; nothing is asked of it yet."""
    return Releases(_objects(url, patience))


def _objects(url: str, patience: Patience) -> Objects:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)(://|::)", url)
    scheme = found[1].lower() if found else "file"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)", url):  # not a drive's letter: a slash is missing
        raise _no_place(without_secrets(url), "two slashes after the scheme, as in s3://BUCKET/FOLDER")
    if scheme == "file" and "::" not in url:
        return FolderObjects(folder_of(url), patience)
    shown = without_secrets(url).rstrip("/")
    try:
        if scheme in EXTRAS and "::" not in url:
            bucket, _, prefix = url.split("://", 1)[1].strip("/").partition("/")
            if not bucket or re.search(r"[?#\s]", url):
                raise _no_place(shown, f"{scheme}://BUCKET/FOLDER")
            if scheme.startswith("s3"):
                from pipeline.release.destinations._s3 import open_s3

                return open_s3(bucket, prefix, shown, patience)
            from pipeline.release.destinations._gcs import open_gcs

            return open_gcs(bucket, prefix, shown, patience)
        import fsspec

        from pipeline.release.destinations._any import AnyObjects

        system, root = fsspec.core.url_to_fs(url)
        return AnyObjects(system, root, shown, patience)
    except ImportError as error:
        extra = EXTRAS.get(scheme, EXTRA)
        raise EnvironmentUnsuited(
            f"{scheme}:// needs {error.name or 'a library'}, which is not installed",
            received="no such distribution",
            expected=f"the extra {extra!r} of this project, or the library that fsspec names for {scheme}://",
            fix=f"pip install 'edge-deployment-pipeline[{extra}]'",
        ) from error
    except ValueError:
        raise _no_place(shown, "a folder, s3://…, gs://…, or another URL that fsspec knows") from None


def folder_of(url: str) -> Path:
    """Return the folder that a path or a file URL means."""
    path = unquote(urlsplit(url).path) if url.lower().startswith("file://") else url
    if not path or "\0" in path:
        raise _no_place(url[:200], "the path of a folder")
    return Path(path).expanduser().absolute()


def _no_place(received: str, expected: str) -> ReleaseRefused:
    return ReleaseRefused(
        "this is no place for releases",
        received=received,
        expected=expected,
        fix="correct --to or --from",
    )
