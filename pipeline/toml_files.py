"""TOML files that people write: read, validated, and every mistake named by file and key."""

from __future__ import annotations

import difflib
import tomllib
import typing
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import BadTarget, RequestError

Document = TypeVar("Document", bound=BaseModel)


class Strict(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def read_toml(path: Path, model: type[Document], kind: type[RequestError] = BadTarget) -> Document:
    """Read and validate a TOML file. Raises `kind`, which names file and key."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # TOML and UTF-8 mistakes are ValueErrors
        what = "cannot be read" if isinstance(error, OSError) else "is not TOML"
        raise kind(
            f"{path} {what}: {error}",
            received=str(error),
            expected="a TOML file",
            fix=f"correct {path.name} at the place that is named",
        ) from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid(path, (), error, model, kind) from error


def invalid(
    path: Path,
    prefix: tuple[object, ...],
    error: ValidationError,
    model: type[BaseModel],
    kind: type[RequestError] = BadTarget,
) -> RequestError:
    """Turn one of pydantic's complaints into an error that names file, key, and what was expected."""
    first = first_complaint(error)
    key = key_at((*prefix, *first["loc"]))
    received, expected, fix = repr(first["input"]), first["msg"], f"correct {key or 'the file'} in {path.name}"
    if first["type"] == "extra_forbidden":
        known = sorted(_model_at(model, first["loc"][:-1]).model_fields)
        name = str(first["loc"][-1])
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        received, expected = name, f"one of {', '.join(known)}"
        fix = f"did you mean {near[0]!r}?" if near else f"take {key} out of {path.name}"
        return kind(f"{path}: unknown key {key}", received=received, expected=expected, fix=fix)
    if first["type"] == "missing":
        field = _model_at(model, first["loc"][:-1]).model_fields[str(first["loc"][-1])]
        expected = field.description or first["msg"]
        return kind(f"{path}: {key} is missing", received="no such key", expected=expected, fix=fix)
    return kind(f"{path}: {key} cannot be used", received=received, expected=expected, fix=fix)


def first_complaint(error: ValidationError) -> ErrorDetails:
    """Return pydantic's first complaint, or that of an unknown key, which may be why another one is missing."""
    complaints = error.errors(include_url=False)
    return next((one for one in complaints if one["type"] == "extra_forbidden"), complaints[0])


def key_at(location: tuple[object, ...]) -> str:
    """Return a place in the file as a person writes it: `recipe[1].final_sparsity`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _model_at(model: type[BaseModel], location: tuple[object, ...]) -> type[BaseModel]:
    """Return the model that lies at `location` inside `model`."""
    parts = iter(location)
    for part in parts:
        annotation = model.model_fields[str(part)].annotation
        if typing.get_origin(annotation) is dict:
            next(parts, None)  # the name under which one of several models lies
        options = (annotation, *typing.get_args(annotation))
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return model
