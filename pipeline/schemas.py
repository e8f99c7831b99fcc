"""Every document by its name, and the published schemas: `python -m pipeline.schemas` writes docs/schemas anew."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipeline.ci_document import CiDocument
from pipeline.diff_document import DiffDocument
from pipeline.doctor.document import DoctorDocument
from pipeline.documents import (
    BenchCompareDocument,
    BenchDocument,
    BuildDocument,
    BuildsDocument,
    CheckDocument,
    CleanDocument,
    CompareDocument,
    ConvertDocument,
    DataDocument,
    Document,
    ErrorDocument,
    InspectDocument,
    NewDocument,
    PlanDocument,
    PredictDocument,
    ReportDocument,
    SensitivityDocument,
    StageDocument,
    StoreDocument,
    TargetsDocument,
)
from pipeline.history_document import HistoryDocument
from pipeline.release.documents import FetchDocument, ReleaseDocument, VerifyReleaseDocument
from pipeline.release.manifest import ReleaseManifest
from pipeline.tracking.document import TrackDocument

DOCUMENTS: dict[str, type[Document]] = {
    "build": BuildDocument,
    "builds": BuildsDocument,
    "bench": BenchDocument,
    "bench_compare": BenchCompareDocument,
    "plan": PlanDocument,
    "train": StageDocument,
    "prune": StageDocument,
    "quantize": StageDocument,
    "convert": ConvertDocument,
    "compare": CompareDocument,
    "predict": PredictDocument,
    "inspect": InspectDocument,
    "targets": TargetsDocument,
    "history": HistoryDocument,
    "diff": DiffDocument,
    "store": StoreDocument,
    "sensitivity": SensitivityDocument,
    "new": NewDocument,
    "data": DataDocument,
    "check": CheckDocument,
    "ci": CiDocument,
    "report": ReportDocument,
    "clean": CleanDocument,
    "doctor": DoctorDocument,
    "release": ReleaseDocument,
    "fetch": FetchDocument,
    "verify_release": VerifyReleaseDocument,
    "release_manifest": ReleaseManifest,
    "track": TrackDocument,
    "error": ErrorDocument,
}


def schema_text(name: str) -> str:
    """Return the published JSON schema of a document."""
    return json.dumps(DOCUMENTS[name].model_json_schema(mode="serialization"), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas")
    folder.mkdir(parents=True, exist_ok=True)
    for document in DOCUMENTS:
        (folder / f"{document}.json").write_text(schema_text(document), encoding="utf-8")
