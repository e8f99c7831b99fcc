"""Takes the parts of a build from the file that ships, the float32 file, their kept answers, and the workload."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.anatomy.answers import CLASSES_MAX, confusion, disagreements
from pipeline.anatomy.calibration_coverage import classes_of
from pipeline.anatomy.dissect import EARLIER_FILES, FLOAT_FILE, SAMPLES_FILE, Dissection
from pipeline.anatomy.document import Anatomy, CalibrationCoverage, Confusion, Disagreements
from pipeline.anatomy.float_twin import make_twin
from pipeline.anatomy.pictures import data_uri
from pipeline.anatomy.sources import Sources
from pipeline.errors import BadTarget, PipelineError, RunnerFailed
from pipeline.files import sha256_of
from pipeline.machine_lock import training
from pipeline.plan import BASELINE, EVALUATE, EVALUATE_BASELINE
from pipeline.project import ARTIFACT, Project
from pipeline.runner import Settings
from pipeline.runners._child import answer_of
from pipeline.untrusted import ask
from pipeline.watch import Watch

if TYPE_CHECKING:
    import numpy as np

# Samples that run through both files: fewer where one takes long, so that all of it takes about half a minute.
SAMPLES_MAX, SAMPLES_MIN, MULTIPLY_ACCUMULATES = 200, 20, 5_000_000_000
_SECONDS, _MEGABYTES, _MEGABYTES_A_MEGABYTE = 600.0, 2048, 30  # limits of the child
_OF_THE_FILE = ("bytes", "graph", "histograms")


def parts_of(
    model: Path, sources: Sources, folders: Mapping[str, Path], project: Project, watch: Watch
) -> tuple[Anatomy, bool]:
    """Return the parts, and whether no process failed that they were asked of.

    folders: of the stages' outputs. Raises BadTarget when the file is no longer the build's.
    """
    missing: dict[str, str] = {}
    samples, no_samples = _samples(sources)
    float_file, no_float_file, converted = None, no_samples, True
    if samples is not None:
        float_file, no_float_file, converted = _float_file(sources, folders, project, watch)
    try:
        found = _dissected(model, sources, folders, float_file, samples, watch)
    except RunnerFailed as error:
        found = Dissection(missing=dict.fromkeys(_OF_THE_FILE, error.message))
    failed = found.missing.keys() >= set(_OF_THE_FILE)
    missing |= found.missing
    if no_float_file:
        missing |= {"layer_noise": no_float_file, "calibration": f"activations: {no_float_file}"}
    if no_samples:
        missing["histograms"] = "; ".join(filter(None, [missing.get("histograms"), f"activations: {no_samples}"]))
    parts = Anatomy(
        sha256=sources.document.sha256,
        calibration=_calibration(sources, found, samples, missing),
        bytes=found.bytes,
        graph=found.graph,
        histograms=found.histograms,
        layer_noise=found.layer_noise,
        notes=_notes(sources) if float_file else {},
    )
    return parts.model_copy(
        update={**_answers(sources, folders, missing), "missing": missing}
    ), converted and not failed


def _float_file(
    sources: Sources, folders: Mapping[str, Path], project: Project, watch: Watch
) -> tuple[Path | None, str, bool]:
    """Return the float32 file that layers are compared with, or None and why; and whether no conversion failed."""
    stage = sources.float_stage
    if stage not in folders or sources.workload is None:
        what = "the float32 file" if stage == BASELINE else f"the model that {stage} gave"
        return None, sources.why_not(stage, what), True
    if stage == BASELINE:
        return folders[BASELINE] / ARTIFACT, "", True
    try:
        return make_twin(sources.keys[stage], sources.workload, project, watch) / ARTIFACT, "", True
    except PipelineError as error:
        return None, f"the model that {stage} gave cannot be converted to a float32 file: {error.message}", False


def _dissected(
    model: Path,
    sources: Sources,
    folders: Mapping[str, Path],
    float_file: Path | None,
    samples: np.ndarray | None,
    watch: Watch,
) -> Dissection:
    """Let a child take the files apart. Raises what reading and running them raises."""
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="pipeline-anatomy-") as name, training(watch.note):
        folder = Path(name).resolve()
        copies = {folder / ARTIFACT: model}
        if float_file:
            copies[folder / FLOAT_FILE] = float_file
        for number, stage in enumerate(stage for stage in sources.earlier if stage in folders):
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
        answer, _ = ask("dissect", folder / ARTIFACT, folder, limits=limits)
        with answer_of(str(model)):
            return Dissection.model_validate(answer)


def _samples(sources: Sources) -> tuple[np.ndarray | None, str]:
    """Return validation samples from all over the split, float32 [n, *input_shape]; or None and why there are none."""
    import numpy as np

    workload = sources.workload
    if workload is None:
        return None, sources.why_no_workload
    files = [stage.facts["file"] for stage in sources.document.stages if stage.facts.get("file")]
    most = max((file.get("multiply_accumulates", 0) for file in files), default=0)
    with _of_workload({}, "samples") as reason:
        raw = workload.load("validation")[0]
        count = min(len(raw), SAMPLES_MAX, max(SAMPLES_MIN, MULTIPLY_ACCUMULATES // max(1, most)))
        return workload.preprocess(raw[np.linspace(0, len(raw) - 1, count).astype(np.int64)]), ""
    return None, reason["samples"]


def _calibration(
    sources: Sources, found: Dissection, samples: np.ndarray | None, missing: dict[str, str]
) -> CalibrationCoverage | None:
    drawn, workload = sources.document.calibration, sources.workload
    if drawn is None:
        missing["calibration"] = "no step of the recipe took a representative dataset"
    elif workload is None:
        missing["calibration"] = sources.why_no_workload
    else:
        with _of_workload(missing, "calibration"):
            count = 0 if samples is None else len(samples)
            classes = classes_of(workload, drawn.indices)
            return CalibrationCoverage(classes=classes, samples=count, tensors=found.calibration)
    return None


def _answers(
    sources: Sources, folders: Mapping[str, Path], missing: dict[str, str]
) -> dict[str, Confusion | Disagreements]:
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
    with _of_workload(missing, "disagreements"):
        raw, truth = workload.load("test")
        before, now = (np.load(folders[stage] / "test.npy") for stage in (EVALUATE_BASELINE, EVALUATE))

        def pictures(indices: list[int]) -> list[str]:
            return [data_uri(raw[index], workload.input_range) for index in indices]

        found: dict[str, Confusion | Disagreements] = {
            "disagreements": disagreements(workload.labels, truth, before, now, pictures)
        }
        if len(workload.labels) > CLASSES_MAX:
            missing["confusion"] = f"{len(workload.labels)} classes are too many for a matrix"
        else:
            found["confusion"] = confusion(workload.labels, truth, before, now)
        return found
    missing["confusion"] = missing["disagreements"]
    return {}


def _notes(sources: Sources) -> dict[str, str]:
    trained = ", ".join(sources.trained_since)
    if not trained:
        return {}
    note = f"{trained} trained on behind the model of the float32 file, so more than number formats differs"
    return dict.fromkeys(("layer_noise", "calibration", "histograms"), note)


@contextmanager
def _of_workload(missing: dict[str, str], part: str) -> Iterator[dict[str, str]]:
    """Ask the workload in this context; where it fails, the reason goes into `missing`, and the context ends."""
    try:
        yield missing
    except PipelineError as error:
        missing[part] = error.message
    except Exception as error:  # the project's own code, which may raise anything
        missing[part] = f"the workload fails: {type(error).__name__}: {error}"
