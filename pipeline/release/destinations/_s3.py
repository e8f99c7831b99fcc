"""S3, and what speaks its protocol, as a store.

The claim is written with If-None-Match and the index with If-Match
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html), so that of two publishers one is
told that it was slower. Every request has `Patience` of its own; botocore's and s3fs's retries are off, since the
three would multiply.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.release.destination import Patience
from pipeline.release.destinations._any import parts
from pipeline.release.destinations._objects import ABSENT, WINDOW_BYTES, Found, too_long
from pipeline.release.destinations._patience import Trouble, failure, of_network, of_status, pause
from pipeline.watch import Watch

PART_BYTES, PARTS_MAX, PARTS_AT_ONCE = 8 << 20, 10_000, 4
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
BAD_CREDENTIALS = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "RequestExpired")
TEMPORARY = ("SlowDown", "RequestTimeout", "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "Throttling")
NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "SSOError",
    "TokenRetrievalError",
)


class Conflict(Exception):
    """A conditional write whose condition does not hold."""


def open_s3(bucket: str, prefix: str, shown: str, patience: Patience) -> S3Objects:
    """Return the `Objects` of a bucket below `prefix`. Raises ImportError without s3fs."""
    import s3fs

    class Patient(s3fs.S3FileSystem):
        """s3fs, with each request asked as often and as long as `patience` says."""

        retries = 1

        async def _call_s3(self, method: str, *arguments: Any, **named: Any) -> Any:
            return await self.patiently(lambda: super(Patient, self)._call_s3(method, *arguments, **named))

        async def patiently(self, call: Any) -> Any:
            attempt = 1
            while True:
                try:
                    return await call()
                except Exception as error:
                    trouble = _trouble(error)
                seconds = pause(trouble, attempt, patience)
                if seconds is None:
                    raise failure(trouble, shown, attempt)
                await asyncio.sleep(seconds)
                attempt += 1

    system = Patient(
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={
            "connect_timeout": patience.seconds,
            "read_timeout": patience.seconds,
            # What is read is held against a SHA-256; a failed CRC would be an error before that, and not written anew.
            "response_checksum_validation": "when_required",
            "retries": {"total_max_attempts": 1, "mode": "standard"},
        },
    )
    return S3Objects(system, bucket, prefix, shown)


@dataclass(frozen=True)
class S3Objects:
    """The `Objects` of a bucket, below `prefix`."""

    system: Any  # s3fs.S3FileSystem
    bucket: str
    prefix: str
    shown: str

    def read(self, path: str, limit: int) -> Found | None:
        async def get() -> Found:
            answer = await self.system._call_s3("get_object", **self._named(path))
            async with answer["Body"] as body:
                if answer["ContentLength"] > limit:
                    raise too_long(f"{self.shown}/{path}", limit)
                return Found(await body.read(), answer["ETag"])

        try:
            return self._run(lambda: self.system.patiently(get))
        except FileNotFoundError:
            return None

    def stream(self, path: str, offset: int = 0) -> Iterator[bytes]:
        size = self._run(lambda: self.system._call_s3("head_object", **self._named(path)))["ContentLength"]
        while offset < size:
            end = min(offset + WINDOW_BYTES, size)
            yield from parts(self._window(path, offset, end))
            offset = end

    def sizes(self, folder: str) -> dict[str, int]:
        start = self._key(folder) + "/"

        async def find() -> dict[str, int]:
            found: dict[str, int] = {}
            more: dict[str, str] = {}
            while True:
                page = await self.system._call_s3("list_objects_v2", Bucket=self.bucket, Prefix=start, **more)
                found |= {item["Key"].removeprefix(start): item["Size"] for item in page.get("Contents", [])}
                if not page.get("IsTruncated"):
                    return found
                more = {"ContinuationToken": page["NextContinuationToken"]}

        return self._run(find)

    def write(self, path: str, content: bytes, expected: str | None = None) -> bool:
        condition = {} if expected is None else {"IfNoneMatch": "*"} if expected == ABSENT else {"IfMatch": expected}
        try:
            self._run(lambda: self.system._call_s3("put_object", **self._named(path), Body=content, **condition))
        except (Conflict, FileNotFoundError):  # 404: what should match was removed
            return False
        return True

    def put(self, path: str, source: Path) -> None:
        size = max(PART_BYTES, -(-source.stat().st_size // PARTS_MAX))
        target = f"{self.bucket}/{self._key(path)}"

        async def upload() -> None:
            await self.system._put_file(str(source), target, chunksize=size, max_concurrency=PARTS_AT_ONCE)

        try:
            self._run(upload)
        except FileNotFoundError:  # no such upload: another publisher of the same bytes was through and removed ours
            self._run(upload)

    @contextlib.contextmanager
    def publishing(self, folder: str, watch: Watch) -> Iterator[None]:
        yield
        # Parts of uploads that were interrupted cost money until they are removed. The release is there; not being
        # allowed to remove them is no failure.
        with contextlib.suppress(PipelineError, FileNotFoundError):
            self._run(lambda: self._remove_uploads(self._key(folder) + "/"))

    async def _remove_uploads(self, start: str) -> None:
        listed = await self.system._call_s3("list_multipart_uploads", Bucket=self.bucket, Prefix=start)
        for upload in listed.get("Uploads", []):
            if upload["Key"].startswith(start):
                await self.system._call_s3(
                    "abort_multipart_upload", Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )

    def _window(self, path: str, start: int, end: int) -> bytes:
        async def get() -> bytes:
            answer = await self.system._call_s3("get_object", **self._named(path), Range=f"bytes={start}-{end - 1}")
            async with answer["Body"] as body:
                content = await body.read()
            if len(content) != end - start:
                raise ConnectionError("a body that was cut")
            return content

        return self._run(lambda: self.system.patiently(get))

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _named(self, path: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._key(path)}

    def _run(self, call: Any) -> Any:
        """Run a coroutine on fsspec's own loop, in whose thread the connections live."""
        from fsspec.asyn import sync

        return sync(self.system.loop, call)


