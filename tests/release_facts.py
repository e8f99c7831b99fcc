"""Facts of a release of no real model, for tests of the documents that are written from them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pipeline.documents import BuildDocument, DeviceRecord, LatencyRecord, StageRecord
from pipeline.intervals import Interval
from pipeline.release.facts import CardText, ReleaseFacts
from pipeline.release.manifest import ReleasedFile, ReleasedTarget, ReleaseManifest, Role, SampleCheck
from pipeline.runner import Device
from pipeline.verdict import Verdict

VERSION, COMMIT = "1.2.0", "c0ffee" + "0" * 34
DEVICE = Device(device_class="linux-x86_64", name="AMD EPYC", fingerprint={"cores": "2"})
NOT_ON_DEVICE = Verdict(
    metric="latency_p50_ms",
    limit=0.054,
    measured=0.0367,
    interval=(0.0361, 0.0369),
    verdict="not applicable",
    note="binds on android-arm64, measured on linux-x86_64",
)
SIZE = Verdict(metric="size_bytes", limit=460_000, measured=443_904, interval=None, verdict="pass")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def release_facts(*targets: ReleasedTarget, **changed: Any) -> ReleaseFacts:
    """Return the facts of a release of these targets, "mobile" and "browser" if there are none."""
    released = targets or (released_target("mobile"), released_target("browser"))
    facts = ReleaseFacts(
        version=VERSION,
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        commit=COMMIT,
        dirty=False,
        repository="https://example.org/team/digits.git",
        workload="mnist",
        description="Handwritten digits.",
        labels=("0", "1"),
        input_shape=(28, 28, 1),
        training_samples=54_000,
        data={"train-images.gz": sha256("images"), "train-labels.gz": f"{sha256('a')} {sha256('b')}"},
        sources={"pipeline/steps/train.py": sha256("train"), "pipeline/workloads/mnist.py": sha256("mnist")},
        targets=released,
        builds={target.target: build_document(target) for target in released},
        recipes={target.target: [{"step": "train", "epochs": 12}, {"step": "quantize"}] for target in released},
        card=CardText(
            intended_use="Reading digits.", limits="Letters.", license="apache-2.0", dataset="mnist", authors=["A. B."]
        ),
    )
    return replace(facts, **changed)


def released_target(name: str, **changed: Any) -> ReleasedTarget:
    """Return one target with a latency that was not measured on its device."""
    stem = f"mnist-{name}-{VERSION}"
    files = [released_file(f"{stem}.tflite", "model"), released_file(f"{stem}.labels.txt", "labels")]
    target = ReleasedTarget(
        target=name,
        workload="mnist",
        task="classification",
        metric="accuracy",
        model=files[0].name,
        sha256=files[0].sha256,
        size_bytes=443_904,
        scores={"accuracy": 0.9951, "f1": 0.99506},
        score_intervals={"accuracy": (0.99353, 0.99629), "f1": (0.9936, 0.9965)},
        validation_scores={"accuracy": 0.9952},
        baseline_scores={"accuracy": 0.9946},
        test_samples=10_000,
        sample_check=SampleCheck(samples=1_000, scores={"accuracy": 0.996}),
        latency=latency(),
        measured_on="AMD EPYC",
        verdicts=[SIZE, NOT_ON_DEVICE],
        verdict="pass",
        not_measured_on_device=["latency_p50_ms"],
        changes=[],
        files=files,
    )
    return target.model_copy(update=changed)


def latency() -> LatencyRecord:
    return LatencyRecord(
        runner="host",
        device=DEVICE,
        threads=1,
        kernels="XNNPACK delegate",
        p50_us=36.694,
        p90_us=36.955,
        p99_us=57.015,
        p50_us_interval=(36.078, 36.912),
        p90_us_interval=(36.393, 37.143),
        p99_us_interval=(55.916, 59.472),
        samples=16_230,
        rounds=30,
        baseline_p50_us=74.791,
        speedup=Interval(value=2.0, low=1.9, high=2.1),
        measured_at="2026-01-01T00:00:00+00:00",
        reused=False,
    )


def build_document(target: ReleasedTarget) -> BuildDocument:
    promises = {"input_dtype": "int8", "output_dtype": "uint8"}
    summary = ['Model: "lenet5"', " conv1 (Conv2D)              (None, 24, 24, 20)        520"]
    stages = [
        ("train", {"summary": summary}),
        ("quantize", {"promises": promises}),
        ("slim", {}),
        ("baseline", {"promises": {"input_dtype": "float32", "output_dtype": "float32"}}),
    ]
    return BuildDocument(
        target=target.target,
        workload="mnist",
        seed=7,
        artifact=f"artifacts/mnist/{target.target}/model.tflite",
        sha256=target.sha256,
        size_bytes=target.size_bytes,
        deflated_bytes=1,
        accuracy=0.9951,
        validation_accuracy=0.9952,
        baseline_accuracy=0.9946,
        scores=target.scores,
        score_intervals=target.score_intervals,
        validation_scores=target.validation_scores,
        baseline_scores=target.baseline_scores,
        latency=target.latency,
        device=DeviceRecord(
            runner="host",
            device=DEVICE,
            memory_bytes=None,
            peak_resident_bytes=None,
            figures={},
            files={},
            conditions={},
            device_check=None,
            measured_at="2026-01-01T00:00:00+00:00",
            reused=False,
        ),
        stages=[StageRecord(name=name, key="0" * 64, state="hit", seconds=1.0, facts=facts) for name, facts in stages],
        calibration=None,
        versions={"python": "3.11.7", "tensorflow": "2.21.0", "tf-keras": "2.21.0", "flatbuffers": target.target},
        verdicts=target.verdicts,
        verdict="pass",
    )


def released_file(name: str, role: Role) -> ReleasedFile:
    return ReleasedFile(name=name, role=role, size_bytes=len(name), sha256=sha256(name))


def manifest_of(facts: ReleaseFacts, *more: ReleasedFile) -> ReleaseManifest:
    """Return the manifest of a release with these facts, and with more files than the targets' own."""
    return ReleaseManifest(
        version=facts.version,
        workload=facts.workload,
        created="2026-01-02T03:04:05Z",
        commit=facts.commit,
        previous=facts.previous,
        accepted_inconclusive=False,
        allowed_regression=facts.allowed_regression,
        targets=list(facts.targets),
        files=list(more),
        measured_fields=[],
    )
