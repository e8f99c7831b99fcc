"""A workload and a target for a user's own data: written by `invoke new`, or made up for `--data=DIR`.

Both go the same way. The workload is a module that names its reader and its network; the target is that of
another with a recipe that suits new data, and with budgets that are starting points. A recipe that the
project wrote itself keeps all but its first step.
"""

from __future__ import annotations

import hashlib
import keyword
import math
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import RequestError
from pipeline.files import write_whole
from pipeline.learning_task import find_task
from pipeline.lookup import PACKAGE, find_file, ships
from pipeline.model_choice import ModelChoice, model_choice
from pipeline.scaffold_target import adapted, in_project, target_text
from pipeline.target import Target, load_target
from pipeline.workload import Workload, load_workload

if TYPE_CHECKING:
    from pipeline.data.source import DataSource
    from pipeline.documents import NewDocument

NAME_MAX = 40  # characters of a name that is made up
RESERVED = ("data", "logs", "releases", "store", "workloads")  # folders of artifacts/ that are no workload's
TEMPLATES = PACKAGE / "templates"
SAMPLES_SEEN = 200_000  # of a training from random weights, in all its epochs; two minutes of a small network
DISTINCT_SHARE = 0.8  # of the smallest class: samples that occur twice are calibrated on once
OUTPUTS = {
    "binary": ("1", "one logit [batch, 1]"),
    "regression": ("len(LABELS)", "values [batch, labels]"),
    "anomaly": ("len(LABELS)", "what went in, made anew, [batch, *INPUT_SHAPE]"),
}
LOGITS = ("len(LABELS)", "logits [batch, labels]")


