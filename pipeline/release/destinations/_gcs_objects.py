"""Releases in Google's storage, through gcsfs: conditional writes by an object's generation."""

from __future__ import annotations

import os
from typing import Any

from pipeline.release.destination import Patience
from pipeline.release.destinations._fsspec_objects import FsspecObjects
from pipeline.release.destinations._objects import ABSENT, Found
from pipeline.release.destinations._patience import Trouble, of_network, of_status

NEVER_THERE = "0"  # ifGenerationMatch=0: only while there is no such object


def file_system(patience: Patience) -> Any:
    """Return gcsfs's plain file system: the default class asks for each bucket's kind first, and stalls where it
    gets no answer. Without credentials where STORAGE_EMULATOR_HOST names an emulator.
    """
    from gcsfs.core import GCSFileSystem

    return GCSFileSystem(
        token="anon" if os.environ.get("STORAGE_EMULATOR_HOST") else None,
        requests_timeout=patience.seconds,
        timeout=patience.seconds * patience.attempts,
        skip_instance_cache=True,
        use_listings_cache=False,
    )


class GcsObjects(FsspecObjects):
    """A prefix of a bucket of Google's storage; see `_objects.py`."""

    def _found(self, path: str, limit: int) -> Found:
        bucket, key = self._place(path)
        state = self.files.call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        if int(state["size"]) > limit:
            return Found(bytes(limit + 1), state["generation"])  # too long, whatever it is
        # Of this very generation: another publisher may write meanwhile.
        _, content = self.files.call("GET", "b/{}/o/{}", bucket, key, alt="media", generation=state["generation"])
        return Found(content, state["generation"])

    def _written(self, path: str, content: bytes, expected: str | None) -> bool:
        from gcsfs.retry import HttpError

        bucket, key = self._place(path)
        condition = {}
        if expected is not None:
            condition = {"ifGenerationMatch": NEVER_THERE if expected == ABSENT else expected}
        try:
            self.files.call(
                "POST",
                f"{self.files._location}/upload/storage/v1/b/{{}}/o",
                bucket,
                uploadType="media",
                name=key,
                headers={"Content-Type": "application/octet-stream"},
                data=content,
                **condition,
            )
        except HttpError as error:
            if expected is not None and error.code == 412:
                return False
            raise
        return True

    def _make_folder(self, path: str) -> None:
        """There are no folders."""

    def _place(self, path: str) -> tuple[str, str]:
        bucket, key, _ = self.files.split_path(self._path(path))
        return bucket, key

    def _bucket_exists(self) -> None:
        bucket = self.base.partition("/")[0]
        self.files.call("GET", "b/{}/o", bucket, maxResults=1, json_out=True)

    def _judged(self, error: Exception) -> Trouble | None:
        from gcsfs.retry import ChecksumError

        if type(error).__module__.startswith("google.auth"):
            fix = "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"
            return Trouble("no valid credentials for Google's storage", refused=True, fix=fix)
        status = getattr(error, "code", None) or getattr(error, "status", None)
        if isinstance(error, ChecksumError):
            return Trouble("bytes that are not what was sent", again=True)
        if isinstance(status, int) and 100 <= status < 600:
            return of_status(status)
        if isinstance(error, FileNotFoundError):
            return None
        return of_network(error) or super()._judged(error)
