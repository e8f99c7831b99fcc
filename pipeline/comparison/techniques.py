"""What is compared: `techniques.toml`, the shipped one and the project's own, as targets of one plan each.

Every technique follows the same training: the target's own steps up to the model that its float
file is made from. What else the target has (runner, threads, limits, budgets) is the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, StringConstraints, model_validator

from pipeline.errors import BadTarget, EnvironmentUnsuited, RequestError, UnknownName
from pipeline.lookup import PACKAGE
from pipeline.plan import BASELINE, Plan, make_plan
from pipeline.target import Target
from pipeline.toml_files import Strict, read_toml
from pipeline.workload import Workload

FILE = "techniques.toml"
REFERENCE = "float32"  # what accuracy is compared with
OWN = "target"  # the target's own recipe
RESERVED = {OWN, BASELINE}


class Technique(Strict):
    """One recipe that is tried after the target's training."""

    description: str = Field(min_length=1, description="One line for tables.")
    against: str | None = Field(None, description="Technique that says what this one gained; none: nothing does.")
    float_io: bool = Field(False, description="The file takes and gives float32, whatever the target asks for.")
    recipe: tuple[dict[str, Any], ...] = Field(
        strict=False, min_length=1, description="Steps after the training, the last of which gives a .tflite."
    )


class Techniques(Strict):
    """A whole `techniques.toml`."""

    quick: dict[str, dict[str, Any]] = Field({}, description="By step: parameters that --quick sets.")
    expected_seconds: dict[str, dict[str, float]] = Field(
        {}, description="By workload: seconds of a cold comparison of `all` techniques, and of `quick`."
    )
    technique: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")], Technique] = Field(
        {}, description="The techniques by name, in their order; a name is also that of a file."
    )

    _paths: dict[str, Path] = PrivateAttr({})

    def path_of(self, name: str) -> Path:
        """Return the file that the technique stands in."""
        return self._paths[name]

    @model_validator(mode="after")
    def _no_reserved_name(self) -> Techniques:
        taken = sorted(RESERVED & self.technique.keys())
        if taken:
            raise ValueError(f"received a technique named {taken[0]!r}; expected another name: that one has a meaning")
        return self


@dataclass(frozen=True)
class Candidate:
    """A technique on its way: its plan, or why there is none."""

    name: str
    technique: Technique
    target: Target
    plan: Plan | RequestError | EnvironmentUnsuited  # or why there is none


def load_techniques(root: Path) -> Techniques:
    """Return the shipped techniques and the project's own. Raises BadTarget for a mistake in the latter."""
    own = root / FILE
    shipped = _from(PACKAGE / FILE)
    return _joined(shipped, _from(own), own) if own.is_file() else shipped


def _from(path: Path) -> Techniques:
    found = read_toml(path, Techniques)
    found._paths = dict.fromkeys(found.technique, path)
    return found


def _joined(shipped: Techniques, own: Techniques, path: Path) -> Techniques:
    """Return both, the project's own before what ships. Raises UnknownName for an `against` that leads nowhere."""
    joined = Techniques(
        quick=shipped.quick | own.quick,
        expected_seconds=shipped.expected_seconds | own.expected_seconds,
        technique=shipped.technique | own.technique,
    )
    joined._paths = shipped._paths | own._paths
    for name, one in own.technique.items():
        if one.against is not None and one.against not in joined.technique:
            raise UnknownName("technique", one.against, joined.technique, where=f"{path}: technique.{name}.against")
    return joined


def chosen_names(techniques: Techniques, asked: str) -> list[str]:
    """Return the names asked for, comma-separated, and the reference first; all where nothing is asked for.

    Raises UnknownName with the nearest known one.
    """
    known = [*techniques.technique, OWN]
    names = [name.strip() for name in asked.split(",")] if asked else known
    for name in names:
        if name not in known:
            raise UnknownName("technique", name, known, where="--techniques")
    # What a technique is held against belongs to it: without it, nobody knows what was gained.
    wanted = {REFERENCE, *names}
    for name in names:
        against = techniques.technique[name].against if name != OWN else "int8"
        if against in techniques.technique:
            wanted.add(str(against))
    return sorted((name for name in known if name in wanted), key=lambda name: name != REFERENCE)


def candidates(
    target: Target, workload: Workload, seed: int, root: Path, techniques: Techniques, names: list[str], *, quick: bool
) -> list[Candidate]:
    """Return a candidate for each name; one that cannot be planned says why. The target itself must be sound."""
    plan = make_plan(target, workload, seed, root)
    stages = [stage.name for stage in plan.stages]
    trained = next(stage.follows for stage in plan.stages if stage.name == BASELINE)
    if trained is None:
        raise BadTarget(
            f"{target.path}: there is no model to compare techniques on",
            received=f"a recipe that begins with {target.recipe[0]['step']!r}, a finished file",
            expected="a recipe that trains or loads a Keras model",
            fix="`invoke build` quantizes the file; compare targets of other schemes with `invoke build --target=a,b`",
        )
    shared = target.recipe[: stages.index(str(trained)) + 1]
    changes = techniques.quick if quick else {}
    found = []
    for name in names:
        if name == OWN:
            technique = Technique(
                description="the target's own recipe", against="int8", recipe=target.recipe[len(shared) :]
            )
        else:
            technique = techniques.technique[name]
        recipe = tuple(_shortened(entry, changes, workload) for entry in (*shared, *technique.recipe))
        dtypes = {"input_dtype": "float32", "output_dtype": "float32"} if technique.float_io else {}
        varied = target.model_copy(update={"recipe": recipe, **dtypes})
        varied._name, varied._path = target.name, target.path if name == OWN else techniques.path_of(name)
        try:
            found.append(Candidate(name, technique, varied, make_plan(varied, workload, seed, root)))
        except (RequestError, EnvironmentUnsuited) as error:
            if name == REFERENCE:
                raise
            found.append(Candidate(name, technique, varied, error))
    return found


def _shortened(entry: dict[str, Any], changes: dict[str, dict[str, Any]], workload: Workload) -> dict[str, Any]:
    """Return a recipe's entry as --quick changes it; epochs become fewer and never more."""
    step = entry.get("step")
    changed = changes.get(step, {}) if isinstance(step, str) else {}
    usual = entry.get("epochs", workload.training.epochs if step == "train" else None)
    if "epochs" in changed and isinstance(usual, int):
        changed = {**changed, "epochs": min(usual, changed["epochs"])}
    return {**entry, **changed}
