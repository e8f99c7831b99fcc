"""What `--json` prints and `build.json` holds: one model a document, each with a published schema.

`docs/schemas/<document>.json` are made from these models by `python -m pipeline.schemas`, where all are listed.
A change that breaks a reader raises SCHEMA_VERSION.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.benchmark import DeviceCheck, Latency
from pipeline.check_document import Finding, LayerCheck, SizeEstimates, TargetCheck
from pipeline.comparison.document import CandidateRow, Exclusion
from pipeline.data.document import DataReport
from pipeline.inspect import Inspection
from pipeline.intervals import Interval
from pipeline.noise import Noise
from pipeline.operator_times import OperatorTimes
from pipeline.regression import Change
from pipeline.runner import Device, Figure
from pipeline.target import Budgets
from pipeline.verdict import Verdict

SCHEMA_VERSION = 3


class Document(BaseModel):
    """The outermost object of any document."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = Field(SCHEMA_VERSION, description="Raised when a reader of the older form would break.")

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows."""
        from pipeline.report.notebook import html_of

        return html_of(self)


class StageRecord(BaseModel):
    """One stage of a build."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="The stage's name, unique in its plan.")
    key: str = Field(description="SHA-256 over everything that shapes its output; its name in the store.")
    state: Literal["hit", "made"] = Field(description="hit: taken from the store; made: run by this command.")
    seconds: float = Field(description="Seconds that making it took, now or then.")
    facts: dict[str, Any] = Field(description="What the step reports of itself.")


class Calibration(BaseModel):
    """The representative dataset that gave the activation ranges."""

    model_config = ConfigDict(extra="forbid")

    split: str = Field(description="The split that the samples were drawn from.")
    samples: int = Field(description="Count of samples.")
    indices: list[int] = Field(description="Indices into that split, in the order of use.")
    sha256: str = Field(description="SHA-256 of the preprocessed float32 samples.")


class LatencyRecord(Latency):
    """The latency of the shipped file, and of what it was compared with."""

    baseline_p50_us: float | None = Field(None, description="Median latency of the float32 file, same process.")
    speedup: Interval | None = Field(None, description="Float32 file's median over this file's, paired by round.")
    memory_bytes: Interval | None = Field(
        None, description="Growth of the interpreter process's peak resident size over the same process without it."
    )
    first_answer_ms: Interval | None = Field(
        None, description="Cold start: from the file on disk to its first output, in a fresh process; with the range."
    )
    first_inference_ms: Interval | None = Field(
        None, description="The first invocation of the loaded file, in a fresh process; with the range."
    )
    noise: Noise | None = Field(None, description="How steady the times were, and why they were not.")
    measured_at: str = Field(description="When, in UTC.")
    reused: bool = Field(description="True when taken from the store: same file, settings, runner and device.")


class DeviceRecord(BaseModel):
    """The device that the target's runner took the file to, and what it told besides times."""

    model_config = ConfigDict(extra="forbid")

    runner: str = Field(description="Name of the runner that measured.")
    device: Device = Field(description="What it was measured on.")
    memory_bytes: Interval | None = Field(
        None, description="Growth of the interpreter process's peak resident size over the same process without it."
    )
    peak_resident_bytes: Interval | None = Field(
        None, description="The interpreter process's peak resident size with the file: median and range."
    )
    figures: dict[str, Figure] = Field(description="Figures by name, each measured or an estimate.")
    files: dict[str, str] = Field(description="SHA-256 of what the device's tools made beside the file, by file name.")
    conditions: dict[str, str] = Field(description="State of the device while it measured, as far as it tells.")
    device_check: DeviceCheck | None = Field(description="Its answers against the host's; null on the host itself.")
    measured_at: str = Field(description="When, in UTC.")
    reused: bool = Field(description="True when taken from the store: same file, settings, runner and device.")