@dataclass(frozen=True)
class Brought:
    """Data that somebody brought, looked at, and what is to be learned from it with which model."""

    name: str
    path: Path  # absolute
    kind: str  # of data: a name in pipeline/data/kinds.py
    reader: str  # its module in pipeline/data/
    source: DataSource
    training_samples: int
    validation_samples: int
    test_samples: int
    distinct: int  # training samples that a draw with as many of each class can surely give
    choice: ModelChoice
    weights: Path | None

    @property
    def epochs(self) -> int:
        """Return the passes that show a network about SAMPLES_SEEN samples: 10 to 60."""
        return min(60, max(10, SAMPLES_SEEN // max(1, self.training_samples)))

    @property
    def batch_size(self) -> int:
        return 32 if self.training_samples < 20_000 else 128


def look_at(name: str, data: str, model: str, weights: str) -> Brought:
    """Open the data and choose a model. Raises RequestError or a kind of it; nothing is written."""
    from pipeline.data.kinds import KINDS, kind_of, open_any

    path = Path(os.path.abspath(Path(data).expanduser()))
    kind = kind_of(path)
    source = open_any(path, kind)
    choice = model_choice(model, kind, source.task, tuple(source.input_shape))
    given = Path(weights).expanduser().absolute() if weights else None
    if given and not given.is_file():
        raise RequestError("--weights is no file", received=weights, expected="a file of weights", fix="check the path")
    if given and choice.trained:
        raise RequestError(
            "--weights does not go with a trained model",
            received=f"--weights={weights} --model={model}",
            expected="weights for a network that is built, or a file that holds both",
            fix="leave one of them out",
        )
    labels = np.asarray(source.load("train")[1])
    distinct = len(labels)
    if len(labels) and find_task(source.task, "").HAS_CLASSES:
        counts = np.unique(labels, return_counts=True)[1]
        distinct = len(counts) * math.ceil(DISTINCT_SHARE * counts.min())
    return Brought(
        name,
        path,
        kind,
        KINDS[kind],
        source,
        training_samples=len(labels),
        validation_samples=len(source.load("validation")[1]),
        test_samples=len(source.load("test")[1]),
        distinct=distinct,
        choice=choice,
        weights=given,
    )


def workload_text(brought: Brought, file: Path, root: Path) -> str:
    """Return the workload's module, which will lie at `file`."""
    source, choice = brought.source, brought.choice
    outputs, outputs_told = OUTPUTS.get(source.task, LOGITS)
    here = _place(brought.path, file, root)
    parts = {
        "name": brought.name,
        "reader": brought.reader,
        "settings": "data.toml there"
        if brought.path.is_dir()
        else f"{_shown(Path(brought.path.name))}.toml beside them",
        "report": f"`invoke data {_shown(in_project(brought.path, root))}`",
        "path": here,
        "description": _quoted(f"{brought.name}: {source.task} of {_shape(source.input_shape)} {brought.kind}"),
        "epochs": str(brought.epochs),
        "batch_size": str(brought.batch_size),
        "outputs": outputs_told,
        "imports": "",
        "constants": "",
        "hashes": "DATA.hashes()",
        "augment": "",
    }
    options = "".join(f", {key}={value!r}" for key, value in choice.options.items())
    if choice.code:
        arguments = ", INPUT_SHAPE, " + outputs if choice.takes_shapes else ""
        parts["imports"] = "from pipeline.source import source_hashes\nfrom pipeline.user_model import call_function\n"
        parts["constants"] = f"\nMODEL = {_place(choice.code, file, root)}\n"
        parts["hashes"] = "DATA.hashes() | source_hashes(MODEL)"
        parts["model"] = f"    return call_function(MODEL, {_quoted(choice.function)}{arguments}{options})"
    else:
        lines = [f"from pipeline.zoo import {choice.network}", ""]
        if choice.trained:
            lines += [f"# Not used: the recipe begins with {choice.step}. This is for a train step in its place."]
        lines += [f"return {choice.network}.build(INPUT_SHAPE, {outputs}{options})"]
        parts["model"] = "\n".join(f"    {line}" if line else "" for line in lines)
    if brought.kind == "image_folder":  # a picture that is asked about is prepared as those that were learned from
        parts["constants"] += "decode_image = DATA.decode_image\n"
    if brought.kind == "image_folder" and source.input_shape[0] == source.input_shape[1]:
        shift = f"{max(1.0, source.input_shape[0] / 16):.1f}"
        parts["augment"] = Template(_template("augment")).substitute(shift=shift).rstrip("\n")
    return Template(_template("workload")).substitute(parts).rstrip("\n") + "\n"


def new(name: str, data: str, model: str, weights: str, target: str, root: Path) -> NewDocument:
    """Write `workloads/<name>.py` and `targets/<name>.toml` into the project, both or none.

    Raises RequestError for a name that is none or is taken, for data, a model or a target that cannot be
    used; whatever is there already stays as it is.
    """
    from pipeline.documents import NewDocument

    _refuse_name(name, root)
    base = load_target(target, root)
    brought = look_at(name, data, model, weights)
    files = {root / "workloads" / f"{name}.py": "", root / "targets" / f"{name}.toml": ""}
    workload_file, target_file = files
    files[workload_file] = workload_text(brought, workload_file, root)
    files[target_file] = target_text(_template("target"), name, adapted(base, brought, root, own_kept=False), base)
    _write_all(files)
    return NewDocument(
        name=name,
        workload=str(workload_file.relative_to(root)),
        target=str(target_file.relative_to(root)),
        data=str(brought.path),
        kind=brought.kind,
        task=brought.source.task,
        labels=list(brought.source.labels),
        input_shape=list(brought.source.input_shape),
        training_samples=brought.training_samples,
        model=_model_told(brought.choice),
        next=f"invoke build --target={name} --workload={name}",
    )


def from_data(target: Target, data: str, model: str, weights: str, root: Path) -> tuple[Target, Workload]:
    """Return the target adapted to data that no workload was written for, and a workload made up for it.

    The workload's module lies in artifacts/workloads/, under the data's name made plain; it is written
    anew only where it differs, and loaded by its path. Raises what `new` raises.
    """
    brought = look_at(plain_name(Path(os.path.abspath(Path(data).expanduser()))), data, model, weights)
    file = root / "artifacts" / "workloads" / f"{brought.name}.py"
    text = workload_text(brought, file, root)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_whole(file, text)
    return adapted(target, brought, root, own_kept=not ships(target.path)), load_workload(file, root)


def plain_name(path: Path) -> str:
    """Return a workload's name for data at `path`: letters, digits and _ of the name, never a digit first.

    Where more than spaces and the like is lost, a part of the name's hash keeps two names apart.
    """
    given = path.name if path.is_dir() else path.stem
    name = re.sub(r"[^0-9A-Za-z]+", "_", given).strip("_")
    if not given.isascii() or not name or len(name) > NAME_MAX:
        name = f"{name[:NAME_MAX] or 'data'}_{hashlib.sha256(os.fsencode(given)).hexdigest()[:8]}"
    return f"data_{name}" if name[0].isdigit() or keyword.iskeyword(name) or name in RESERVED else name


def _refuse_name(name: str, root: Path) -> None:
    if not re.fullmatch(r"[A-Za-z][0-9A-Za-z_]{0,63}", name) or keyword.iskeyword(name) or name in RESERVED:
        raise RequestError(
            "--name cannot name a workload",
            received=repr(name),
            expected=f"a letter, then letters, digits and _, at most 64; none of {', '.join(RESERVED)}",
            fix="--name=flowers",
        )
    for folder, suffix in (("workloads", ".py"), ("targets", ".toml")):
        if taken := find_file(folder, name, suffix, root):
            raise RequestError(
                f"the name {name} is taken: nothing is overwritten",
                received=str(taken),
                expected="a name that neither a workload nor a target has",
                fix="choose another --name, or move that file away",
            )


def _write_all(files: dict[Path, str]) -> None:
    """Write new files, all or none."""
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as stream:
                written.append(path)
                stream.write(text)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise RequestError(
                "nothing is overwritten",
                received=str(error.filename),
                expected="a name that is free",
                fix="choose another --name",
            ) from error
        raise


def _place(path: Path, file: Path, root: Path) -> str:
    """Return a Path as Python: from the module's own place where it lies in the project, so that that can move."""
    if not path.is_relative_to(root):
        return f"Path({_quoted(str(path))})"
    up = len(file.relative_to(root).parts) - 1
    inside = path.relative_to(root)
    return f"Path(__file__).resolve().parents[{up}]" + (f" / {_quoted(str(inside))}" if inside.parts else "")


def _quoted(text: str) -> str:
    """Return Python for a text; any path can be one."""
    plain = repr(text)
    return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in text else plain


def _shown(path: str | Path) -> str:
    """Return a path as a shell takes it, on one line."""
    return shlex.quote(str(path)) if str(path).isprintable() else ascii(str(path))


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _model_told(choice: ModelChoice) -> str:
    if choice.code:
        return f"{choice.code}:{choice.function}"
    options = ",".join(f"{key}={value}" for key, value in choice.options.items())
    return str(choice.trained) if choice.trained else f"{choice.network}:{options}".rstrip(":")


def _template(name: str) -> str:
    return (TEMPLATES / f"{name}.txt").read_text(encoding="utf-8")
