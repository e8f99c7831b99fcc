"""Takes the parts of a build from the file that ships, the float32 file, their kept answers, and the workload."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.anatomy.answers import CLASSES_MAX, confusion, disagreements
from pipeline.anatomy.calibration_coverage import classes_of
from pipeline.anatomy.dissect import BASELINE_FILE, EARLIER_FILES, SAMPLES_FILE, Dissection
from pipeline.anatomy.document import Anatomy, CalibrationCoverage, Confusion, Disagreements
from pipeline.anatomy.pictures import data_uri
from pipeline.anatomy.sources import Sources
from pipeline.errors import BadTarget, PipelineError
from pipeline.files import sha256_of
from pipeline.machine_lock import training
from pipeline.plan import BASELINE, EVALUATE, EVALUATE_BASELINE
from pipeline.project import ARTIFACT
from pipeline.runner import Settings
from pipeline.runners._child import answer_of
from pipeline.untrusted import ask
from pipeline.watch import Watch

if TYPE_CHECKING:
    import numpy as np

    from pipeline.documents import BuildDocument
    from pipeline.workload import Workload

# Samples that run through both files: fewer where one takes long, so that all of it takes about half a minute.
SAMPLES_MAX, SAMPLES_MIN, MULTIPLY_ACCUMULATES = 200, 20, 5_000_000_000
_SECONDS, _MEGABYTES, _MEGABYTES_A_MEGABYTE = 600.0, 2048, 30  # limits of the child
_OF_THE_FILE = ("bytes", "graph", "histograms")
Found = TypeVar("Found")


def parts_of(model: Path, sources: Sources, folders: Mapping[str, Path], watch: Watch) -> tuple[Anatomy, bool]:
    """Return the parts, and whether the process that reads the file did not fail.

    folders: of the stages' outputs. Raises BadTarget when the file is no longer the build's.
    """
    document, workload = sources.document, sources.workload
    missing: dict[str, str] = {}
    samples = _of_workload(missing, "layer_noise", lambda: _samples(workload, document)) if workload else None
    no_samples = sources.why_no_workload or missing.get("layer_noise", "")
    try:
        found = _dissected(model, sources, folders, samples, watch)
        failure = ""
    except PipelineError as error:
        if isinstance(error, BadTarget):
            raise
        found, failure = Dissection(), error.message
        missing |= dict.fromkeys(_OF_THE_FILE, failure)
    missing |= found.missing
    reason = failure or no_samples or sources.why_not(BASELINE, "the float32 file")
    if reason:
        missing["layer_noise"] = reason
    if no_samples and not failure:
        missing["histograms"] = "; ".join(filter(None, [missing.get("histograms"), f"activations: {no_samples}"]))
    calibration = _calibration(document, workload, found, samples, reason, missing)
    parts = Anatomy(
        sha256=document.sha256,
        confusion=None,
        calibration=calibration,
        bytes=found.bytes,
        graph=found.graph,
        histograms=found.histograms,
        layer_noise=found.layer_noise,
        notes=_notes(sources, found),
    )
    return parts.model_copy(update={**_answers(sources, folders, missing), "missing": missing}), not failure


def _dissected(
    model: Path, sources: Sources, folders: Mapping[str, Path], samples: np.ndarray | None, watch: Watch
) -> Dissection:
    """Let a child take the files apart. Raises what reading and running them raises."""
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="pipeline-anatomy-") as name, training(watch.note):
        folder = Path(name).resolve()
        copies = {folder / ARTIFACT: model}
        if BASELINE in folders:
            copies[folder / BASELINE_FILE] = folders[BASELINE] / ARTIFACT
        for number, stage in enumerate(sources.earlier):
            if stage in folders:
                copies[folder / EARLIER_FILES.replace("*", f"{number:03}")] = folders[stage] / ARTIFACT
        for copy, original in copies.items():
            copy.write_bytes(original.read_bytes())
        if sha256_of(folder / ARTIFACT) != sources.document.sha256:
            raise BadTarget(
                f"{model} changed while it was read",
                received="another SHA-256",
                expected=f"SHA-256 {sources.document.sha256}",
                fix="run the command again when the build has ended",
            )
        if samples is not None:
            np.save(folder / SAMPLES_FILE, samples)
        megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        limits = Settings(resident_megabytes=round(_MEGABYTES + _MEGABYTES_A_MEGABYTE * megabytes), seconds=_SECONDS)
        answer, _ = ask("dissect", folder / ARTIFACT, folder, limits=limits, unmatched=sources.unmatched)
        with answer_of(str(model)):
            return Dissection.model_validate(answer)


def _samples(workload: Workload, document: BuildDocument) -> np.ndarray:
    """Return validation samples from all over the split, float32 [n, *input_shape]."""
    import numpy as np

    raw = workload.load("validation")[0]
    stages = [stage.facts["file"] for stage in document.stages if stage.facts.get("file")]
    most = max((file.get("multiply_accumulates", 0) for file in stages), default=0)
    count = min(len(raw), SAMPLES_MAX, max(SAMPLES_MIN, MULTIPLY_ACCUMULATES // max(1, most)))
    return workload.preprocess(raw[np.linspace(0, len(raw) - 1, count).astype(np.int64)])


def _calibration(
    document: BuildDocument,
    workload: Workload | None,
    found: Dissection,
    samples: np.ndarray | None,
    reason: str,
    missing: dict[str, str],
) -> CalibrationCoverage | None:
    """Return what calibration covers; `reason`: why no activation can be compared."""
    drawn = document.calibration
    if drawn is None:
        missing["calibration"] = "no step of the recipe took a representative dataset"
        return None
    if reason:
        missing["calibration"] = f"activations: {reason}" if workload else reason
    if workload is None:
        return None
    classes = _of_workload(missing, "calibration", lambda: classes_of(workload, drawn.indices))
    if classes is None:
        return None
    return CalibrationCoverage(
        classes=classes, samples=0 if samples is None else len(samples), tensors=found.calibration
    )


def _answers(
    sources: Sources, folders: Mapping[str, Path], missing: dict[str, str]
) -> dict[str, Confusion | Disagreements | None]:
    """Return `confusion` and `disagreements`, on the test split, which chooses nothing here."""
    import numpy as np

    workload = sources.workload
    reason = (
        sources.why_not(EVALUATE, "the file's answers")
        or sources.why_not(EVALUATE_BASELINE, "the float32 file's answers")
        or sources.why_no_workload
    )
    if workload and not workload.task.HAS_CLASSES:
        reason = f"samples of the task {workload.task_name!r} have no class each"
    names = ("confusion", "disagreements")
    if reason or workload is None:
        missing |= dict.fromkeys(names, reason)
        return {}
    loaded = _of_workload(missing, "disagreements", lambda: workload.load("test"))
    if loaded is None:
        missing["confusion"] = missing["disagreements"]
        return {}
    raw, truth = loaded
    before, now = (np.load(folders[stage] / "test.npy") for stage in (EVALUATE_BASELINE, EVALUATE))
    found: dict[str, Confusion | Disagreements | None] = {}

    def pictures(indices: list[int]) -> list[str]:
        chosen = raw[np.array(indices, np.int64)] if indices else []
        return [data_uri(sample, workload.input_range) for sample in chosen]

    found["disagreements"] = _of_workload(
        missing, "disagreements", lambda: disagreements(workload.labels, truth, before, now, pictures)
    )
    if len(workload.labels) > CLASSES_MAX:
        missing["confusion"] = f"{len(workload.labels)} classes are too many for a matrix"
    else:
        found["confusion"] = confusion(workload.labels, truth, before, now)
    return found


def _notes(sources: Sources, found: Dissection) -> dict[str, str]:
    trained = sources.retrained_by
    if not found.layer_noise or not trained:
        return {}
    changed = ", ".join(trained)
    return {"layer_noise": f"trained on since the float32 file: {changed}; the errors hold what that changed as well"}


def _of_workload(missing: dict[str, str], part: str, make: Callable[[], Found]) -> Found | None:
    """Return what `make` returns; None where the workload fails, and the reason goes into `missing`."""
    try:
        return make()
    except PipelineError as error:
        missing[part] = error.message
    except Exception as error:  # the project's own code, which may raise anything
        missing[part] = f"the workload fails: {type(error).__name__}: {error}"
    return None