class BuildDocument(Document):
    """`build.json`, and what `invoke build --json` prints."""

    target: str = Field(description="Name of the target.")
    workload: str = Field(description="Name of the workload.")
    workload_file: str | None = Field(
        None,
        description="Path of a workload given by its path, from the project's root on if it lies there; else null.",
    )
    seed: int = Field(description="Seed of the build.")
    artifact: str = Field(description="Path of the built file, relative to the project.")
    sha256: str = Field(description="SHA-256 of the built file; every number here was measured on it.")
    size_bytes: int = Field(description="Size of the file.")
    deflated_bytes: int = Field(description="Size of the file after zlib at level 9.")
    accuracy: float | None = Field(description="Share of the test split that the file answers correctly; or null.")
    validation_accuracy: float | None = Field(description="The same share of the validation split; or null.")
    baseline_accuracy: float | None = Field(
        description="Test accuracy of the float32 file of the uncompressed model; null where the task has none."
    )
    task: str = Field("classification", description="The workload's learning task.")
    metric: str = Field("accuracy", description="The metric that the workload is scored by.")
    scores: dict[str, float] = Field(description="The file's metrics on the test split, by name.")
    score_intervals: dict[str, tuple[float, float]] = Field(
        {}, description="95% intervals of `scores`: Wilson's of one answer a sample, a bootstrap's of others."
    )
    validation_scores: dict[str, float] = Field(description="The file's metrics on the validation split.")
    baseline_scores: dict[str, float] = Field(
        description="Metrics of the float32 file of the uncompressed model, on the test split."
    )
    latency: LatencyRecord | None = Field(description="Latency of the file; null where the device gives no times.")
    device: DeviceRecord = Field(description="The device that it was taken to, and what that told.")
    stages: list[StageRecord] = Field(description="The stages in the order of the plan.")
    calibration: Calibration | None = Field(description="The representative dataset; null where none was needed.")
    versions: dict[str, str] = Field(description="Versions of the libraries that shaped the file, and of Python.")
    verdicts: list[Verdict] = Field(description="One for each budget of the target.")
    verdict: Literal["pass", "fail", "inconclusive"] = Field(description="The verdict over all budgets that bind.")


class BuildsDocument(Document):
    """What `invoke build --json` prints for several targets."""

    builds: list[BuildDocument] = Field(description="One for each target, in the order that was asked for.")
    verdict: Literal["pass", "fail", "inconclusive"] = Field(description="The worst of the builds.")


class BenchResult(BaseModel):
    """One file, measured now."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="Path of the file.")
    sha256: str = Field(description="SHA-256 of the file.")
    target: str | None = Field(description="The target that it was built for; null for any other file.")
    workload: str | None = Field(description="The workload that it was built from; null for any other file.")
    size_bytes: int = Field(description="Size of the file.")
    latency: LatencyRecord | None = Field(description="Latency; null where the device gives no times.")
    device: DeviceRecord = Field(description="The device that it was taken to, and what that told.")
    verdicts: list[Verdict] = Field(description="One for each budget of the target; empty for any other file.")
    verdict: Literal["pass", "fail", "inconclusive"] = Field(description="The verdict over all budgets that bind.")
    changes: list[Change] = Field([], description="Against the measurement that --against names.")
    profile: OperatorTimes | None = Field(
        None, description="Estimated time of each operator; null unless asked for, or where there are no times."
    )


class BenchDocument(Document):
    """What `invoke bench --json` prints."""

    results: list[BenchResult] = Field(description="One for each file.")
    verdict: Literal["pass", "fail", "inconclusive"] = Field(
        description="The worst of the results; inconclusive if a built file could not be measured."
    )


class BenchCompareDocument(Document):
    """What `invoke bench --compare=A,B --json` prints."""

    first: str = Field(description="Path of the first file.")
    second: str = Field(description="Path of the second file.")
    first_sha256: str = Field(description="SHA-256 of the first file.")
    second_sha256: str = Field(description="SHA-256 of the second file.")
    first_p50_us: float = Field(description="Median latency of the first file, in microseconds.")
    second_p50_us: float = Field(description="Median latency of the second file, in microseconds.")
    ratio: Interval = Field(description="How many times as long the second takes, paired by process.")
    confidence: float = Field(description="Of the interval, 0 to 1.")
    processes: int = Field(description="Fresh processes in which both took turns.")
    word: Literal["faster", "slower", "no difference shown"] = Field(description="The second against the first.")
    runner: str = Field(description="Name of the runner.")
    threads: int = Field(description="Interpreter threads.")
    device: Device = Field(description="What they were measured on.")
    kernels: tuple[str, str] = Field(description="Who computed, of each.")


class PlannedStage(BaseModel):
    """One stage before it runs."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="The stage's name.")
    key: str = Field(description="Its key.")
    state: Literal["hit", "make"] = Field(description="hit: in the store; make: it will be made.")
    follows: str | None = Field(None, description="Name of the stage whose output it takes; null where there is none.")
    expected_seconds: float | None = Field(description="What it took when it was last made here; null if never.")
    reason: str = Field("", description="Why it will be made.")
    changes: list[dict[str, Any]] = Field([], description="Fields of its key that changed: field, before, after.")


class PlanDocument(Document):
    """What `--dry-run --json` prints."""

    target: str = Field(description="Name of the target.")
    workload: str = Field(description="Name of the workload.")
    seed: int = Field(description="Seed of the build.")
    stages: list[PlannedStage] = Field(description="The stages in the order of the plan.")
    expected_seconds: float | None = Field(description="Seconds until the end; null where nothing is known.")


