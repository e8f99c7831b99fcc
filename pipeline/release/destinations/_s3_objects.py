"""Releases in S3, through s3fs: conditional writes by ETag, uploads in parts, and no retries but ours."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from pipeline.release.destination import Patience
from pipeline.release.destinations._fsspec_objects import PART_BYTES, FsspecObjects
from pipeline.release.destinations._objects import ABSENT, Found
from pipeline.release.destinations._patience import Trouble, of_network, of_status

# Where an upload has more parts than this, each is larger: S3 takes 10,000.
PARTS_MAX = 5_000
# What says that another was quicker: the condition failed, or two conditional writes met.
LOST_RACE = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


def file_system(patience: Patience) -> Any:
    """Return an s3fs file system that asks each request once, with these times; credentials and endpoint are boto's."""
    import s3fs

    files = s3fs.S3FileSystem(
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={
            "connect_timeout": patience.seconds,
            "read_timeout": patience.seconds,
            "retries": {"total_max_attempts": 1},
        },
    )
    files.retries = 1
    return files


class S3Objects(FsspecObjects):
    """A prefix of an S3 bucket; see `_objects.py`."""

    def _found(self, path: str, limit: int) -> Found:
        from fsspec.asyn import sync

        async def whole() -> Found:
            answer = await self.files._call_s3("get_object", **self._object(path))
            async with answer["Body"] as body:
                return Found(await body.read(limit + 1), answer["ETag"])

        return sync(self.files.loop, whole)

    def _written(self, path: str, content: bytes, expected: str | None) -> bool:
        condition = {} if expected is None else {"IfNoneMatch": "*"} if expected == ABSENT else {"IfMatch": expected}
        try:
            self.files.call_s3("put_object", **self._object(path), Body=content, **condition)
        except OSError as error:
            # With If-Match, 404 says that it is gone meanwhile.
            if expected is not None and _code(error) in LOST_RACE | {"NoSuchKey"}:
                return False
            raise
        return True

    def _put(self, path: str, source: Path) -> None:
        size = max(PART_BYTES, -(-source.stat().st_size // PARTS_MAX))
        self.files.put_file(str(source), self._path(path), chunksize=size, max_concurrency=1)

    def _object(self, path: str) -> dict[str, str]:
        bucket, key, _ = self.files.split_path(self._path(path))
        return {"Bucket": bucket, "Key": key}

    def _bucket_exists(self) -> None:
        self.files.call_s3("list_objects_v2", Bucket=self.files.split_path(self.base)[0], MaxKeys=1)

    def _judged(self, error: Exception) -> Trouble | None:
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, as for the aws command"
            return Trouble("no credentials for S3", refused=True, fix=fix)
        answer = getattr(_client_error(error), "response", None)
        if answer is None:
            return super()._judged(error)
        metadata = answer.get("ResponseMetadata", {})
        status, code = int(metadata.get("HTTPStatusCode", 0)), str(answer.get("Error", {}).get("Code", ""))
        if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
            return None
        if code in ("ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"):
            status = 403
        if not 100 <= status < 600:
            return of_network(error) or Trouble("an answer that is none of HTTP", again=True)
        return of_status(status, code, metadata.get("HTTPHeaders", {}).get("retry-after"))


def _client_error(error: BaseException | None) -> BaseException | None:
    """Return botocore's own error, which s3fs wraps."""
    while error is not None and not hasattr(error, "response"):
        error = error.__cause__
    return error


def _code(error: BaseException) -> str:
    answer = getattr(_client_error(error), "response", {})
    with contextlib.suppress(AttributeError, TypeError):
        return re.sub(r"\W", "", str(answer.get("Error", {}).get("Code", "")))
    return ""
