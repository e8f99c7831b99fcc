"""What a release says of itself: `manifest.json`, its model and the careful reading of it.

The folder `<version>/` is flat. `manifest.json` lists every file but itself, `SHA256SUMS` and `model.sig`;
`SHA256SUMS` lists every file but itself and `model.sig`, so that its own SHA-256 names the release's bytes:
two releases are the same when these agree. The signature is over all of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.documents import Document, LatencyRecord
from pipeline.errors import ReleaseRefused
from pipeline.regression import Change
from pipeline.verdict import Verdict

MANIFEST, CHECKSUMS, SIGNATURE = "manifest.json", "SHA256SUMS", "model.sig"
CARD, BOM, PROVENANCE, CONSUMER = "MODEL_CARD.md", "bom.cdx.json", "provenance.intoto.json", "classify.py"
MANIFEST_BYTES_MAX = 4_000_000
FILES_MAX = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
# Semantic Versioning 2.0.0 without build metadata, which does not order versions and is no part of an OCI tag.
_NUMBER, _PART = r"(0|[1-9]\d*)", r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?", re.ASCII)
Role = Literal[
    "model", "build", "labels", "preprocessing", "c_array", "device", "card", "bom", "provenance", "consumer"
]


class ReleasedFile(BaseModel):
    """One file of the release's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Its name in the folder, which has no folders in it.")
    role: Role = Field(description="What it is.")
    size_bytes: int = Field(ge=0, description="Its size.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Its SHA-256.")

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        # In any case: some file systems take MODEL.SIG for model.sig.
        if not is_file_name(name) or name.casefold() in {one.casefold() for one in (MANIFEST, CHECKSUMS, SIGNATURE)}:
            raise ValueError("a plain file name of letters, digits, '.', '_' and '-' is expected, without a folder")
        return name


class SampleCheck(BaseModel):
    """What the file answers to the first samples of the test split: how somebody else can tell it works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["test"] = Field("test", description="The split, which nothing was chosen by.")
    samples: int = Field(gt=0, description="Count of its first samples that were asked.")
    scores: dict[str, float] = Field(description="The task's metrics on them, by name.")


class ReleasedTarget(BaseModel):
    """One target's file and what was measured on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = Field(description="Name of the target.")
    workload: str = Field(description="Name of the workload.")
    task: str = Field(description="The workload's learning task.")
    metric: str = Field(description="The metric that the workload is scored by.")
    model: str = Field(description="Name of the .tflite file.")
    sha256: str = Field(description="Its SHA-256: every number here was measured on these bytes.")
    size_bytes: int = Field(description="Its size.")
    scores: dict[str, float] = Field(description="Its metrics on the test split.")
    score_intervals: dict[str, tuple[float, float]] = Field({}, description="Their 95% intervals, where they have one.")
    validation_scores: dict[str, float] = Field(description="Its metrics on the validation split.")
    baseline_scores: dict[str, float] = Field(description="Metrics of the float32 file on the test split.")
    test_samples: int = Field(description="Count of samples of the test split.")
    sample_check: SampleCheck = Field(description="Its answers to the first samples of the test split.")
    latency: LatencyRecord | None = Field(description="Its latency; null where the device gives no times.")
    measured_on: str = Field(description="The device that it was measured on.")
    verdicts: list[Verdict] = Field(description="One for each budget of the target.")
    verdict: Literal["pass", "inconclusive"] = Field(description="Over all budgets that bind; a failed one is refused.")
    not_measured_on_device: list[str] = Field(
        description="Budgets whose device class was not measured: their numbers are from another device."
    )
    changes: list[Change] = Field(description="Against the previous release; empty where there is none.")
    files: list[ReleasedFile] = Field(description="Its files, the model among them.")