class StageDocument(Document):
    """What `invoke train`, `prune` and `quantize` print with `--json`."""

    target: str = Field(description="Name of the target.")
    workload: str = Field(description="Name of the workload.")
    seed: int = Field(description="Seed of the build.")
    output: str = Field(description="Folder of the last stage's output in the store; read-only.")
    stages: list[StageRecord] = Field(description="The stages up to the one that was asked for.")


class ConvertDocument(StageDocument):
    """What `invoke convert --json` prints."""

    artifact: str = Field(description="Path of the verified file.")
    sha256: str = Field(description="SHA-256 of the file.")
    size_bytes: int = Field(description="Size of the file.")


class CompareDocument(Document):
    """What `invoke compare --json` prints, and `compare.json` holds."""

    target: str = Field(description="Name of the target.")
    workload: str = Field(description="Name of the workload.")
    seed: int = Field(description="Seed of all candidates.")
    quick: bool = Field(description="Whether every training was shortened as techniques.toml says.")
    reference: str = Field(description="The technique that accuracy is compared with.")
    candidates: list[CandidateRow] = Field(description="The candidates, the reference first.")
    excluded: list[Exclusion] = Field(description="Techniques that could not be made, and why.")
    choice: str | None = Field(description="The technique for this target; null where none fits it.")
    choice_verdicts: list[Verdict] = Field(
        description="The target's budgets on the choice, accuracy on the test split."
    )
    verdict: Literal["pass", "fail", "inconclusive"] = Field(description="The verdict on the choice.")


class PredictDocument(Document):
    """What `invoke predict --json` prints."""

    image: str = Field(description="The picture.")
    model: str = Field(description="The file that classified it.")
    sha256: str = Field(description="SHA-256 of that file.")
    predicted: str = Field(description="What the file answers: a class, labels or values, as the task has them.")
    confidence: float | None = Field(description="How sure it is, 0 to 1; null where the task has no probabilities.")
    probabilities: dict[str, float] = Field(description="Probability of every label; empty where there is none.")
    notes: list[str] = Field(description="What looked odd about the picture.")


class InspectDocument(Document):
    """What `invoke inspect --json` prints."""

    path: str = Field(description="Path of the file.")
    inspection: Inspection = Field(description="What the file holds.")
    float_leftovers: list[str] = Field(description="What keeps it from being full-integer with integer input.")


class TargetRow(BaseModel):
    """One target."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Name of the target.")
    path: str = Field(description="Its TOML file.")
    description: str = Field(description="One line.")
    runner: str = Field(description="Name of its runner.")
    recipe: list[str] = Field(description="Names of its steps.")
    budgets: Budgets = Field(description="Its limits.")
    last: dict[str, str] = Field(description="The last build's verdict of each workload that was built.")
    trend: dict[str, list[float]] = Field(
        {}, description="The workload's metric in its last builds for this target, the oldest first, by workload."
    )
    error: str = Field("", description="Why the file cannot be used; empty if it can.")


class TargetsDocument(Document):
    """What `invoke targets --json` prints."""

    targets: list[TargetRow] = Field(description="All targets, the project's own and the shipped ones.")


class StoreEntry(BaseModel):
    """One entry of the store."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(description="Its key.")
    step: str = Field(description="The step that made it.")
    workload: str = Field(description="The workload it was made from.")
    size_bytes: int = Field(description="Size of its files.")
    made_at: str = Field(description="When, in UTC.")
    damage: str = Field("", description="Why it cannot be trusted; empty if it can, or was not verified.")


class StoreDocument(Document):
    """What `invoke store`, `store.verify` and `store.gc` print with `--json`."""

    action: Literal["list", "verify", "gc"] = Field(description="What was done.")
    entries: list[StoreEntry] = Field(description="The entries; for gc those that are left.")
    removed: list[str] = Field([], description="Keys that gc removed.")
    freed_bytes: int = Field(0, description="Bytes that gc freed.")


class LayerSensitivity(BaseModel):
    """One operator of the float file and its error in the quantized one."""

    model_config = ConfigDict(extra="forbid")

    layer: str = Field(description="Its Keras layer, or its kind and position where conversion left no name.")
    operator: str = Field(description="Builtin name such as CONV_2D.")
    weights: str | None = Field(description="Number format of its kernel in the quantized file; null without one.")
    own_noise: float = Field(description="Noise that it adds to what reaches it, as a share of signal power.")
    sqnr_db: float | None = Field(description="Signal to noise of its output, in dB; null where nothing differs.")
    wider: str | None = Field(description="Scheme that the mended recipe gives it; null where it stays.")
    mended_own_noise: float | None = Field(description="own_noise in the mended file; null if it was not built.")
    mended_sqnr_db: float | None = Field(description="sqnr_db in the mended file; null if it was not built.")


