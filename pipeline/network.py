"""A network of the zoo by its name and options, such as `mobilenet_v2:width=0.35`.

A network is a module of `pipeline/zoo/`. It defines DESCRIPTION and SOURCE (one line each), `Options` (frozen
pydantic model) and

    build(input_shape, outputs, **options)   the untrained tf_keras model: [batch, *input_shape] in,
                                             [batch, outputs] logits out

An option that is out of its bounds is a RequestError, samples that the network cannot take are BadWorkload.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from pipeline.errors import RequestError, UnknownName
from pipeline.lookup import find_module, known_names

FOLDER, MARKER = "zoo", "def build("


def network_names() -> list[str]:
    """Return the names of all networks."""
    return known_names(FOLDER, ".py", None, MARKER)


def find_network(text: str) -> tuple[ModuleType, dict[str, Any]]:
    """Return the network's module and the options given. Raises UnknownName with the nearest known name."""
    name, _, rest = text.partition(":")
    module = find_module(FOLDER, name.strip(), None, kind="network", marker=MARKER, where="--model")
    given: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key in given:
            raise RequestError(
                f"--model: {text!r} is no network with options",
                received=part,
                expected=f"options as key=value, each once: {_known(module)}",
                fix=f"--model={name}:{next(iter(module.Options.model_fields), 'key')}=…",
            )
        given[key] = value
    return module, options_of(module, given)


def options_of(module: ModuleType, given: dict[str, Any]) -> dict[str, Any]:
    """Return the given options with their types. Raises UnknownName or RequestError for those that do not fit."""
    name = Path(str(module.__file__)).stem
    for key in given:
        if key not in module.Options.model_fields:
            raise UnknownName("option", key, list(module.Options.model_fields), where=f"the network {name}")
    try:
        options = module.Options(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        raise RequestError(
            f"the network {name} has no such {key}: {first['msg']}",
            received=f"{key} = {first['input']}",
            expected=module.Options.model_fields[key].description or key,
            fix="correct the option, or leave it out",
        ) from error
    return options.model_dump(include=set(given))


def _known(module: ModuleType) -> str:
    return ", ".join(module.Options.model_fields) or "this one has none"
