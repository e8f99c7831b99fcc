"""Target × workload → stages with keys. Pure: nothing is run and TensorFlow is not imported.

A stage is one step with every input pinned. Its key is the SHA-256 over the step's name and
source, its config, the keys of the stages that it follows, the files from outside the plan,
the seed, and the versions of the libraries that shape the result.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.doctor.requirements import install_command, plain_name, requirements
from pipeline.errors import BadTarget, DataError, EnvironmentUnsuited, RequestError
from pipeline.learning_task import budget_keys, metric_of_budget
from pipeline.lookup import PACKAGE, find_module, project_root
from pipeline.runner import find_runner
from pipeline.source import file_hash, source_hashes
from pipeline.store import key_of
from pipeline.target import Target
from pipeline.target_runner import config_of, find_evaluator
from pipeline.toml_files import invalid, key_at
from pipeline.workload import Workload

RECORD_FORMAT = 1
STEP_MARKER = "PRODUCES"
STEP_CONTRACT = ("Config", "CONSUMES", "PRODUCES", "LIBRARIES", "run")
SLIM = "slim"  # the step that a target with a budget of size has without asking
METADATA = "metadata"  # comes last: steps that write a file anew leave out what no interpreter computes with
BASELINE, EVALUATE, EVALUATE_BASELINE = "baseline", "evaluate", "evaluate_baseline"


@dataclass(frozen=True)
class Stage:
    """One step of a plan with its inputs pinned."""

    name: str  # unique in its plan: the step's name, "prune_2" for a second prune, "baseline", …
    step: ModuleType
    config: BaseModel
    follows: str | None  # name of the stage whose folder is the step's source
    record: dict[str, Any]  # what the key is taken from

    @property
    def key(self) -> str:
        return key_of(self.record)

    @property
    def produces(self) -> str:
        return self.step.PRODUCES


@dataclass(frozen=True)
class Plan:
    """The stages in the order in which they run, and where the result is."""

    stages: tuple[Stage, ...]
    final: str  # name of the stage that gives the file that ships

    def up_to(self, step: str) -> Plan:
        """Return the plan that ends with the recipe's last stage of `step`, without the rest."""
        recipe = [stage for stage in self.stages if stage.name not in (BASELINE, EVALUATE, EVALUATE_BASELINE)]
        last = max((i for i, stage in enumerate(recipe) if _short_name(stage.step) == step), default=None)
        if last is None:
            raise RequestError(
                f"the recipe has no {step!r} step",
                received=step,
                expected=f"one of {', '.join(dict.fromkeys(_short_name(stage.step) for stage in recipe))}",
                fix=f"add a [[recipe]] entry with step = {step!r} to the target, or choose another target",
            )
        return Plan(tuple(recipe[: last + 1]), recipe[last].name)

    def recipe_only(self) -> Plan:
        """Return the plan without evaluation and baseline: it ends with the verified file."""
        return self.up_to(_short_name(next(stage for stage in self.stages if stage.name == self.final).step))


def make_plan(target: Target, workload: Workload, seed: int, root: Path | None = None) -> Plan:
    """Return the stages of a build. Raises BadTarget or UnknownName for any mistake in the recipe."""
    refuse_other_metrics(target, workload)
    evaluator, runner = find_evaluator(target, root)
    config_of(find_runner(target.measured_by, root), target)  # a mistake in it is found before anything runs
    given = {
        "seed": seed,
        "input_dtype": target.input_dtype,
        "output_dtype": target.output_dtype,
        "runner": evaluator,
    }
    data = data_hashes(workload)
    chain: list[Stage] = []
    for index, entry in enumerate(target.recipe):
        step, config = _step(target, ("recipe", index), entry, given, root)
        previous = chain[-1] if chain else None
        _check_chain(target, index, step, previous)
        if _short_name(step) == METADATA and adds_slim(target):
            chain.append(_slim_stage(target, given, root, chain, workload, data))
        chain.append(
            _stage(_unique(_short_name(step), chain), step, config, chain[-1] if chain else None, workload, data)
        )
    final = chain[-1]
    if final.produces != "tflite":
        raise BadTarget(
            f"{target.path}: the recipe does not end with a .tflite",
            received=f"a last step {final.name!r} that gives {final.produces}",
            expected="a last step that gives tflite, such as quantize",
            fix='add [[recipe]] step = "quantize" at the end',
        )
    if adds_slim(target) and _short_name(final.step) != METADATA:
        final = _slim_stage(target, given, root, chain, workload, data)
        chain.append(final)
    trained = next((stage for stage in chain if stage.produces == "keras"), None)
    for stage in chain:
        if getattr(stage.step, "GIVES_BASELINE", False):  # it learned this workload from another one's model
            trained = stage
    float_given = {**given, "input_dtype": "float32", "output_dtype": "float32"}
    step, config = _step(target, ("baseline",), _baseline_entry(target, chain, trained), float_given, root)
    _check_chain(target, None, step, trained)
    if step.PRODUCES != "tflite":
        raise BadTarget(
            f"{target.path}: baseline: the step does not give a .tflite",
            received=f"{_short_name(step)!r}, which gives {step.PRODUCES}",
            expected="a step that gives tflite, such as quantize",
            fix='baseline = { step = "quantize", scheme = "float32" }',
        )
    baseline = _stage(BASELINE, step, config, trained, workload, data)

    import pipeline.evaluate as evaluate

    settings = {"runner": evaluator, "threads": target.threads, **target.limits.model_dump()}
    version = {"runner_version": runner.VERSION}
    stages = (
        *chain,
        _stage(EVALUATE, evaluate, evaluate.Config(**settings), final, workload, data, version),
        baseline,
        _stage(EVALUATE_BASELINE, evaluate, evaluate.Config(**settings), baseline, workload, data, version),
    )
    return Plan(stages, final.name)