class ReleaseManifest(Document):
    """`manifest.json`, and what `invoke release --json` prints."""

    version: str = Field(description="The release's version, by Semantic Versioning, without build metadata.")
    workload: str = Field(description="Name of the workload.")
    created: str = Field(description="SOURCE_DATE_EPOCH, else the commit's time, in UTC.")
    commit: str = Field(description="The git commit that it was released from; its tree was clean.")
    previous: str | None = Field(description="The version that it was compared with; null for a first one.")
    accepted_inconclusive: bool = Field(description="Whether --accept-inconclusive was given and needed.")
    allowed_regression: str = Field(description="The reason given with --allow-regression; empty if none was needed.")
    targets: list[ReleasedTarget] = Field(description="One for each target.")
    files: list[ReleasedFile] = Field(description="Files of the whole release.")
    measured_fields: list[str] = Field(
        description="Fields that measure time, memory or a device: all that a full rebuild may change."
    )

    @field_validator("version")
    @classmethod
    def _semantic(cls, version: str) -> str:
        if not is_version(version):
            raise ValueError("MAJOR.MINOR.PATCH or MAJOR.MINOR.PATCH-PRERELEASE is expected")
        return version

    @model_validator(mode="after")
    def _sound(self) -> ReleaseManifest:
        names = [file.name for file in self.all_files()]
        if len(names) > FILES_MAX or len({name.casefold() for name in names}) != len(names):
            raise ValueError(f"at most {FILES_MAX} files of different names are expected")
        for target in self.targets:
            model = next((file for file in target.files if file.role == "model"), None)
            if model is None or (model.name, model.sha256) != (target.model, target.sha256):
                raise ValueError(f"the file of {target.target} is not the one that its numbers name")
        return self

    def all_files(self) -> list[ReleasedFile]:
        """Return every file that the manifest lists, the targets' first."""
        return [file for target in self.targets for file in target.files] + self.files

    def target(self, name: str) -> ReleasedTarget | None:
        """Return a target by its name; None where the release has none of it."""
        return next((target for target in self.targets if target.target == name), None)


def is_file_name(name: str) -> bool:
    """True for a plain file name: no folder, no drive, no leading dot, ASCII, at most 200 characters."""
    return bool(_NAME.fullmatch(name))


def is_version(version: str) -> bool:
    """True for a version by Semantic Versioning 2.0.0 (https://semver.org) without build metadata."""
    return len(version) <= 100 and bool(_VERSION.fullmatch(version))


def version_order(version: str) -> tuple:
    """Return a key that sorts versions as Semantic Versioning orders them, pre-releases before the release."""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(version)
    pre = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in (found[4] or "").split(".") if part)
    return (*(int(found[group]) for group in (1, 2, 3)), not pre, pre)


def read_manifest(content: bytes, where: str) -> ReleaseManifest:
    """Return the manifest that `content` holds. Raises ReleaseRefused for anything that is none."""
    try:
        if len(content) > MANIFEST_BYTES_MAX:
            raise ValueError(f"{len(content)} bytes")
        return ReleaseManifest.model_validate_json(content)
    except (ValidationError, ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            received = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        else:
            received = str(error)
        raise ReleaseRefused(
            f"{where}: {MANIFEST} is not one of a release",
            received=received[:300],
            expected=f"a manifest of this schema, at most {MANIFEST_BYTES_MAX:,} bytes, of plain file names",
            fix="fetch it again from where it was published; do not use these files",
        ) from error


def checksums_text(hashes: dict[str, str]) -> str:
    """Return SHA256SUMS as `sha256sum --check` reads it, sorted by name."""
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items()))


def read_checksums(text: str, where: str) -> dict[str, str]:
    """Return {file name: SHA-256} of a SHA256SUMS. Raises ReleaseRefused for any other text."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  (\S+)", line)
        if match is None or not is_file_name(match[2]) or match[2] in found or len(found) > FILES_MAX:
            raise ReleaseRefused(
                f"{where}: {CHECKSUMS} cannot be used",
                received=repr(line[:200]),
                expected="lines of a SHA-256, two spaces and a plain file name, each name once",
                fix="fetch it again from where it was published; do not use these files",
            )
        found[match[2]] = match[1]
    return found


def release_folder(artifacts: Path, version: str) -> Path:
    """Return where a release lies in a project."""
    return artifacts / "releases" / version
