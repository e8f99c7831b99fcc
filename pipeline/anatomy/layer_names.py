"""The operators of a file under the names of their layers, also where the file itself has none any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.steps._operators import NamedOperator, named_operators


def with_layers(model: Path, earlier: Sequence[Path]) -> list[NamedOperator]:
    """Return the operators of the graph that is invoked, in order.

    earlier: files that the recipe made before this one. A slim file has no names; what an earlier one of the same
    operators calls its layers holds for it as well.
    """
    own = named_operators(model)
    if not own or any(_is_named(operator) for operator in own):
        return own
    kinds = [operator.kind for operator in own]
    for path in earlier:
        others = named_operators(path)
        if [other.kind for other in others] == kinds and any(_is_named(other) for other in others):
            return [replace(operator, layer=other.layer) for operator, other in zip(own, others, strict=True)]
    return own


def _is_named(operator: NamedOperator) -> bool:
    return operator.layer != f"{operator.kind}_{operator.position}"