def _baseline_entry(target: Target, chain: list[Stage], trained: Stage | None) -> dict[str, Any]:
    """Return the entry of the baseline: the target's, or the given file itself where no model was trained."""
    own = getattr(chain[0].step, "BASELINE", None)
    if trained is None and own is not None and "baseline" not in target.model_fields_set:
        return {**target.recipe[0], **own}
    return target.baseline


def refuse_other_metrics(target: Target, workload: Workload) -> None:
    """Raise BadTarget for a budget on a metric that the workload's task does not have."""
    known = [key for metric in workload.task.METRICS for key in budget_keys(metric)]
    for key in target.budgets.model_fields_set:
        if metric_of_budget(key) and key not in known and getattr(target.budgets, key) is not None:
            raise BadTarget(
                f"{target.path}: budgets.{key} binds a metric that the workload {workload.name} does not have",
                received=f"{key}, and a workload of the task {workload.task_name!r}",
                expected=f"one of {', '.join(known)}",
                fix=f"take {key} out, or build the target for another workload",
            )


def adds_slim(target: Target) -> bool:
    """Whether a slim step comes behind the recipe, as a budget of size asks for: it takes nothing but bytes."""
    wanted = target.budgets.size_bytes is not None if target.slim is None else target.slim
    return wanted and all(entry.get("step") != SLIM for entry in target.recipe)


def whole_recipe(target: Target) -> tuple[dict[str, Any], ...]:
    """Return the recipe as it is run, the slim step that was added included."""
    if not adds_slim(target):
        return target.recipe
    last = [entry for entry in target.recipe[-1:] if entry.get("step") == METADATA]
    return (*target.recipe[: len(target.recipe) - len(last)], {"step": SLIM}, *last)


def _slim_stage(
    target: Target,
    given: dict[str, Any],
    root: Path | None,
    chain: list[Stage],
    workload: Workload,
    data: dict[str, str],
) -> Stage:
    """Return the slim step that was added, behind what is in the chain."""
    step, config = _step(target, (SLIM,), {"step": SLIM}, given, root)
    return _stage(_unique(SLIM, chain), step, config, chain[-1], workload, data)


def _step(
    target: Target, place: tuple[object, ...], entry: dict[str, Any], given: dict[str, Any], root: Path | None
) -> tuple[ModuleType, BaseModel]:
    """Find a recipe entry's module and validate its parameters, with seed and dtypes filled in."""
    where = f"{target.path}: {key_at((*place, 'step'))}"
    name = entry.get("step")
    if not isinstance(name, str):
        raise BadTarget(f"{where} is missing", received=repr(name), expected="a step's name", fix='step = "train"')
    step = find_module("steps", name, root, kind="step", marker=STEP_MARKER, where=where)
    missing = [part for part in STEP_CONTRACT if not hasattr(step, part)]
    if missing:
        raise RequestError(
            f"the step {step.__file__} is incomplete",
            received=f"a module without {', '.join(missing)}",
            expected=f"a module that defines {', '.join(STEP_CONTRACT)}",
            fix="define the missing names; the contract is in docs/design.md",
        )
    parameters = {key: value for key, value in entry.items() if key != "step"}
    filled = {key: value for key, value in given.items() if key in step.Config.model_fields}
    try:
        context = {"root": root or project_root()}  # where a path in a recipe starts
        return step, step.Config.model_validate({**filled, **parameters}, context=context)
    except ValidationError as error:
        raise invalid(target.path, place, error, step.Config) from error