def _trouble(error: Exception) -> Trouble:
    """Return what an error of s3fs, botocore or aiohttp means. Raises those that callers understand."""
    if isinstance(error, (PipelineError, Conflict)):
        raise error
    source: BaseException | None = error
    while source is not None and not hasattr(source, "response"):
        source = source.__cause__
    response = getattr(source, "response", None)
    if isinstance(response, dict) and "ResponseMetadata" in response:
        status = int(response["ResponseMetadata"].get("HTTPStatusCode", 0))
        code = str(response.get("Error", {}).get("Code", ""))
        if status == 412 or code in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise Conflict from None
        if status == 404 and code != "NoSuchBucket":
            raise FileNotFoundError from None
        if code in TEMPORARY:
            return Trouble(f"HTTP {status} {code}", again=True)
        if code in BAD_CREDENTIALS:
            return of_status(403, code)
        return of_status(status, code, response["ResponseMetadata"].get("HTTPHeaders", {}).get("retry-after"))
    if isinstance(error, FileNotFoundError):
        raise error
    names = [base.__name__ for base in type(error).__mro__]
    if any(name in NO_CREDENTIALS for name in names):
        return Trouble(
            f"no usable credentials ({type(error).__name__})",
            refused=True,
            fix="give credentials as the AWS command line takes them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "AWS_PROFILE, or a role",
        )
    if "ResponseParserError" in names:
        return Trouble("an answer that cannot be read", again=True)
    if "ParamValidationError" in names or isinstance(error, ValueError):
        return Trouble(f"not a usable URL or setting ({type(error).__name__})", refused=True)
    return of_network(error) or Trouble(f"an error ({type(error).__name__})")
