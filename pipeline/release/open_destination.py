"""Finds the destination that a URL means."""

from __future__ import annotations

import importlib
import pkgutil
import re
from types import ModuleType

from pipeline.release import destinations
from pipeline.release.destination import Destination, Patience

# A scheme is one that a module names, or anything before `://` or, as fsspec chains them, before `::`.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(:://|::|://|:)")


def open_destination(url: str, patience: Patience = Patience()) -> Destination:  # noqa: B008 (it is frozen)
    """Return the destination that `url` means; a path without a scheme is a folder. Nothing is asked of it yet.

    Schemes are those of the modules in `pipeline/release/destinations/`; any other goes to fsspec. Raises
    ReleaseRefused for a URL that cannot be one, EnvironmentUnsuited where a library is missing.
    """
    modules = _modules()
    found = _SCHEME.match(url)
    module = modules.get(found[1].lower()) if found else None
    if module is None:
        module = modules[""]
    return module.open_destination(url, patience)


def known_schemes() -> list[str]:
    """Return the schemes that the modules name, sorted; fsspec knows more."""
    return sorted(_modules())


def _modules() -> dict[str, ModuleType]:
    """Return the destinations' modules by scheme."""
    found: dict[str, ModuleType] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(destinations.__path__)):
        if not name.startswith("_"):
            module = importlib.import_module(f"{destinations.__name__}.{name}")
            found.update(dict.fromkeys(module.SCHEMES, module))
    return found