def _check_chain(target: Target, index: int | None, step: ModuleType, previous: Stage | None) -> None:
    received = previous.produces if previous else None
    place = "baseline" if index is None else f"recipe[{index}]"
    if previous and _short_name(previous.step) == METADATA:
        raise BadTarget(
            f"{target.path}: {place}: nothing comes after {METADATA!r}",
            received=f"{_short_name(step)!r} after {METADATA!r}",
            expected=f"{METADATA!r} as the last step, since others write the file anew without it",
            fix=f"move {METADATA!r} to the end of the recipe",
        )
    if received == step.CONSUMES:
        return
    before = f"{previous.name!r} before it gives {received}" if previous else "nothing comes before it"
    name = _short_name(step)
    wanted = f"follows a step that gives {step.CONSUMES}" if step.CONSUMES else "comes first"
    raise BadTarget(
        f"{target.path}: {place}: the step {name!r} cannot stand here",
        received=f"{name!r}, but {before}",
        expected=f"{name!r} {wanted}",
        fix=_chain_fix(name, step, previous),
    )


def _chain_fix(name: str, step: ModuleType, previous: Stage | None) -> str:
    if previous is None:
        return 'begin the recipe with step = "train"'
    if step.CONSUMES is None and _short_name(previous.step) == name:
        return f"take the second {name!r} out"
    return f"move {name!r} before {previous.name!r}"


def _stage(
    name: str,
    step: ModuleType,
    config: BaseModel,
    follows: Stage | None,
    workload: Workload,
    data: dict[str, str],
    extra: dict[str, Any] | None = None,
) -> Stage:
    parameters = config.model_dump(mode="json")
    record = {
        "format": RECORD_FORMAT,
        "step": _short_name(step),
        "workload": workload.name,
        **outside_inputs(step, config, workload, data),
        "config": {key: value for key, value in parameters.items() if key not in ("seed", *given_files(config))},
        "follows": [follows.key] if follows else [],
        "seed": parameters.get("seed"),
        "libraries": {library: _version(library, step) for library in step.LIBRARIES},
        **(extra or {}),
    }
    return Stage(name, step, config, follows.name if follows else None, record)


def given_files(config: BaseModel) -> dict[str, Path]:
    """Return the files that a recipe names; each counts by its content: where it lies changes nothing."""
    return {name: value for name, value in config if isinstance(value, Path)}


def outside_inputs(
    step: ModuleType, config: BaseModel, workload: Workload, data: dict[str, str]
) -> dict[str, dict[str, str]]:
    """Return the part of a stage's record that comes from files: hashes of source and data as they are on disk.

    `data` are those of `data_hashes`, taken once for all stages of a plan: of many files they take a while.
    """
    sources = [Path(str(step.__file__)), workload.source, Path(str(workload.task.__file__))]
    if step.PRODUCES == "tflite":
        sources.append(PACKAGE / "verify.py")  # what the file was held against before it was stored
    named = {f"config.{name}": _content_hash(path) for name, path in given_files(config).items()}
    return {"source": source_hashes(*sources), "files": {**data, **named}}


def data_hashes(workload: Workload) -> dict[str, str]:
    """Return {name: SHA-256} of the workload's data; files of one name share their entry."""
    hashes: dict[str, list[str]] = {}
    for path in workload.data_files:
        try:
            hashes.setdefault(path.name, []).append(file_hash(path))
        except OSError as error:
            raise DataError(
                f"the data file {path} of {workload.source} cannot be read: {error.strerror}",
                received=str(error.strerror),
                expected="every file in DATA_FILES",
                fix=f"restore {path.name}, or correct DATA_FILES",
            ) from error
    return {name: " ".join(several) for name, several in hashes.items()} | workload.data_hashes()


def _version(library: str, step: ModuleType) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError as error:
        extra = getattr(step, "EXTRA", None)
        raise EnvironmentUnsuited(
            f"the step {_short_name(step)!r} needs {library}, which is not installed",
            received="no such distribution",
            expected=f"the distribution {library}, which the step names in LIBRARIES",
            fix=_install(library, extra),
        ) from error


def _install(library: str, extra: str | None) -> str:
    if extra:
        return f"pip install 'edge-deployment-pipeline[{extra}]'"
    ours = any(one.name == plain_name(library) for one in requirements() if not one.extra)
    return f"{install_command()}; what else is missing says: invoke doctor" if ours else f"pip install {library}"


def _content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or one over the names and the contents of all files in a folder."""
    try:
        if path.is_dir():
            files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
            return key_of({name: file_hash(file) for name, file in files.items()})
        return file_hash(path)
    except OSError as error:
        raise DataError(
            f"{path}, which the recipe names, cannot be read: {error.strerror}",
            received=str(error.strerror),
            expected="a file or folder that can be read",
            fix="correct the path, or the file's permissions",
        ) from error


def _short_name(step: ModuleType) -> str:
    return Path(str(step.__file__)).stem


def _unique(name: str, chain: list[Stage]) -> str:
    taken = {BASELINE, EVALUATE, EVALUATE_BASELINE, *(stage.name for stage in chain)}
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)