class FileQuality(BaseModel):
    """One file, on calibration and validation samples."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="float32, quantized, mended, or the number of calibration samples.")
    sha256: str = Field(description="SHA-256 of the file.")
    size_bytes: int = Field(description="Size of the file.")
    validation_score: float = Field(description="The workload's metric on the validation split.")
    agreement: float = Field(description="How far its answers on the validation split are the float32 file's, to 1.")
    output_sqnr_db: float | None = Field(description="Signal to noise of its output on the compared samples, in dB.")


class CalibrationSize(BaseModel):
    """The quantized file with another number of calibration samples."""

    model_config = ConfigDict(extra="forbid")

    samples: int = Field(description="Count of calibration samples.")
    quality: FileQuality = Field(description="The file.")
    layers: dict[str, float | None] = Field(description="Signal to noise of each layer with a kernel, in dB.")


class SensitivityDocument(Document):
    """What `invoke sensitivity --json` prints, and `sensitivity.json` holds."""

    target: str = Field(description="Name of the target.")
    workload: str = Field(description="Name of the workload.")
    seed: int = Field(description="Seed of the build.")
    step: str = Field(description="The recipe's step that quantizes.")
    scheme: str = Field(description="Its scheme.")
    metric: str = Field("accuracy", description="The workload's metric, which the files are scored by.")
    samples: int = Field(description="Calibration samples on which the files were compared.")
    files: list[FileQuality] = Field(description="The float32 file, the quantized one, and the mended one if built.")
    layers: list[LayerSensitivity] = Field(description="All operators, that of the most own noise first.")
    calibration_sizes: list[CalibrationSize] = Field(description="One for each size that was asked for.")
    recipe: str | None = Field(description="The recipe with the worst layers kept wider, as TOML; null if none can.")
    folder: str = Field(description="Folder of sensitivity.json, .toml, .png and .svg, relative to the project.")


class NewDocument(Document):
    """What `invoke new --json` prints."""

    name: str = Field(description="Name of the workload and of the target.")
    workload: str = Field(description="Path of the workload's module, relative to the project.")
    target: str = Field(description="Path of the target's TOML, relative to the project.")
    data: str = Field(description="Where the data lie.")
    kind: str = Field(description="Kind of data, the reader in pipeline/data/.")
    task: str = Field(description="The learning task.")
    labels: list[str] = Field(description="Names of the outputs, in their order.")
    input_shape: list[int] = Field(description="Shape of one sample as the network takes it.")
    training_samples: int = Field(description="Count of samples in the training split.")
    model: str = Field(description="Network of the zoo with its options, or where the model comes from.")
    next: str = Field(description="The command that builds it.")


class DataDocument(Document, DataReport):
    """What `invoke data --json` prints."""


class CheckDocument(Document):
    """What `invoke check --json` prints."""

    model: str = Field(description="The model, as it was named.")
    kind: str = Field(description="What it is: a file's format, a function, or a network of the zoo.")
    inputs: list[list[int | None]] = Field(description="Shapes of the inputs, null where a size is left open.")
    outputs: int | None = Field(description="Count of outputs; null where the file does not say.")
    parameters: int | None = Field(description="Count of weights; null where the file does not say.")
    size_bytes: int | None = Field(description="Size of a .tflite in bytes; null for a Keras model.")
    estimates: SizeEstimates | None = Field(description="Estimated sizes; null where no parameters are known.")
    operators: list[str] = Field(description="TFLite operators: in the file, or as far as is known beforehand.")
    layers: list[LayerCheck] = Field(description="Layers of a Keras model, in order.")
    findings: list[Finding] = Field(description="What holds for every target.")
    targets: list[TargetCheck] = Field(description="Each target that was asked for.")
    possible: bool = Field(description="True when every target that was asked for can be built for.")


class ReportDocument(Document):
    """What `invoke report --json` prints."""

    kind: Literal["history", "build", "comparison"] = Field(description="What the report is about.")
    path: str = Field(description="The HTML file, relative to the project if it lies there.")
    bytes: int = Field(description="Size of the file.")
    sha256: str = Field(description="SHA-256 of the file.")
    verdict: str = Field(description="pass, fail or inconclusive; of a history the worst of its builds.")
    missing: dict[str, str] = Field(description="Parts that cannot be shown, by name, and why.")


class CleanDocument(Document):
    """What `invoke clean --json` prints."""

    removed: list[str] = Field(description="Paths that were removed.")
    freed_bytes: int = Field(description="Bytes that were freed.")


class ErrorDetail(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(description="A short name that stays the same: unknown_name, bad_target, step_failed, …")
    message: str = Field(description="What went wrong.")
    received: str = Field(description="What was received.")
    expected: str = Field(description="What was expected.")
    fix: str = Field(description="How to mend it.")


class ErrorDocument(Document):
    """What any task prints with `--json` when it fails."""

    error: ErrorDetail = Field(description="What went wrong.")
