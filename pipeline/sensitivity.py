"""Which layers quantization hurts most, and the recipe that keeps those wider.

The target's recipe runs up to its quantizing step, once more with a float32 file in that step's
place, and both files are compared operator by operator on calibration samples (`layer_errors.py`).
Partial quantization, the most sensitive layers first, is that of Wu et al. 2020 (arXiv:2004.09602).
Everything is chosen on training and validation samples; test is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.build_target import executed
from pipeline.errors import RequestError
from pipeline.execute import Worker, worker_of
from pipeline.files import write_whole
from pipeline.layer_errors import LayerError, layer_errors
from pipeline.plan import make_plan
from pipeline.project import ARTIFACT, SENSITIVITY_FILES, Project
from pipeline.steps.quantize_edge import BITS, WITHOUT_INT4
from pipeline.target import Target, recipe_toml
from pipeline.watch import Watch
from pipeline.workload import Workload

if TYPE_CHECKING:
    from pipeline.documents import CalibrationSize, FileQuality, LayerSensitivity, SensitivityDocument

SAMPLES = 100  # compared operator by operator
MENDED_SHARE = 0.5  # of all own noise: the fewest layers that have it are kept wider
QUANTIZERS = ("quantize", "quantize_edge")
# What the schemes of `quantize` are called in `quantize_edge`, and the next wider scheme of each.
EDGE_SCHEMES = {"int8": "int8", "int16x8": "int16x8", "dynamic": "dynamic_int8"}
WIDER = {
    **WITHOUT_INT4,
    "int8": "int16x8",
    **dict.fromkeys(("int16x8", "dynamic_int8", "weight_only_int8"), "float32"),
}
CALIBRATED = ("int8", "int8x4", "int16x8", "int16x4")


@dataclass(frozen=True)
class _Request:
    """A recipe up to the step that quantizes, and what it runs with."""

    target: Target
    workload: Workload
    seed: int
    project: Project
    watch: Watch
    before: tuple[dict[str, Any], ...]
    entry: dict[str, Any]  # the quantizing step's
    worker: Worker  # one process for all files: TensorFlow is loaded once

    @property
    def scheme(self) -> str:
        return self.entry.get("scheme", {"quantize": "int8", "quantize_edge": "int8x4"}[self.entry["step"]])


def sensitivity(
    target: Target,
    workload: Workload,
    seed: int,
    project: Project,
    watch: Watch,
    *,
    mend: bool = False,
    calibration_sizes: tuple[int, ...] = (),
) -> SensitivityDocument:
    """Compare the target's quantized file with its float file; write and return the SensitivityDocument.

    mend: build the mended recipe as well. calibration_sizes: numbers of calibration samples with
    which the file is built again. Raises RequestError where the recipe gives nothing to compare,
    StepFailed when a file cannot be built.
    """
    from pipeline.calibration import representative_dataset
    from pipeline.documents import SensitivityDocument
    from pipeline.machine_lock import training

    request = _request(target, workload, seed, project, watch)
    if calibration_sizes and request.scheme not in CALIBRATED:
        raise _refused(
            "a sweep of calibration sizes needs a scheme that is calibrated",
            f"scheme = {request.scheme!r}",
            f"one of {', '.join(CALIBRATED)}",
            "leave --calibration-sizes out, or quantize activations as well",
        )
    samples, _ = representative_dataset(workload, SAMPLES, seed)
    with ExitStack() as stack:
        stack.enter_context(request.worker)
        files = {
            "float32": _file(stack, request, {"step": "quantize", "scheme": "float32"}, float_io=True),
            "quantized": _file(stack, request, request.entry),
        }
        with training(watch.note):
            errors = layer_errors(files["float32"], files["quantized"], samples)
        wider = _wider(request, errors)
        mended_entry = _mended(request, wider) if wider else None
        if mend and mended_entry:
            files["mended"] = _file(stack, request, mended_entry)
        for size in calibration_sizes:
            files[f"{size} samples"] = _file(stack, request, {**request.entry, "calibration_samples": size})
        with training(watch.note):
            others = {name: path for name, path in files.items() if name not in ("float32", "quantized")}
            compared = {name: layer_errors(files["float32"], path, samples) for name, path in others.items()}
            compared["quantized"] = errors
            qualities = dict(_qualities(files, compared, request))
    document = SensitivityDocument(
        target=target.name,
        workload=workload.name,
        seed=seed,
        step=request.entry["step"],
        scheme=request.scheme,
        metric=workload.metric,
        samples=SAMPLES,
        files=[qualities[name] for name in ("float32", "quantized", "mended") if name in qualities],
        layers=_ranked(errors, wider, compared.get("mended")),
        calibration_sizes=[
            _calibration_size(size, qualities[f"{size} samples"], compared[f"{size} samples"])
            for size in calibration_sizes
        ],
        recipe=recipe_toml([*request.before, mended_entry]) if mended_entry else None,
        folder=str(project.folder(workload.name, target.name).relative_to(project.root)),
    )
    folder = project.folder(workload.name, target.name)
    for name in SENSITIVITY_FILES:  # of an earlier call: what is not made anew would not fit
        (folder / name).unlink(missing_ok=True)
    write_whole(folder / SENSITIVITY_FILES[0], document.model_dump_json(indent=2) + "\n")
    if document.recipe:
        write_whole(folder / SENSITIVITY_FILES[1], document.recipe)
    return document


def sizes_of(text: str) -> tuple[int, ...]:
    """Return the numbers of `10,50,100`, each once, in order. Raises RequestError for any other text."""
    parts = [part.strip() for part in text.split(",")] if text else []
    sizes = sorted({int(part) for part in parts if part.isascii() and part.isdigit() and 10 <= int(part) <= 100_000})
    if len(sizes) != len(parts):
        raise _refused(
            "--calibration-sizes cannot be used",
            text,
            "whole numbers of 10 to 100000, each once, with commas between them",
            "--calibration-sizes=10,50,100,500",
        )
    return tuple(sizes)


def _request(target: Target, workload: Workload, seed: int, project: Project, watch: Watch) -> _Request:
    """Split the recipe at the step that quantizes. Raises RequestError where none does."""
    steps = [entry.get("step") for entry in target.recipe]
    place = next((i for i, step in enumerate(steps) if step in QUANTIZERS), None)
    if place is None:
        raise _refused(
            f"the recipe of {target.name} has no step whose error can be told from training",
            " → ".join(map(str, steps)),
            f"a step {' or '.join(QUANTIZERS)}, which quantizes the model that it is given",
            "choose another target; quantize_aware trains, so that its file differs for other reasons as well",
        )
    worker = worker_of(target, workload, project.store, project.root)
    request = _Request(
        target, workload, seed, project, watch, target.recipe[:place], dict(target.recipe[place]), worker
    )
    if request.scheme == "float32":
        raise _refused(
            f"the recipe of {target.name} does not quantize",
            "scheme = 'float32'",
            "a scheme with fewer bits",
            "choose another target",
        )
    return request


def _file(stack: ExitStack, request: _Request, entry: dict[str, Any], *, float_io: bool = False) -> Path:
    """Build the recipe with `entry` as its quantizing step; return the file, which stays while `stack` does.

    It need not agree with its source: why it does not is what is asked here.
    """
    target = request.target.model_copy(
        # Slim takes the names away by which operators are told apart.
        update={"recipe": (*request.before, {**entry, "agreement_min": 0.0}), "slim": False}
        | ({"input_dtype": "float32", "output_dtype": "float32"} if float_io else {})
    )
    plan = make_plan(target, request.workload, request.seed, request.project.root).recipe_only()
    done = stack.enter_context(
        executed(plan, target, request.workload, request.project, request.watch, worker=request.worker)
    )
    return done[plan.final].entry.folder / ARTIFACT


def _wider(request: _Request, errors: list[LayerError]) -> dict[str, str]:
    """Return {layer: wider scheme} of the fewest layers with half of all own noise; empty if none can be wider."""
    total, found, chosen = sum(error.own_noise for error in errors), 0.0, {}
    for error in sorted(errors, key=lambda error: -error.own_noise):
        if found >= MENDED_SHARE * total:
            break
        if wider := WIDER.get(_scheme(request, error)):
            chosen[error.float_operator.layer] = wider
        found += error.own_noise
    return chosen


def _scheme(request: _Request, error: LayerError) -> str:
    """Return the scheme that an operator has in the quantized file."""
    operator, layers = error.float_operator, request.entry.get("layers", {})
    named = [layers[name] for name in sorted(operator.names) if name in layers]
    scheme = named[0] if named else EDGE_SCHEMES.get(request.scheme, request.scheme)
    if operator.has_kernel:
        four_bits = error.quantized_operator.kernel_dtype == "int4"
        return scheme if four_bits else WITHOUT_INT4.get(scheme, scheme)
    activation_bits = BITS[scheme][0] if scheme in BITS else None
    return {8: "int8", 16: "int16x8"}.get(activation_bits or 0, "float32")


def _mended(request: _Request, wider: dict[str, str]) -> dict[str, Any]:
    """Return the quantizing step with some layers kept wider."""
    entry = {key: value for key, value in request.entry.items() if key not in ("step", "scheme", "layers")}
    scheme = EDGE_SCHEMES.get(request.scheme, request.scheme)
    layers = {**request.entry.get("layers", {}), **wider}
    return {"step": "quantize_edge", "scheme": scheme, **entry, "layers": layers}


def _qualities(
    files: dict[str, Path], compared: dict[str, list[LayerError]], request: _Request
) -> Iterator[tuple[str, FileQuality]]:
    """Yield name and quality of each file, on the whole validation split."""
    from pipeline.data.streaming import answers_of
    from pipeline.documents import FileQuality
    from pipeline.files import sha256_of
    from pipeline.target_runner import find_evaluator, settings_of

    target = request.target
    raw, labels = request.workload.load("validation")
    _, runner = find_evaluator(target, request.project.root)
    task, threshold = request.workload.task, request.workload.threshold
    answers = answers_of(runner, files, raw, request.workload, settings_of(target))
    for name, path in files.items():
        yield (
            name,
            FileQuality(
                name=name,
                sha256=sha256_of(path),
                size_bytes=path.stat().st_size,
                validation_score=task.scores(answers[name][1], labels, threshold)[request.workload.metric],
                agreement=task.agreement(answers[name][0], answers["float32"][0], threshold),
                output_sqnr_db=compared[name][-1].sqnr_db if name in compared else None,
            ),
        )


def _ranked(errors: list[LayerError], wider: dict[str, str], mended: list[LayerError] | None) -> list[LayerSensitivity]:
    """Return the operators, that of the most own noise first."""
    from pipeline.documents import LayerSensitivity

    after = {error.float_operator.output: error for error in mended or ()}
    rows = []
    for error in sorted(errors, key=lambda error: -error.own_noise):
        operator, other = error.float_operator, after.get(error.float_operator.output)
        rows.append(
            LayerSensitivity(
                layer=operator.layer,
                operator=operator.kind,
                weights=error.quantized_operator.kernel_dtype,
                own_noise=error.own_noise,
                sqnr_db=error.sqnr_db,
                wider=wider.get(operator.layer) if operator.has_kernel else None,
                mended_own_noise=other.own_noise if other else None,
                mended_sqnr_db=other.sqnr_db if other else None,
            )
        )
    return rows


def _calibration_size(size: int, quality: FileQuality, errors: list[LayerError]) -> CalibrationSize:
    from pipeline.documents import CalibrationSize

    layers = {error.float_operator.layer: error.sqnr_db for error in errors if error.float_operator.has_kernel}
    return CalibrationSize(samples=size, quality=quality, layers=layers)


def _refused(message: str, received: str, expected: str, fix: str) -> RequestError:
    return RequestError(message, received=received, expected=expected, fix=fix)
